//! The Raft transport: length-delimited postcard frames over TCP.
//!
//! Each connection starts with a handshake and serves one lane: control (votes, heartbeats, reads),
//! appends, or snapshots, so that none waits for another. Knows no HTTP route.

mod admission;
mod append;
mod append_server;
mod complaints;
mod connect;
mod control;
mod dial;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod handshake;
mod message;
mod peer;
mod server;
mod transfer;

pub(crate) use connect::Connector;
pub(crate) use control::CallError;
pub(crate) use dial::{DialError, Target, dial};
pub(crate) use handshake::{HandshakeError, Lane};
pub(crate) use message::{ControlRequest, ControlResponse};
pub use peer::Network;
pub(crate) use server::serve;
