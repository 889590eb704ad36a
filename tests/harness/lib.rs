//! The harness of the black-box tests: real `rkvd` processes, driven over HTTP.
//!
//! - [`Cluster`] starts nodes on a loopback address and a temporary folder of its own, and ends
//!   every process that it started.
//! - [`NodeProcess`] is one node: started, killed, terminated and restarted with the same addresses
//!   and data directory.
//! - [`Client`] sends one request and hands back the [`Answer`]; following a redirect is explicit,
//!   so that tests see who answered what. [`Names`] are hosts that only the test knows.
//! - [`EventStream`] reads the answer of `/fsm/events` as it comes.
//! - [`Links`] are the connections between the nodes of a cluster that was made
//!   [`behind`](Cluster::behind) them, to be cut, slowed down or silenced one direction at a time.
//! - [`Connection`] speaks HTTP byte by byte, for what a well-behaved client never sends.
//! - [`RaftSocket`] speaks to the raft port byte by byte, for what no node of the cluster sends.
//! - [`Workload`] writes in the background and knows of each write whether it was acknowledged;
//!   [`History::verify`] holds the cluster to that.
//! - [`wait::until`] is the only way to wait: for a condition, with a deadline and a message.
//!
//! Nothing here shares a type with the server: the forms in [`views`] are what the documentation
//! promises, so a field that is renamed by accident fails a test.

mod answer;
mod binary;
mod client;
mod cluster;
mod connection;
mod event_stream;
mod history;
mod loopback;
mod names;
mod node;
mod process;
mod proxy;
mod raft_socket;
mod report;
mod small_disk;
pub mod views;
pub mod wait;
mod workload;

pub use answer::Answer;
pub use client::{Client, Unreachable, key_path};
pub use cluster::Cluster;
pub use connection::{Connection, Ended};
pub use event_stream::{EventData, EventStream, SentEvent, StreamEnd};
pub use history::{Fate, History, Write};
pub use loopback::Loopback;
pub use names::Names;
pub use node::{NodeProcess, NodeSpec};
pub use process::{Exit, Process, raise_open_files};
pub use proxy::{Links, Traffic};
pub use raft_socket::{Greeted, RaftHello, RaftLane, RaftSocket, frame};
pub use small_disk::SmallDisk;
pub use workload::Workload;
