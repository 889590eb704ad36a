//! Why the state machine of this node cannot do what it should.

use crate::storage::StorageError;
use crate::types::{LogIndex, ModuleId};
use crate::wasm::{Fault, ModuleError};

/// Why this node cannot go on applying. Never part of replicated state.
#[derive(Debug, thiserror::Error)]
pub enum FsmError {
    /// The cluster runs the module on another engine.
    #[error(
        "module {module} was activated for another engine than this build has: run the version of \
         rkvd that the other nodes run"
    )]
    Fingerprint {
        /// The module.
        module: ModuleId,
    },
    /// A module that the log or a snapshot counts on is not on disk.
    #[error("module {module} is not in this node's module store")]
    NoModule {
        /// The module.
        module: ModuleId,
    },
    /// A module that was accepted once is accepted no more.
    #[error("cannot load module {module}: {source}")]
    Module {
        /// The module.
        module: ModuleId,
        /// What is wrong with it.
        source: ModuleError,
    },
    /// A fault that another node may not have had.
    #[error("the state machine failed on this node: {0}")]
    Fault(String),
    /// The module failed while its snapshot was taken. The instance was rebuilt.
    #[error("the module failed while its snapshot was taken: {0}")]
    Snapshot(Fault),
    /// An entry arrived at a node that belongs to no cluster.
    #[error("this data directory has log entries and no cluster")]
    NoCluster,
    /// The guest's memory ran out, and a compact rebuild did not help.
    #[error(
        "the module ran out of memory at log index {0} even after a rebuild from a snapshot: \
         activate it with from=snapshot and a larger memory_mb"
    )]
    Memory(LogIndex),
    /// What the state machine needs is not on disk.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Entries that were applied before cannot be read again.
    #[error("entry {0} is needed to rebuild the state machine and is not in the log")]
    MissingEntry(LogIndex),
    /// The snapshot does not fit its module.
    #[error("module {module} refuses the snapshot at {path}: {reason}")]
    Restore {
        /// The module.
        module: ModuleId,
        /// The snapshot file.
        path: String,
        /// What it says.
        reason: String,
    },
    /// The state from before the last activation is needed and not whole on disk.
    #[error("the state from before the activation at {0} is not whole on this node's disk")]
    NoPrevious(LogIndex),
    /// The snapshot that an activation starts from cannot be had on this node.
    #[error("the snapshot at log index {0} is needed and cannot be had on this node")]
    NoSnapshot(LogIndex),
    /// The state is not to be trusted, or not there.
    #[error("{0}")]
    Quarantined(String),
    /// The thread has ended.
    #[error("the state machine's thread has ended")]
    Ended,
}

impl FsmError {
    /// Whether this node can go on without its state: it follows the log until a state comes from a
    /// peer, a snapshot or an activation. Otherwise its disk failed, and raft has to stop.
    pub(super) fn costs_the_state_only(&self) -> bool {
        match self {
            Self::Fingerprint { .. }
            | Self::NoModule { .. }
            | Self::Module { .. }
            | Self::Fault(_)
            | Self::Memory(_)
            | Self::Restore { .. }
            | Self::NoPrevious(_)
            | Self::NoSnapshot(_)
            | Self::Quarantined(_)
            | Self::Snapshot(_) => true,
            Self::NoCluster | Self::Storage(_) | Self::MissingEntry(_) | Self::Ended => false,
        }
    }
}
