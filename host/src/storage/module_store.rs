//! Components on disk, by what is in them.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use super::files::{Files, publish, remove, sync_names};
use super::{DataDir, StorageError};
use crate::types::ModuleId;

const EXTENSION: &str = "wasm";
const TEMP_EXTENSION: &str = "tmp";

/// The components that this node has, as `modules/<sha256>.wasm`.
///
/// A file's name is the checksum of its content, so a stored module never changes, and storing it
/// again is harmless. Calls block on the disk.
#[derive(Debug)]
pub struct ModuleStore {
    folder: PathBuf,
    files: Arc<dyn Files>,
    /// Keeps the temporary files of concurrent calls apart.
    writes: AtomicU64,
}

impl ModuleStore {
    /// Opens the store, deleting what a dead run left unfinished.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(dir: &DataDir) -> Result<Self, StorageError> {
        let store = Self {
            folder: dir.modules(),
            files: dir.files.clone(),
            writes: AtomicU64::new(0),
        };
        // A module that is found is relied upon, and must not be a name that a dead run did not sync.
        sync_names(&*store.files, &store.folder)?;
        for path in store.paths()? {
            if path
                .extension()
                .is_some_and(|extension| extension == TEMP_EXTENSION)
            {
                remove(&*store.files, &path)?;
            }
        }
        Ok(store)
    }

    /// Stores a component, durable on return. One that is stored already, undamaged, is left as it
    /// is.
    ///
    /// # Errors
    /// [`StorageError::Io`] with the file, such as a full disk. Nothing is stored then.
    pub fn put(&self, bytes: &[u8]) -> Result<ModuleId, StorageError> {
        let id = ModuleId(Sha256::digest(bytes).into());
        let dest = self.path(id);
        if matches!(self.get(id), Ok(Some(_))) {
            // A call before this one may have failed after the name was given.
            return sync_names(&*self.files, &self.folder).map(|()| id);
        }
        let write = self.writes.fetch_add(1, Ordering::Relaxed);
        let temp = self.folder.join(format!("{id}.{write}.{TEMP_EXTENSION}"));
        let stored = self
            .files
            .append(&temp)
            .map_err(StorageError::io("create", &temp))
            .and_then(|file| {
                self.files
                    .write(&file, bytes)
                    .map_err(StorageError::io("write", &temp))?;
                publish(&*self.files, &file, &temp, &dest)
            });
        if stored.is_err() {
            // The first error is the one to report; what stays is deleted at the next start.
            let _ = remove(&*self.files, &temp);
        }
        stored.map(|()| id)
    }

    /// The component's bytes, checked against its name. `None` when it is not stored.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] when the content is not what was stored.
    pub fn get(&self, id: ModuleId) -> Result<Option<Vec<u8>>, StorageError> {
        let path = self.path(id);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StorageError::io("read", &path)(error)),
        };
        let found = ModuleId(Sha256::digest(&bytes).into());
        if found != id {
            let reason = format!("its sha256 is {found}: delete it, the log or a peer has it");
            return Err(StorageError::damaged(path.display(), reason));
        }
        Ok(Some(bytes))
    }

    /// The components that are stored, in the order of their ids. They are not read.
    ///
    /// # Errors
    /// What the file system says.
    pub fn list(&self) -> Result<Vec<ModuleId>, StorageError> {
        let mut ids: Vec<ModuleId> = self
            .paths()?
            .into_iter()
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == EXTENSION)
            })
            .filter_map(|path| path.file_stem()?.to_str()?.parse().ok())
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Deletes a component. One that is not stored is no error.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(&self, id: ModuleId) -> Result<(), StorageError> {
        remove(&*self.files, &self.path(id))
    }

    fn path(&self, id: ModuleId) -> PathBuf {
        self.folder.join(format!("{id}.{EXTENSION}"))
    }

    fn paths(&self) -> Result<Vec<PathBuf>, StorageError> {
        fs::read_dir(&self.folder)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .map_err(StorageError::io("list", &self.folder))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Fault, TestFiles};
    use super::*;

    fn store() -> (tempfile::TempDir, DataDir, ModuleStore) {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        let store = ModuleStore::open(&dir).unwrap();
        (temp, dir, store)
    }

    #[test]
    fn a_module_is_found_under_its_checksum() {
        let (_temp, dir, store) = store();
        let id = store.put(b"component").unwrap();
        assert_eq!(store.put(b"component").unwrap(), id);
        assert_eq!(store.get(id).unwrap().as_deref(), Some(&b"component"[..]));
        assert!(dir.modules().join(format!("{id}.wasm")).is_file());
        let other = store.put(b"another").unwrap();
        let mut both = [id, other];
        both.sort();
        assert_eq!(store.list().unwrap(), both);
        store.remove(id).unwrap();
        store.remove(id).unwrap();
        assert_eq!(store.get(id).unwrap(), None);
        assert_eq!(store.list().unwrap(), [other]);
    }

    #[test]
    fn a_damaged_module_is_refused_and_can_be_stored_again() {
        let (_temp, dir, store) = store();
        let id = store.put(b"component").unwrap();
        fs::write(dir.modules().join(format!("{id}.wasm")), b"compOnent").unwrap();
        assert!(matches!(store.get(id), Err(StorageError::Damaged { .. })));
        store.put(b"component").unwrap();
        assert_eq!(store.get(id).unwrap().as_deref(), Some(&b"component"[..]));
    }

    #[test]
    fn a_full_disk_leaves_no_module_wherever_it_strikes() {
        let files = TestFiles::new();
        let dir = DataDir::open_in(Arc::new(files.clone()), &files.root()).unwrap();
        // create, write, sync, rename; the directory's sync comes after the name is given.
        for calls in 0..4 {
            files.mend();
            let store = ModuleStore::open(&dir).unwrap();
            files.arm(calls, Fault::Full);
            let error = store.put(b"component").unwrap_err();
            let StorageError::Io { source, .. } = &error else {
                panic!("{error}")
            };
            assert_eq!(source.kind(), io::ErrorKind::StorageFull);
            assert_eq!(
                fs::read_dir(dir.modules()).unwrap().count(),
                0,
                "after {calls} calls"
            );
        }
    }

    #[test]
    fn what_a_dead_run_left_unfinished_is_deleted() {
        let (_temp, dir, _) = store();
        let left = dir.modules().join("half.0.tmp");
        fs::write(&left, b"half").unwrap();
        ModuleStore::open(&dir).unwrap();
        assert!(!left.exists());
    }
}
