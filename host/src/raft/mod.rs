//! Consensus: openraft behind the calls that the rest of the node needs, its transport, reads and
//! membership changes. Knows no HTTP route.

mod consensus;
mod figures;
mod local;
mod membership;
mod modules;
mod network;
mod propose_error;
mod read_index;
mod status;

pub use consensus::{Consensus, ConsensusParts};
pub use local::Local;
pub use membership::MembershipError;
pub use modules::{ActivateRequest, ModuleCallError, ModuleInfo};
pub use network::Network;
pub(crate) use network::serve;
pub use propose_error::ProposeError;
pub use read_index::ReadError;
pub use status::{ClusterStatus, NodeStatus, Role, ServerStatus};

pub use crate::fsm::{
    ActiveModule, DryRun, EmittedEvent, EventId, EventNews, EventReader, Events, EventsGone,
};
