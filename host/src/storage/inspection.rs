//! A data directory as it is, for tools that look at it while no node runs there.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;

use super::data_dir::FORGOTTEN;
use super::snapshot_file::stem;
use super::snapshot_store::SNAPSHOT_EXTENSION;
use super::wal::{Marks, Wal};
use super::{DataDir, Database, Identity, SnapshotFile, StorageError, TrapLedger};
use crate::types::{Entry, LogId, LogIndex, Vote};

/// Weight of the entries that are decoded at a time.
const PAGE_BYTES: u64 = 8 << 20;

/// Holds a data directory's lock, and changes nothing in it.
#[derive(Debug)]
pub struct Inspection {
    dir: DataDir,
}

/// What a log tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSummary {
    /// The last vote.
    pub vote: Option<Vote>,
    /// The last entry that this node knew to be committed when it last wrote.
    pub committed: Option<LogId>,
    /// The last entry that was purged.
    pub purged: Option<LogId>,
    /// The first entry that is there.
    pub first: Option<LogId>,
    /// The last entry, purged or not.
    pub last: Option<LogId>,
    /// Whether bytes of one more commit are there that do not read back: a crash leaves that.
    pub is_torn: bool,
}

impl Inspection {
    /// Locks the directory.
    ///
    /// # Errors
    /// As [`DataDir::inspect`].
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let dir = DataDir::inspect(path)?;
        Ok(Self { dir })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Goes on to change it, without letting go of the lock.
    pub fn into_dir(self) -> DataDir {
        self.dir
    }

    /// Whose directory it is, and how many entries trapped. All of the database is checked.
    ///
    /// # Errors
    /// [`StorageError::Damaged`], or what the disk says.
    pub fn identity(&self) -> Result<(Option<Identity>, usize), StorageError> {
        self.dir.check_whole()?;
        let path = self.dir.database();
        if !path.try_exists().map_err(StorageError::io("find", &path))? {
            return Ok((None, 0));
        }
        let database = Database::read_copy(&path)?;
        let identity = database.identity()?;
        let traps = TrapLedger::open(database)?;
        Ok((identity, traps.len()))
    }

    /// Bytes of the log's file, of which a part may be unused.
    pub fn log_bytes(&self) -> u64 {
        self.dir.log().metadata().map_or(0, |file| file.len())
    }

    /// Reads the whole log, and tells each entry that is there.
    ///
    /// # Errors
    /// [`StorageError::Damaged`], [`StorageError::NewerFormat`], or what the disk says.
    pub fn log(&self, mut on_entry: impl FnMut(&Entry)) -> Result<LogSummary, StorageError> {
        let path = self.dir.log();
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                StorageError::damaged(path.display(), format!("it is gone, and {FORGOTTEN}"))
            }
            _ => StorageError::io("open", &path)(error),
        })?;
        let backend = FileBackend::new(file)
            .map_err(|error| StorageError::io("open", &path)(io::Error::other(error)))?;
        let wal = Wal::open(Box::new(backend), path)?;
        let reader = wal.reader();
        let stored = reader.stored();
        let Marks {
            vote,
            committed,
            purged,
        } = wal.marks();
        let (mut first, mut last) = (None, purged);
        let mut next = 0;
        loop {
            let page = stored.read(next..LogIndex::MAX, PAGE_BYTES)?;
            let Some(end) = page.last() else { break };
            next = end.log_id.index + 1;
            for entry in &page {
                first.get_or_insert(entry.log_id);
                last = Some(entry.log_id);
                on_entry(entry);
            }
        }
        Ok(LogSummary {
            vote,
            committed,
            purged,
            first,
            last,
            is_torn: wal.is_torn()?,
        })
    }

    /// The files of snapshots and of states from before an activation, and those that were set aside.
    ///
    /// # Errors
    /// What the file system says.
    pub fn snapshots(&self) -> Result<Vec<PathBuf>, StorageError> {
        list(&self.dir.snapshots())
    }

    /// The files of modules.
    ///
    /// # Errors
    /// What the file system says.
    pub fn modules(&self) -> Result<Vec<PathBuf>, StorageError> {
        list(&self.dir.modules())
    }
}

/// Whether a file has the name that a snapshot of its content has.
pub fn is_named_right(file: &SnapshotFile) -> bool {
    let stem = stem(file.meta().last_log_id);
    file.path().file_name() == Some(format!("{stem}.{SNAPSHOT_EXTENSION}").as_ref())
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries,
    };
    let paths: io::Result<Vec<_>> =
        entries.and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut paths = paths.map_err(StorageError::io("list", folder))?;
    paths.sort();
    Ok(paths)
}
