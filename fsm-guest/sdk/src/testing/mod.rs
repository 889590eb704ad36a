//! Runs a state machine natively, as the host would: for tests.
//!
//! [`replicate`] is the one to start with. It finds most of what would let two nodes differ.

mod random;
mod replicate;
mod snapshots;

pub use random::Random;
pub use replicate::{Replicated, context, entries, replicate};
pub use snapshots::{migrate, read_all, restore, snapshot};
