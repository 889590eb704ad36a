//! What can go wrong with what is on disk, sorted by what the caller can do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::types::{ClusterId, NodeId};

/// An operation on this node's disk that was not done.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Another process has the data directory open. Stop it, or use another directory.
    #[error(
        "data directory {} is used by another rkvd: stop it, or choose another --data-dir",
        dir.display()
    )]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// There is no node in the directory.
    #[error("{} is not the data directory of a node: name the one that it is started with", dir.display())]
    NoNode {
        /// The directory.
        dir: PathBuf,
    },
    /// A node is to be made in a directory that has something in it already.
    #[error("{} is not empty, it has {found}: choose an empty or a new --data-dir", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
        /// The name of something in it.
        found: String,
    },
    /// A restore into the directory did not come to its end.
    #[error("the restore into {} was not finished: run `rkvd restore` once more", dir.display())]
    Unfinished {
        /// The directory.
        dir: PathBuf,
    },
    /// The data directory belongs to another node.
    #[error(
        "this data directory belongs to node {found}, not to node {wanted}: \
         start with --id {found}, or give node {wanted} a data directory of its own"
    )]
    OtherNode {
        /// Whose it is.
        found: NodeId,
        /// Who asked for it.
        wanted: NodeId,
    },
    /// The data directory belongs to a node of another cluster.
    #[error(
        "this data directory belongs to cluster {found}, not to cluster {wanted}: \
         use an empty data directory and a new node id to join another cluster"
    )]
    OtherCluster {
        /// Whose it is.
        found: ClusterId,
        /// The cluster that was met.
        wanted: ClusterId,
    },
    /// The call does not fit the state of the store: a mistake of the caller, nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// A snapshot that was begun before a peer's took the place of all that this node had. It is of
    /// the state that was replaced: begin a new one.
    #[error("a peer's snapshot took the place of the state that this one is of")]
    Superseded,
    /// Written by a newer release. Upgrade, the data is fine.
    #[error(
        "{what} has format {found} and this rkvd knows formats up to {known}: \
         start a release that knows it"
    )]
    NewerFormat {
        /// What was read.
        what: String,
        /// Its format.
        found: u32,
        /// The newest format that this release reads.
        known: u32,
    },
    /// What was read is not what was written.
    #[error("{what} is damaged: {reason}")]
    Damaged {
        /// What was read.
        what: String,
        /// How it shows.
        reason: String,
    },
    /// The file system refused an operation.
    #[error("cannot {verb} {}: {source}", path.display())]
    Io {
        /// The operation.
        verb: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The database refused an operation.
    #[error("cannot {verb}: {source}")]
    Database {
        /// The operation and its subject.
        verb: &'static str,
        /// The reason.
        source: Box<redb::Error>,
    },
    /// A write to the log failed before, so nothing more is written: what is on disk is unknown
    /// until it is read again. Restart the node once its disk works.
    #[error("the log is closed since a write failed: {0}: repair the disk and restart the node")]
    Latched(Arc<StorageError>),
    /// The log was closed in good order.
    #[error("the log is closed: this node is shutting down")]
    Closed,
}

impl StorageError {
    pub(super) fn damaged(what: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self::Damaged {
            what: what.to_string(),
            reason: reason.to_string(),
        }
    }

    /// For `map_err`: an I/O error with what was being done to which file.
    pub(super) fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { verb, path, source }
    }

    /// For `map_err`: any of redb's errors with what was being done.
    pub(super) fn database<E: Into<redb::Error>>(verb: &'static str) -> impl FnOnce(E) -> Self {
        move |source| match source.into() {
            redb::Error::Corrupted(reason) => Self::damaged("node.redb", reason),
            source => Self::Database {
                verb,
                source: Box::new(source),
            },
        }
    }
}

impl From<StorageError> for io::Error {
    /// What openraft takes. The kind is kept, so that a full disk can be told from a broken one.
    fn from(error: StorageError) -> Self {
        let kind = match &error {
            StorageError::Io { source, .. } => source.kind(),
            StorageError::Database { source, .. } => match source.as_ref() {
                redb::Error::Io(source) => source.kind(),
                _ => io::ErrorKind::Other,
            },
            StorageError::Damaged { .. } | StorageError::NewerFormat { .. } => {
                io::ErrorKind::InvalidData
            }
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
