//! The next version of the bundled key-value store, and an example of an upgrade.
//!
//! It speaks `rkv:kv@1` as before, so the key routes go on working, and counts how often each key was
//! set: `rkv:kv-version@1` asks for that.
//!
//! - **There**: it restores the snapshots of schema 1, whose keys have version 1 from then on.
//! - **Back**: `rkv-kv` lists schema 2 among those it reads, and drops the counters. An upgrade that
//!   is taken back and made again starts them at 1.

mod counted;
mod kv_v2;

pub use counted::Counted;
pub use kv_v2::KvV2;

rkv_fsm::export!(KvV2);
