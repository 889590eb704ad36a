//! The state machine driver: openraft's state machine over a WebAssembly component.
//!
//! One thread owns the component's instance; everything else talks to it through a
//! queue. Knows nothing of HTTP or of peers.

mod activation;
mod dry_run;
mod events;
mod handle;
mod host_state;
mod machine;
mod rebuild;
mod registry;
mod section;
mod snapshot;
mod state_machine;
mod worker;

pub use dry_run::DryRun;
pub use events::{
    EmittedEvent, EventId, EventNews, EventReader, Events, EventsGone, InvalidEventId,
};
pub use handle::{FsmHandle, FsmStatus, QueryError};
pub use host_state::{ActiveModule, HostState};
pub use machine::{FsmError, MachineParts};
pub use registry::Registry;
pub use snapshot::SnapshotBuilder;
pub use state_machine::StateMachine;
pub use worker::start;
