//! The state from before the last activation: a file beside the snapshots, in their format, without
//! their head. Raft knows nothing of it; it is replicated state, and travels in the snapshots.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::remove;
use super::snapshot_store::Folder;
use super::{SnapshotFile, SnapshotStore, SnapshotWriter, StorageError};
use crate::types::LogIndex;

pub(super) const PREVIOUS_EXTENSION: &str = "previous";

impl SnapshotStore {
    /// Starts to keep the state that the activation at `until` replaces. Finished, it takes the
    /// place of the one that was kept before.
    ///
    /// # Errors
    /// [`StorageError::Io`], such as a full disk.
    pub fn begin_previous(&self, until: LogIndex) -> Result<SnapshotWriter, StorageError> {
        SnapshotWriter::begin_previous(Arc::clone(&self.folder), until)
    }

    /// The state that the activation at `until` replaced, if it is here and begins and ends well.
    ///
    /// # Errors
    /// [`StorageError::Io`] when it cannot be read.
    pub fn previous(&self, until: LogIndex) -> Result<Option<SnapshotFile>, StorageError> {
        let path = self.folder.previous_path(until);
        if !path.exists() {
            return Ok(None);
        }
        match SnapshotFile::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error @ StorageError::Damaged { .. }) => {
                tracing::error!(%error, "the state from before the activation is damaged");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes the kept state, if there is one.
    ///
    /// # Errors
    /// What the file system says.
    pub fn drop_previous(&self) -> Result<(), StorageError> {
        self.folder.remove_previous_except(Path::new(""))
    }
}

impl Folder {
    pub(super) fn previous_path(&self, until: LogIndex) -> PathBuf {
        self.path(&format!("{until:020}"), PREVIOUS_EXTENSION)
    }

    pub(super) fn remove_previous_except(&self, kept: &Path) -> Result<(), StorageError> {
        for path in self.with_extension(PREVIOUS_EXTENSION)? {
            if path != kept {
                remove(&*self.files, &path)?;
            }
        }
        Ok(())
    }
}
