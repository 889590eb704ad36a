//! The data directory: who may use it, and the name of everything in it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StorageError;
use super::files::{Files, OsFiles};

/// What it means that the log is not there, and what to do about it.
pub(super) const FORGOTTEN: &str = "the node has forgotten its votes: remove this node from the \
    cluster and start it anew, with a new --id and an empty --data-dir";

/// A data directory that this process has to itself until the value is dropped.
///
/// ```text
/// DIR/                 0700: the log holds what clients wrote
///   LOCK               locked by the process that uses the directory, otherwise empty
///   node.redb          identity, traps (schema.rs)
///   log.wal            log entries, vote, indexes (wal/layout.rs)
///   *.tmp              one of these, until it is whole
///   snapshots/         the newest snapshots (snapshot_store.rs)
///   modules/           components by their sha256 (module_store.rs)
///   cache/             compiled components: may be deleted at any time
/// ```
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    pub(super) files: Arc<dyn Files>,
    /// Held for its lock, which the system lifts when the process dies, however it dies.
    _lock: File,
}

impl DataDir {
    /// Opens `path`, making it and its folders when they are not there.
    ///
    /// # Errors
    /// [`StorageError::Locked`] when a process uses it, [`StorageError::Io`] when the file system
    /// refuses.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StorageError> {
        Self::open_in(Arc::new(OsFiles), path.as_ref())
    }

    pub(super) fn open_in(files: Arc<dyn Files>, path: &Path) -> Result<Self, StorageError> {
        let path = path.to_path_buf();
        create_private(&*files, &path)?;
        let lock_path = path.join("LOCK");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(StorageError::io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StorageError::Locked { dir: path }),
            Err(TryLockError::Error(error)) => {
                return Err(StorageError::io("lock", &lock_path)(error));
            }
        }
        let dir = Self {
            path,
            files,
            _lock: lock,
        };
        for folder in [dir.snapshots(), dir.modules(), dir.cache()] {
            create_private(&*dir.files, &folder)?;
        }
        dir.check_whole()?;
        Ok(dir)
    }

    /// A log that was lost is not an empty one: a node that forgot its votes and entries could
    /// elect a leader that lacks what it once acknowledged.
    fn check_whole(&self) -> Result<(), StorageError> {
        let database = self.database();
        let used = |folder: &Path| {
            let mut entries =
                std::fs::read_dir(folder).map_err(StorageError::io("list", folder))?;
            Ok::<_, StorageError>(entries.next().is_some())
        };
        let new = || {
            let new = !self.log().exists() && !used(&self.snapshots())? && !used(&self.modules())?;
            Ok::<_, StorageError>(new)
        };
        if !database.exists() && !new()? {
            let reason = format!("it is gone, and {FORGOTTEN}");
            return Err(StorageError::damaged(database.display(), reason));
        }
        Ok(())
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The database: whose directory it is, and small things.
    pub fn database(&self) -> PathBuf {
        self.path.join("node.redb")
    }

    /// The log: entries, vote and indexes.
    pub fn log(&self) -> PathBuf {
        self.path.join("log.wal")
    }

    /// The folder of the snapshots.
    pub fn snapshots(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    /// The folder of the components.
    pub fn modules(&self) -> PathBuf {
        self.path.join("modules")
    }

    /// The folder of what can be made again from the rest.
    pub fn cache(&self) -> PathBuf {
        self.path.join("cache")
    }
}

/// Makes a directory, and those above it that are missing.
fn create_private(files: &dyn Files, path: &Path) -> Result<(), StorageError> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    let found = path.is_dir();
    if !found {
        create_private(files, parent)?;
        files
            .create_dir(path)
            .map_err(StorageError::io("create directory", path))?;
    }
    // The name must be on disk before anything below it is relied upon: a node whose directory
    // vanishes with the power has broken its votes. Also when it was there: the run that made it
    // may have been killed before this.
    match files.sync_dir(parent) {
        // Whoever made the directory, it was not this user.
        Err(error) if found && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced.map_err(StorageError::io("sync directory", parent)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_in_use_is_refused_by_name_and_free_again_after_a_drop() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("node-1");
        let first = DataDir::open(&path).unwrap();
        let error = DataDir::open(&path).unwrap_err();
        assert!(matches!(error, StorageError::Locked { .. }));
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn only_the_owner_may_look_inside() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path().join("a/b")).unwrap();
        for path in [dir.path(), dir.path().parent().unwrap(), &dir.snapshots()] {
            let mode = path.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", path.display());
        }
    }
}
