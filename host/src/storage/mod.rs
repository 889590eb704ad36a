//! What is on this node's disk: the Raft log, snapshots, components, and whose they are.
//!
//! ```text
//! DataDir ─┬─ Database       redb: whose directory it is, traps
//!          ├─ LogStore       RaftLogStorage, RaftLogReader
//!          │    ├─ Tail      what the log contains, recent entries in memory
//!          │    └─ Writer    one thread, one commit for all that waits
//!          │         └─ Wal  the file: frames in extents
//!          ├─ SnapshotStore  files with checksums, two kept, transfers that resume
//!          └─ ModuleStore    components by their sha256
//! ```
//!
//! Knows no state machine, no WebAssembly and no HTTP: a snapshot's head and chunks are opaque
//! bytes here. Calls block on the disk unless they are `async`.

#[cfg(test)]
mod crash_tests;
mod data_dir;
mod database;
mod draft;
mod error;
mod files;
mod identity;
mod incoming;
mod inspection;
mod log_reader;
mod log_store;
mod module_store;
mod previous;
mod purge_floor;
mod queue;
mod restoration;
mod schema;
mod snapshot_file;
mod snapshot_format;
mod snapshot_store;
mod snapshot_writer;
mod succession;
mod tail;
#[cfg(test)]
mod testing;
mod trap_ledger;
mod wal;
mod writer;
mod writer_stats;

pub use data_dir::DataDir;
pub use database::Database;
pub use error::StorageError;
pub use identity::{Identity, Origin, random_bytes};
pub use incoming::IncomingSnapshot;
pub use inspection::{Inspection, LogSummary, is_named_right};
pub use log_store::{LogFile, LogLimits, LogStore};
pub use module_store::ModuleStore;
pub use purge_floor::PurgeFloor;
pub use restoration::Restoration;
pub use snapshot_file::{Chunks, SnapshotFile, SnapshotId};
pub use snapshot_format::MAX_CHUNK_BYTES;
pub use snapshot_store::SnapshotStore;
pub use snapshot_writer::SnapshotWriter;
pub use succession::{Succession, succeed};
pub use trap_ledger::TrapLedger;
pub use writer_stats::WriterStats;
