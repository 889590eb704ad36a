//! The node: puts the layers together, brings the node into its cluster, and takes it down in order.

mod assemble;
mod found;
mod join;
mod node;
mod upkeep;

pub use assemble::StartError;
pub use join::JoinError;
pub use node::Node;
