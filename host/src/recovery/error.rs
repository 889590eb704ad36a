//! Why a tool could not do its work.

use std::io;
use std::path::PathBuf;

use crate::fsm::BackupError;
use crate::storage::StorageError;
use crate::types::NodeId;
use crate::wasm::EngineError;

/// Why there is no result. Unless it says so, nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The data directory.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The file is no backup to restore.
    #[error("{0}; nothing was written: take another copy of the backup")]
    Backup(BackupError),
    /// The directory is that of a node which never became one.
    #[error("the node in {} has not joined a cluster yet: there is nothing to recover", dir.display())]
    NoCluster {
        /// The directory.
        dir: PathBuf,
    },
    /// The node is not part of its cluster any more.
    #[error(
        "node {id} is not a member of its cluster as far as its log goes (members {members:?}): its \
         state is not the cluster's; recover the data directory of a member"
    )]
    NotMember {
        /// The node.
        id: NodeId,
        /// Who is.
        members: Vec<NodeId>,
    },
    /// There is a log, and no state to start from.
    #[error(
        "the log begins behind entry {purged} and no sound snapshot covers what came before: recover \
         another member, or restore a backup"
    )]
    Uncovered {
        /// The last entry that is gone.
        purged: u64,
    },
    /// No state machine runs here.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The results cannot be printed.
    #[error("cannot print the results: {0}")]
    Print(#[from] io::Error),
}
