//! What is measured: a file per scenario, each from starting its nodes to its table.

mod batching;
mod failover;
mod latency;
mod load;
mod snapshot;

pub(crate) use batching::batching;
pub(crate) use failover::failover;
pub(crate) use latency::latency;
pub(crate) use snapshot::snapshot;
