//! What is measured: a file per scenario, each from starting its nodes to its table.

mod batching;
mod blocks;
mod failover;
mod latency;
pub(crate) mod load;
mod modules;
mod one_client;
mod scale;
mod snapshot;
mod steps;
pub(crate) mod store;
mod switch;
mod trap;
mod writers;

pub(crate) use batching::batching;
pub(crate) use failover::failover;
pub(crate) use latency::latency;
pub(crate) use one_client::one_client;
pub(crate) use scale::scale;
pub(crate) use snapshot::snapshot;
pub(crate) use switch::switch;
pub(crate) use trap::trap;
