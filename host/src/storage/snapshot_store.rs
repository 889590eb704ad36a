//! The snapshots of this node: which are kept, and which is the newest that can be trusted.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::files::{Files, publish, remove, sync_names};
use super::previous::PREVIOUS_EXTENSION;
use super::snapshot_file::stem;
use super::{
    DataDir, IncomingSnapshot, PurgeFloor, SnapshotFile, SnapshotId, SnapshotWriter, StorageError,
};
use crate::types::{LogId, LogIndex, SnapshotMeta};

pub(super) const SNAPSHOT_EXTENSION: &str = "snap";
/// A file that is being written here: worthless once its writer is gone.
pub(super) const TEMP_EXTENSION: &str = "tmp";
/// A file that is being received: a later transfer goes on with it.
pub(super) const PARTIAL_EXTENSION: &str = "partial";
/// A file that was received in full, until openraft has decided: worthless after a restart.
pub(super) const RECEIVED_EXTENSION: &str = "received";
/// A damaged snapshot, for whoever wants to know what happened to it.
const BAD_EXTENSION: &str = "bad";

/// Snapshots that are kept: the newest, and the one to fall back to when its file is rotten.
const KEPT: usize = 2;

/// The folder of snapshots. Clones share it. Calls block on the disk.
///
/// ```text
/// snapshots/
///   <index>-<term>.snap                      a snapshot that covers the log up to there
///   <index>-<term>.<n>.tmp                   being written
///   <index>-<term>-<size>-<sha256>.partial   being received, at most one
///   <...>.received                           received, and not kept yet
///   <index>-<term>.bad                       found damaged, at most one
///   <index>.previous                         the state before the activation at index (previous.rs)
/// ```
#[derive(Debug, Clone)]
pub struct SnapshotStore {
    pub(super) folder: Arc<Folder>,
}

impl SnapshotStore {
    /// Opens the store: deletes what a dead run left unfinished, and sets aside files that are
    /// obviously damaged.
    ///
    /// # Errors
    /// [`StorageError::NewerFormat`] when a newer release wrote a snapshot, or what the file system
    /// says.
    pub fn open(dir: &DataDir) -> Result<Self, StorageError> {
        let folder = Folder {
            path: dir.snapshots(),
            files: dir.files.clone(),
            kept: Mutex::default(),
            writes: AtomicU64::new(0),
            replacements: Mutex::new(0),
            transfer: Mutex::new(0),
        };
        // What is found here lets the log be purged, so it must not be a name that a dead run gave and
        // did not sync.
        sync_names(&*folder.files, &folder.path)?;
        let mut kept = Vec::new();
        for path in folder.list()? {
            match path.extension().and_then(OsStr::to_str) {
                Some(TEMP_EXTENSION | RECEIVED_EXTENSION) => remove(&*folder.files, &path)?,
                Some(SNAPSHOT_EXTENSION) => match SnapshotFile::open(&path) {
                    Ok(snapshot) => kept.push(snapshot),
                    Err(error @ StorageError::Damaged { .. }) => folder.set_aside(&path, &error)?,
                    Err(error) => return Err(error),
                },
                _ => {}
            }
        }
        kept.sort_by_key(|snapshot| snapshot.meta().last_log_id);
        *folder.kept.lock() = kept;
        folder.retain();
        Ok(Self {
            folder: Arc::new(folder),
        })
    }

    /// Starts a snapshot. `head` is the state machine's own, at most some MiB.
    ///
    /// # Errors
    /// [`StorageError::Io`], such as a full disk.
    pub fn begin(&self, meta: SnapshotMeta, head: Vec<u8>) -> Result<SnapshotWriter, StorageError> {
        SnapshotWriter::begin(self.folder.clone(), meta, head)
    }

    /// Starts a snapshot that is not one of the kept ones, and takes none's place: its file is gone
    /// when nobody reads it any more.
    ///
    /// # Errors
    /// [`StorageError::Io`], such as a full disk.
    pub fn begin_passing(
        &self,
        meta: SnapshotMeta,
        head: Vec<u8>,
    ) -> Result<SnapshotWriter, StorageError> {
        SnapshotWriter::begin_passing(self.folder.clone(), meta, head)
    }

    /// Starts, or goes on with, receiving the snapshot that a peer calls `id`. Takes over from a
    /// transfer that may still be under way, and deletes what arrived of any other snapshot.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn incoming(&self, id: SnapshotId) -> Result<IncomingSnapshot, StorageError> {
        IncomingSnapshot::begin(self.folder.clone(), id)
    }

    /// The newest snapshot whose every chunk is good. Those found damaged on the way are set aside
    /// and logged. The first call reads a whole file, later ones don't.
    ///
    /// # Errors
    /// [`StorageError::Io`] when a file cannot be read: it may be fine, so nothing is set aside.
    pub fn newest_good(&self) -> Result<Option<SnapshotFile>, StorageError> {
        loop {
            // Not locked while reading: that takes seconds, and snapshots may be finished meanwhile.
            let Some(newest) = self.folder.kept.lock().last().cloned() else {
                return Ok(None);
            };
            match newest.verify() {
                Ok(()) => return Ok(Some(newest)),
                Err(error @ StorageError::Damaged { .. }) => {
                    // The name must not become that of a new file before it is taken away.
                    let _naming = self.folder.replacements.lock();
                    let mut kept = self.folder.kept.lock();
                    let before = kept.len();
                    kept.retain(|kept| kept.id() != newest.id());
                    // Otherwise it was replaced while it was read.
                    if kept.len() < before {
                        self.folder.set_aside(newest.path(), &error)?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes a received snapshot one of the kept ones, durably, and deletes those that are one too
    /// many. A snapshot that is kept already stays so.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep(&self, snapshot: SnapshotFile) -> Result<SnapshotFile, StorageError> {
        if !is_received(&snapshot) {
            return Ok(snapshot);
        }
        let _naming = self.folder.replacements.lock();
        let kept = self.folder.place(&snapshot)?;
        self.folder.adopt(kept.clone());
        Ok(kept)
    }

    /// Puts a received snapshot in the place of all that this node computed, up to `applied`: of its
    /// snapshots, and of the state from before the last activation, nothing is left. Snapshots that
    /// are being written will not be finished ([`StorageError::Superseded`]). Durable on return.
    ///
    /// What covers more than `applied` came from the leader, is on its way to the state machine, and
    /// stays: the log behind it alone may be gone already.
    ///
    /// # Errors
    /// What the file system says. Called again, it goes on where it failed.
    pub fn replace_by(
        &self,
        snapshot: &SnapshotFile,
        applied: Option<LogId>,
    ) -> Result<SnapshotFile, StorageError> {
        let mut replacements = self.folder.replacements.lock();
        *replacements += 1;
        // In this order: at no time is there none.
        let placed = self.folder.place(snapshot)?;
        let staying = {
            let mut kept = self.folder.kept.lock();
            kept.retain(|other| {
                other.meta().last_log_id > applied && other.path() != placed.path()
            });
            kept.push(placed.clone());
            kept.sort_by_key(|snapshot| snapshot.meta().last_log_id);
            kept.clone()
        };
        // All that the folder has: a call that failed may have left more than is known of.
        for extension in [SNAPSHOT_EXTENSION, PREVIOUS_EXTENSION] {
            for path in self.folder.with_extension(extension)? {
                if staying.iter().all(|file| file.path() != path) {
                    remove(&*self.folder.files, &path)?;
                }
            }
        }
        // Otherwise the power may bring them back, and the newest of them would be believed.
        sync_names(&*self.folder.files, &self.folder.path)?;
        Ok(placed)
    }

    /// The last entries that the kept snapshots cover, oldest first.
    pub fn indexes(&self) -> Vec<LogIndex> {
        let kept = self.folder.kept.lock();
        let covered = |file: &SnapshotFile| file.meta().last_log_id.map(|id| id.index);
        kept.iter().filter_map(covered).collect()
    }

    /// Bytes of the kept snapshots' files, oldest first.
    pub fn sizes(&self) -> Vec<u64> {
        let kept = self.folder.kept.lock();
        kept.iter().map(|file| file.id().size).collect()
    }

    /// The kept snapshot that covers the log up to `index`, verified.
    ///
    /// # Errors
    /// [`StorageError::Damaged`], or what the file system says.
    pub fn at(&self, index: LogIndex) -> Result<Option<SnapshotFile>, StorageError> {
        let covers =
            |file: &&SnapshotFile| file.meta().last_log_id.is_some_and(|id| id.index == index);
        let found = self.folder.kept.lock().iter().find(covers).cloned();
        found.map(|file| file.verify().map(|()| file)).transpose()
    }

    /// Deletes a received snapshot that was not kept.
    ///
    /// # Errors
    /// What the file system says.
    pub fn discard(&self, snapshot: &SnapshotFile) -> Result<(), StorageError> {
        if is_received(snapshot) {
            remove(&*self.folder.files, snapshot.path())
        } else {
            Ok(())
        }
    }

    /// What the log has to keep, so that a rotten newest snapshot can be survived: pass it to
    /// `LogStore::set_purge_floor` after each snapshot.
    pub fn purge_floor(&self) -> PurgeFloor {
        let kept = self.folder.kept.lock();
        match kept.first().and_then(|oldest| oldest.meta().last_log_id) {
            Some(covered) if kept.len() >= KEPT => PurgeFloor::Upto(covered),
            _ => PurgeFloor::Nothing,
        }
    }
}

/// What the store shares with its writers and receivers.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) files: Arc<dyn Files>,
    /// The snapshots, oldest first.
    kept: Mutex<Vec<SnapshotFile>>,
    /// Keeps the temporary files of concurrent writers apart.
    writes: AtomicU64,
    /// How often the state was replaced by a peer's. Held while a finished file gets its name and its
    /// place, so that neither is of a state that is no more.
    pub(super) replacements: Mutex<u64>,
    /// The number of the transfer that may write to the partial file.
    pub(super) transfer: Mutex<u64>,
}

impl Folder {
    pub(super) fn path(&self, stem: &str, extension: &str) -> PathBuf {
        self.path.join(format!("{stem}.{extension}"))
    }

    pub(super) fn next_write(&self) -> u64 {
        self.writes.fetch_add(1, Ordering::Relaxed)
    }

    /// Gives a received snapshot the name of one that is kept, durably.
    fn place(&self, snapshot: &SnapshotFile) -> Result<SnapshotFile, StorageError> {
        let received = snapshot.path();
        let stem = stem(snapshot.meta().last_log_id);
        let dest = self.path(&stem, SNAPSHOT_EXTENSION);
        if received.exists() {
            let file = File::open(received).map_err(StorageError::io("open", received))?;
            publish(&*self.files, &file, received, &dest)?;
        } else {
            // A call before this one renamed it, and failed after that.
            sync_names(&*self.files, &self.path)?;
        }
        let placed = SnapshotFile::open(&dest)?;
        if placed.id() != snapshot.id() {
            return Err(StorageError::Refused(format!(
                "snapshot {} is gone: another one of the same index took its place",
                snapshot.id()
            )));
        }
        placed.mark_verified();
        Ok(placed)
    }

    /// Adds a published snapshot, which replaced one with the same last log id if there was any.
    pub(super) fn adopt(&self, snapshot: SnapshotFile) {
        let last_log_id = snapshot.meta().last_log_id;
        let mut kept = self.kept.lock();
        kept.retain(|other| other.meta().last_log_id != last_log_id);
        kept.push(snapshot);
        kept.sort_by_key(|snapshot| snapshot.meta().last_log_id);
        drop(kept);
        self.retain();
    }

    pub(super) fn remove_partials_except(&self, partial: &Path) -> Result<(), StorageError> {
        for path in self.with_extension(PARTIAL_EXTENSION)? {
            if path != partial {
                remove(&*self.files, &path)?;
            }
        }
        Ok(())
    }

    /// Deletes the oldest snapshots. One that cannot be deleted only takes up space.
    fn retain(&self) {
        let mut kept = self.kept.lock();
        let surplus = kept.len().saturating_sub(KEPT);
        for snapshot in kept.drain(..surplus) {
            if let Err(error) = remove(&*self.files, snapshot.path()) {
                tracing::warn!(%error, "an old snapshot stays");
            }
        }
    }

    /// Takes a damaged snapshot out of use. The one that was set aside before is deleted.
    fn set_aside(&self, path: &Path, error: &StorageError) -> Result<(), StorageError> {
        tracing::error!(%error, "a snapshot is damaged and not used: check this node's disk");
        for older in self.with_extension(BAD_EXTENSION)? {
            remove(&*self.files, &older)?;
        }
        let bad = path.with_extension(BAD_EXTENSION);
        self.files
            .rename(path, &bad)
            .map_err(StorageError::io("set aside", path))
    }

    pub(super) fn with_extension(&self, extension: &str) -> Result<Vec<PathBuf>, StorageError> {
        let mut paths = self.list()?;
        paths.retain(|path| path.extension().is_some_and(|found| found == extension));
        Ok(paths)
    }

    fn list(&self) -> Result<Vec<PathBuf>, StorageError> {
        fs::read_dir(&self.path)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .map_err(StorageError::io("list", &self.path))
    }
}

fn is_received(snapshot: &SnapshotFile) -> bool {
    snapshot
        .path()
        .extension()
        .is_some_and(|extension| extension == RECEIVED_EXTENSION)
}

#[cfg(test)]
mod tests;
