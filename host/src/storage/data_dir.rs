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

pub(super) const LOCK: &str = "LOCK";

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
        let dir = Self::claim(files, path)?;
        dir.create_folders()?;
        dir.check_whole()?;
        Ok(dir)
    }

    /// Opens a directory that is there to look at it: nothing in it is changed, made or repaired.
    ///
    /// # Errors
    /// [`StorageError::NoNode`] when no node has ever used it, and as [`DataDir::open`].
    pub fn inspect(path: impl AsRef<Path>) -> Result<Self, StorageError> {
        let path = path.as_ref();
        if !path.join(LOCK).is_file() {
            return Err(StorageError::NoNode { dir: path.into() });
        }
        Ok(Self {
            _lock: lock(path, OpenOptions::new().read(true))?,
            path: path.to_path_buf(),
            files: Arc::new(OsFiles),
        })
    }

    /// Takes the directory, making it when it is not there, and nothing in it but the lock.
    pub(super) fn claim(files: Arc<dyn Files>, path: &Path) -> Result<Self, StorageError> {
        create_private(&*files, path)?;
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false);
        Ok(Self {
            _lock: lock(path, options)?,
            path: path.to_path_buf(),
            files,
        })
    }

    pub(super) fn create_folders(&self) -> Result<(), StorageError> {
        for folder in [self.snapshots(), self.modules(), self.cache()] {
            create_private(&*self.files, &folder)?;
        }
        Ok(())
    }

    /// A log that was lost is not an empty one: a node that forgot its votes and entries could
    /// elect a leader that lacks what it once acknowledged.
    pub(super) fn check_whole(&self) -> Result<(), StorageError> {
        let database = self.database();
        let used = |folder: &Path| {
            let mut entries = match std::fs::read_dir(folder) {
                // A directory that is only looked at.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                entries => entries.map_err(StorageError::io("list", folder))?,
            };
            Ok::<_, StorageError>(entries.next().is_some())
        };
        let new = || {
            let new = !self.log().exists() && !used(&self.snapshots())? && !used(&self.modules())?;
            Ok::<_, StorageError>(new)
        };
        if !database.exists() && !new()? {
            if self.unfinished_database().exists() {
                let dir = self.path.clone();
                return Err(StorageError::Unfinished { dir });
            }
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

    /// The database before it has its name.
    pub(super) fn unfinished_database(&self) -> PathBuf {
        self.database().with_extension("tmp")
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

/// Locks the directory `path` by a file in it.
fn lock(path: &Path, options: &OpenOptions) -> Result<File, StorageError> {
    let lock_path = path.join(LOCK);
    let lock = options
        .open(&lock_path)
        .map_err(StorageError::io("open", &lock_path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StorageError::Locked { dir: path.into() }),
        Err(TryLockError::Error(error)) => Err(StorageError::io("lock", &lock_path)(error)),
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
