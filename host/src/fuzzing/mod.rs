//! What reads bytes from outside, as functions for the fuzzer (`hack/fuzz`). Each panics when a property
//! does not hold; that they return is another one.
//!
//! The tests here run them over the committed corpus and over mutations of it.

mod component;
mod messages;
mod snapshot;
#[cfg(test)]
mod tests;

pub use component::component;
pub use messages::messages;
pub use snapshot::snapshot;

/// A stream that arrives at the raft port: its first byte tells the lane and the direction.
pub fn raft_frames(data: &[u8]) {
    crate::raft::fuzz::frames(data);
}

/// The target of an HTTP request: path and query.
pub fn http_target(data: &[u8]) {
    crate::api::fuzz::target(data);
}
