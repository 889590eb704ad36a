//! The state machine driver: openraft's state machine over a WebAssembly component.
//!
//! One thread owns the component's instance; everything else talks to it through a queue, except
//! for short calls while nobody waits. Knows nothing of HTTP or of peers.

mod activation;
mod backup;
mod checkpoint;
mod commands;
mod digest;
mod dry_run;
mod error;
mod events;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod halt;
mod handle;
mod handover;
mod host_state;
mod in_place;
mod keeping;
mod machine;
mod query;
mod rebuild;
mod registry;
mod restore;
mod run_again;
mod section;
mod shared;
mod snapshot;
mod state_machine;
mod worker;

pub use backup::{Backup, BackupError, Provenance};
pub use checkpoint::{Doubt, Subject};
pub use dry_run::DryRun;
pub use error::FsmError;
pub use events::{
    EmittedEvent, EventId, EventNews, EventReader, Events, EventsGone, InvalidEventId,
};
pub use handle::{FsmHandle, QueryError};
pub use host_state::{ActiveModule, HostState, Previous};
pub use machine::MachineParts;
pub use registry::Registry;
pub use shared::{FsmStatus, Quarantine};
pub use snapshot::SnapshotBuilder;
pub use state_machine::StateMachine;
pub use worker::start;
