//! The state machine that rkvd brings along: a key-value store that speaks `rkv:kv@1`.
//!
//! Keys and values live in a persistent map, so that freezing the state for a snapshot costs
//! nothing and writes go on while it is read.

mod format;
mod key;
mod kv;
mod restore;
mod snapshot;

pub use kv::Kv;
pub use restore::KvRestore;
pub use snapshot::KvRecords;

rkv_fsm::export!(Kv);
