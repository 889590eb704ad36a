//! The node: puts the layers together, brings the node into its cluster, and takes it down in order.

mod assemble;
mod descriptors;
mod found;
mod give_way;
mod join;
mod running;
mod runtime;
mod upkeep;

pub use assemble::StartError;
pub use join::JoinError;
pub use running::Node;
pub use runtime::runtime;
