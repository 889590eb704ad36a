//! State machines for rkv, in Rust.
//!
//! rkv replicates a log of commands, and runs a WebAssembly component over it on every node. This
//! crate makes such a component of a type that implements [`StateMachine`]:
//!
//! ```
//! use rkv_fsm::{Context, Description, Failure, Outcome, Restore, Snapshot, StateMachine};
//!
//! /// Counts its commands.
//! #[derive(Default)]
//! struct Counter(u64);
//!
//! impl StateMachine for Counter {
//!     type Snapshot = Unread;
//!     type Restore = Bytes;
//!
//!     fn describe() -> Description {
//!         Description {
//!             name: "counter".to_owned(),
//!             version: env!("CARGO_PKG_VERSION").to_owned(),
//!             schema: 1,
//!             reads_schemas: vec![1],
//!             protocols: vec![],
//!         }
//!     }
//!
//!     fn apply(&mut self, _: Context, _: Vec<u8>) -> Result<Outcome, Failure> {
//!         self.0 += 1;
//!         Ok(Outcome { response: self.0.to_le_bytes().to_vec(), events: vec![] })
//!     }
//!
//!     fn query(&self, _: Context, _: Vec<u8>) -> Result<Vec<u8>, Failure> {
//!         Ok(self.0.to_le_bytes().to_vec())
//!     }
//!
//!     fn freeze(&self) -> Unread {
//!         Unread(self.0.to_le_bytes().to_vec())
//!     }
//!
//!     fn restore(_: Description) -> Result<Bytes, Failure> {
//!         Ok(Bytes::default())
//!     }
//! }
//!
//! struct Unread(Vec<u8>);
//!
//! impl Snapshot for Unread {
//!     fn read(&mut self, max_bytes: usize) -> Vec<u8> {
//!         self.0.drain(..max_bytes.min(self.0.len())).collect()
//!     }
//! }
//!
//! #[derive(Default)]
//! struct Bytes(Vec<u8>);
//!
//! impl Restore for Bytes {
//!     type Machine = Counter;
//!
//!     fn write(&mut self, chunk: &[u8]) -> Result<(), Failure> {
//!         self.0.extend_from_slice(chunk);
//!         Ok(())
//!     }
//!
//!     fn finish(self) -> Result<Counter, Failure> {
//!         match self.0.try_into() {
//!             Ok(bytes) => Ok(Counter(u64::from_le_bytes(bytes))),
//!             Err(_) => Err(Failure { code: 1, message: "not eight bytes".to_owned() }),
//!         }
//!     }
//! }
//!
//! rkv_fsm::export!(Counter);
//!
//! let mut counter = Counter::default();
//! counter.apply(rkv_fsm::testing::context(1), vec![]).unwrap();
//! let bytes = rkv_fsm::testing::snapshot(&counter, 3);
//! let restored: Counter = rkv_fsm::testing::restore(&bytes, 5).unwrap();
//! assert_eq!(restored.0, 1);
//! ```
//!
//! The crate that uses it is a `cdylib`, built for `wasm32-unknown-unknown` and wrapped into a
//! component (`wit-component`, or `wasm-tools component new`).
//!
//! - [`testing`] runs a state machine natively, in the ways in which nodes come to run it.
//! - With the feature `serde`, `serde_state` makes snapshots of any serde type, and `json` asks for
//!   nothing but ordinary types.
//! - Larger states are written as [`Records`] and read through [`Chunks`] and [`Reassembly`].

mod chunks;
mod machine;

#[doc(hidden)]
pub mod bindings;
#[doc(hidden)]
pub mod export;
pub mod failure;
#[cfg(feature = "serde")]
pub mod json;
pub mod log;
#[cfg(feature = "serde")]
pub mod serde_state;
pub mod testing;

pub use bindings::rkv::fsm::types::{Context, Description, Entry, Event, Failure, Outcome};
pub use chunks::{Chunks, Reassembly, Records};
pub use machine::{Restore, Snapshot, StateMachine, check_readable};
