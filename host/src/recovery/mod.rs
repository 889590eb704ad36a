//! Tools for a data directory in which no node runs: a new cluster from a backup (`rkvd restore`), a
//! cluster of one from a survivor (`rkvd recover`), and whether all is sound (`rkvd verify`).
//!
//! They print one line per thing, and know no network and no running node.

mod error;
mod plan;
mod recover;
mod report;
mod restore;
mod verify;

pub use error::RecoveryError;
pub use recover::recover;
pub use restore::{RestoreOptions, restore};
pub use verify::verify;

/// How a tool ended that could do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is done; or nothing is wrong.
    Good,
    /// Something is damaged, and was printed.
    Damaged,
    /// Nothing was changed, as nobody has confirmed it; or something could not be looked at.
    Open,
}
