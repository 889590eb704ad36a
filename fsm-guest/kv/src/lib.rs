//! The state machine that rkvd brings along: a key-value store that speaks `rkv:kv@1`.
//!
//! Keys and values live in a persistent map, so that freezing the state for a snapshot costs
//! nothing and writes go on while it is read.
//!
//! [`KvMap`] is all of it but the description: other versions of the store are built on it, with
//! more than a value in the [`Slot`] of a key. They turn the feature `component` off, because a
//! component has one state machine.

mod format;
mod key;
mod kv;
mod map;
mod restore;
mod slot;
mod snapshot;

pub use kv::Kv;
pub use map::{KvMap, undecodable};
pub use restore::KvRestore;
pub use slot::{Slot, Value};
pub use snapshot::KvRecords;

#[cfg(feature = "component")]
rkv_fsm::export!(Kv);
