//! The network between the nodes of a cluster, in the hands of a test.
//!
//! Each node is called at a proxy of the test, which passes every byte on as it is. A fault is set for
//! the bytes that go *from* one node *to* another, on whichever side dialled, as it is with lost
//! packets: one direction can fail while the other works.

mod flow;
mod hello;
mod links;

pub use flow::Traffic;
pub use links::Links;
