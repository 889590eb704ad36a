//! A data directory that is filled with a state from elsewhere, for a node that has never run.
//!
//! The database gets its name last, and without it nothing starts from the directory. Until then its
//! temporary name tells that what is there may be cleared away, and begun anew.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::data_dir::LOCK;
use super::draft::Draft;
use super::files::{Files, OsFiles, remove, sync_names};
use super::log_store::EXTENT_BYTES;
use super::wal::{Frame, Wal};
use super::{DataDir, Identity, Origin, SnapshotFile, SnapshotStore, StorageError, random_bytes};
use crate::failpoint;
use crate::types::{ClusterId, NodeId, Vote};

/// A node in the making. Dropped before [`Restoration::finish`], or killed, it can be begun again.
#[derive(Debug)]
pub struct Restoration {
    dir: DataDir,
    identity: Identity,
    snapshots: SnapshotStore,
    draft: Draft,
}

impl Restoration {
    /// Makes `path` the directory of node `node_id` of a new cluster.
    ///
    /// # Errors
    /// [`StorageError::NotEmpty`], and nothing is changed, when something else is in it;
    /// [`StorageError::Locked`]; or what the disk says.
    pub fn begin(path: &Path, node_id: NodeId) -> Result<Self, StorageError> {
        Self::begin_in(Arc::new(OsFiles), path, node_id)
    }

    pub(super) fn begin_in(
        files: Arc<dyn Files>,
        path: &Path,
        node_id: NodeId,
    ) -> Result<Self, StorageError> {
        leftovers(path)?;
        let dir = DataDir::claim(Arc::clone(&files), path)?;
        // Once more, as somebody may have been faster.
        for path in leftovers(path)? {
            remove(&*files, &path)?;
        }
        dir.create_folders()?;
        let (draft, database) = Draft::begin(&*files, &dir.database())?;
        database.create_identity(node_id, Origin::Bootstrap)?;
        let identity = database.adopt_cluster(ClusterId(random_bytes()?))?;
        drop(database);
        // Otherwise the power could leave a snapshot without what tells that it is not finished.
        sync_names(&*files, dir.path())?;
        Ok(Self {
            snapshots: SnapshotStore::open(&dir)?,
            identity,
            draft,
            dir,
        })
    }

    /// Who the node will be.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Where its first snapshot belongs.
    pub fn snapshots(&self) -> &SnapshotStore {
        &self.snapshots
    }

    /// Makes the directory that of a node which starts from `snapshot`, and goes on behind its last
    /// entry in a later term. Durable on return.
    ///
    /// # Errors
    /// [`StorageError::Refused`] when the snapshot covers nothing, or what the disk says.
    pub fn finish(self, snapshot: &SnapshotFile) -> Result<(), StorageError> {
        let covered = snapshot.meta().last_log_id.ok_or_else(|| {
            StorageError::Refused("a snapshot without an entry is no state to start from".into())
        })?;
        failpoint::crash_at("restore-before-log");
        let term = **covered.committed_leader_id();
        let mut first = Frame::default();
        first.vote(&Vote::new(term, self.identity.node_id))?;
        // So that a snapshot that is lost later is missed, and not taken for one that never was.
        first.purge(&covered)?;
        let files = &*self.dir.files;
        Wal::create(files, &self.dir.log(), EXTENT_BYTES, Some(&mut first))?;
        failpoint::crash_at("restore-before-name");
        self.draft.publish(files)
    }
}

/// The files that a restore into `path` left when it was interrupted.
fn leftovers(path: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let names = list(path)?;
    let has = |name: &str| {
        names
            .iter()
            .any(|path| path.file_name() == Some(OsStr::new(name)))
    };
    let unfinished = has("node.tmp") && !has("node.redb");
    let mut found = Vec::new();
    for entry in &names {
        match entry.file_name().and_then(OsStr::to_str) {
            Some(LOCK) => {}
            Some("node.tmp") if unfinished => {}
            Some("snapshots" | "modules" | "cache") if entry.is_dir() => found.extend(list(entry)?),
            Some("log.wal" | "log.tmp") if unfinished => found.push(entry.clone()),
            _ => return Err(not_empty(path, entry)),
        }
    }
    match found.first() {
        Some(first) if !unfinished => Err(not_empty(path, first)),
        _ => Ok(found),
    }
}

fn list(path: &Path) -> Result<Vec<PathBuf>, StorageError> {
    match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .map_err(StorageError::io("list", path)),
    }
}

fn not_empty(dir: &Path, found: &Path) -> StorageError {
    let found = found.strip_prefix(dir).unwrap_or(found);
    StorageError::NotEmpty {
        dir: dir.into(),
        found: found.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::super::testing::{Fault, TestFiles, seeds};
    use super::super::{Database, LogFile, LogLimits, LogStore};
    use super::*;
    use crate::types::{LogId, SnapshotMeta};

    fn covered() -> LogId {
        LogId::new_term_index(7, 40)
    }

    fn restore(files: &TestFiles, path: &Path) -> Result<Identity, StorageError> {
        let restoration = Restoration::begin_in(Arc::new(files.clone()), path, 3)?;
        let meta = SnapshotMeta {
            last_log_id: Some(covered()),
            ..SnapshotMeta::default()
        };
        let mut writer = restoration.snapshots().begin(meta, b"head".to_vec())?;
        writer.write_chunk(&[5; 3_000])?;
        let snapshot = writer.finish()?;
        let identity = restoration.identity().clone();
        restoration.finish(&snapshot)?;
        Ok(identity)
    }

    /// What a node finds when it starts: `None` when it refuses to, or begins as a new one.
    fn found(files: &TestFiles, path: &Path) -> Option<Identity> {
        let dir = DataDir::open_in(Arc::new(files.clone()), path).ok()?;
        let database = Database::open_in(files, &dir.database()).unwrap();
        let identity = database.identity().unwrap()?;
        let snapshots = SnapshotStore::open(&dir).unwrap();
        let newest = snapshots.newest_good().unwrap().unwrap();
        assert_eq!(newest.meta().last_log_id, Some(covered()));
        let log = LogFile::open_in(files, &dir.log(), &database).unwrap();
        let log = LogStore::open(log, LogLimits::DEFAULT).unwrap();
        assert_eq!(log.vote(), Some(Vote::new(7, 3)));
        assert_eq!(log.bytes_after(None).unwrap(), 0);
        Some(identity)
    }

    #[test]
    fn a_directory_with_anything_else_in_it_is_refused_and_left_alone() {
        for name in ["node.redb", "log.wal", "notes.txt", "snapshots/x.snap"] {
            let temp = tempfile::tempdir().unwrap();
            let path = temp.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, b"mine").unwrap();
            let error = Restoration::begin(temp.path(), 1).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            assert!(!temp.path().join(LOCK).exists());
            assert_eq!(fs::read(&path).unwrap(), b"mine");
        }
    }

    #[test]
    fn a_directory_in_use_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let _first = Restoration::begin(temp.path(), 1).unwrap();
        let error = Restoration::begin(temp.path(), 1).unwrap_err();
        assert!(matches!(error, StorageError::Locked { .. }), "{error}");
    }

    #[test]
    fn wherever_it_is_interrupted_all_is_there_or_it_can_be_done_again() {
        for fault in [Fault::Power, Fault::Once, Fault::Full] {
            let mut operations = 0;
            let mut complete = 0;
            loop {
                let files = TestFiles::new();
                let path = files.root().join("nodes/3");
                files.arm(operations, fault);
                let restored = restore(&files, &path);
                if files.fired().is_none() {
                    files.mend();
                    assert_eq!(found(&files, &path), Some(restored.unwrap()));
                    break;
                }
                let killed = files.kill();
                let check = |files: &TestFiles, what: &str| {
                    let path = files.root().join("nodes/3");
                    let place = format!("{fault:?} at {operations}, {what}");
                    if path.join("node.redb").exists() {
                        assert!(found(files, &path).is_some(), "{place}");
                        return 1;
                    }
                    let again = restore(files, &path);
                    let again = again.unwrap_or_else(|error| panic!("{place}: {error}"));
                    assert_eq!(found(files, &path), Some(again), "{place}");
                    0
                };
                if fault == Fault::Power {
                    for seed in seeds(4) {
                        let left = killed.power_failure(&mut Rng::with_seed(seed));
                        complete += check(&left, &format!("power, seed {seed}"));
                    }
                }
                complete += check(&killed, "kill");
                operations += 1;
            }
            assert!(operations > 20, "{operations}");
            // The name that counts is given at the end, and may or may not outlast the power.
            assert!(complete > 0);
        }
    }

    #[test]
    fn what_is_not_finished_is_no_node() {
        let temp = tempfile::tempdir().unwrap();
        let restoration = Restoration::begin(temp.path(), 1).unwrap();
        let meta = SnapshotMeta {
            last_log_id: Some(covered()),
            ..SnapshotMeta::default()
        };
        let writer = restoration.snapshots().begin(meta, Vec::new()).unwrap();
        writer.finish().unwrap();
        drop(restoration);
        let error = DataDir::open(temp.path()).unwrap_err();
        assert!(matches!(error, StorageError::Unfinished { .. }), "{error}");
    }
}
