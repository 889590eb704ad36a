//! Consensus: openraft behind the calls that the rest of the node needs, its transport, reads and
//! membership changes. Knows no HTTP route.

mod activation;
mod backup;
mod consensus;
mod figures;
mod gather;
mod health;
mod integrity;
mod leadership;
mod local;
mod measures;
mod membership;
mod modules;
mod network;
mod proposals;
mod propose_error;
mod read_index;
mod reads;
mod repair;
mod status;

pub use activation::{ActivateRequest, StartWith, Switched};
pub use backup::{BackupError, BackupFile};
pub use consensus::{Consensus, ConsensusParts};
pub use health::Check;
pub use leadership::Leadership;
pub use local::Local;
pub use membership::MembershipError;
pub use modules::{ModuleCallError, ModuleInfo};
pub use network::Network;
#[cfg(any(test, fuzzing))]
pub(crate) use network::fuzz;
pub(crate) use network::serve;
pub use propose_error::ProposeError;
pub use read_index::ReadError;
pub use status::{ClusterStatus, NodeStatus, Role, ServerStatus};

pub use crate::fsm::{
    ActiveModule, DryRun, EmittedEvent, EventId, EventNews, EventReader, Events, EventsGone,
    Previous,
};
