//! What is on this node's disk: the Raft log, snapshots, components, and whose they are.
//!
//! ```text
//! DataDir ─┬─ Database ── LogStore (RaftLogStorage, RaftLogReader)
//!          │                 ├─ Tail    what the log contains, recent entries in memory
//!          │                 └─ Writer  one thread, one commit for all that waits
//!          ├─ SnapshotStore  files with checksums, two kept, transfers that resume
//!          └─ ModuleStore    components by their sha256
//! ```
//!
//! Knows no state machine, no WebAssembly and no HTTP: a snapshot's head and chunks are opaque
//! bytes here. Calls block on the disk unless they are `async`.

mod data_dir;
mod database;
mod error;
mod files;
mod identity;
mod log_reader;
mod log_store;
mod purge_floor;
mod queue;
mod schema;
mod tail;
mod writer;
mod writer_stats;

pub use data_dir::DataDir;
pub use database::Database;
pub use error::StorageError;
pub use identity::{Identity, Origin};
pub use log_store::{LogLimits, LogStore};
pub use purge_floor::PurgeFloor;
pub use writer_stats::{COMMIT_BUCKETS, WriterStats};
