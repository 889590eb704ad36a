//! The write-ahead log: one file, which is written at its end and read when memory does not have
//! an entry any more.
//!
//! A commit is one frame: one write and one sync, into space that the file has already, because a
//! file that grows makes the file system write, too. Space of purged entries is written anew.
//!
//! At most one frame is not synced yet. So after a crash the last frame may be torn, and counts as
//! not written; any other that does not read back is damage, and an error.

mod frame;
mod layout;
mod map;
mod recovery;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::LogIdOptionExt;
use parking_lot::{RwLock, RwLockReadGuard};
use redb::StorageBackend;
use redb::backends::FileBackend;

pub(super) use self::frame::Frame;
use self::frame::{Record, Sealed};
pub(super) use self::layout::Marks;
use self::layout::{FRAMES_AT, Header, SLOTS_AT, Superblock};
use self::map::{Map, Place};
use super::StorageError;
use super::files::{Files, publish, remove};
use super::identity::random_bytes;
use super::schema::{decode_entry, weight};
use crate::types::{Entry, LogIndex};

/// Sixteen random bytes.
type FileId = [u8; 16];

/// Zeros are written in pieces of this many bytes.
const ZEROS: usize = 1 << 20;

/// The file, and what it is.
#[derive(Debug)]
struct Source {
    backend: Box<dyn StorageBackend>,
    superblock: Superblock,
    /// For what is said of the file.
    path: PathBuf,
}

impl Source {
    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), StorageError> {
        let read = self.backend.read(at, bytes);
        read.map_err(StorageError::io("read", &self.path))
    }

    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let written = self.backend.write(at, bytes);
        written.map_err(StorageError::io("write", &self.path))
    }

    fn sync(&self) -> Result<(), StorageError> {
        let synced = self.backend.sync_data();
        synced.map_err(StorageError::io("sync", &self.path))
    }

    fn damaged(&self, reason: impl fmt::Display) -> StorageError {
        StorageError::damaged(self.path.display(), reason)
    }
}

/// The log on disk, for the one thread that writes it.
pub(super) struct Wal {
    source: Arc<Source>,
    map: Arc<RwLock<Map>>,
    /// Those that are needed, in the order of their sequence. The last one is written to.
    extents: VecDeque<Extent>,
    /// Slots that are not.
    free: BTreeSet<u64>,
    /// Slots that the file has.
    slots: u64,
    /// Where in the file the next frame goes.
    end: u64,
    next_frame: u64,
    marks: Marks,
}

#[derive(Debug, Clone, Copy)]
struct Extent {
    slot: u64,
    header: Header,
}

impl Wal {
    /// Makes the file `path`, with `first` in it or empty. Durable on return.
    pub(super) fn create(
        files: &dyn Files,
        path: &Path,
        extent_bytes: u64,
        first: Option<&mut Frame>,
    ) -> Result<(), StorageError> {
        let temp = path.with_extension("tmp");
        remove(files, &temp)?;
        let file = files
            .append(&temp)
            .map_err(StorageError::io("create", &temp))?;
        files
            .write(&file, &new_file(extent_bytes)?)
            .map_err(StorageError::io("write", &temp))?;
        if let Some(first) = first {
            Self::open(Box::new(backend(&temp)?), temp.clone())?.commit(first)?;
        }
        publish(files, &file, &temp, path)
    }

    /// Opens a file, and makes durable all that it tells.
    pub(super) fn open(
        backend: Box<dyn StorageBackend>,
        path: PathBuf,
    ) -> Result<Self, StorageError> {
        let length = backend.len().map_err(StorageError::io("measure", &path))?;
        let mut block = vec![0; SLOTS_AT.min(length) as usize];
        let read = backend.read(0, &mut block);
        read.map_err(StorageError::io("read", &path))?;
        let superblock = Superblock::decode(&block, &path.display())?;
        let source = Arc::new(Source {
            backend,
            superblock,
            path,
        });
        let slots = length - SLOTS_AT;
        // It grows by whole slots. What is left of a file that was cut must not pass for a shorter log.
        if !slots.is_multiple_of(superblock.slot) {
            return Err(source.damaged(format!("it is cut off behind {length} bytes")));
        }
        recovery::recover(source, slots / superblock.slot)
    }

    pub(super) fn marks(&self) -> Marks {
        self.marks
    }

    /// Whether the frame that comes next was begun and does not read back: the power failed, or its
    /// bytes changed since.
    pub(super) fn is_torn(&self) -> Result<bool, StorageError> {
        let mut start = [0; Sealed::HEADER];
        let room = self
            .extents
            .back()
            .map_or(0, |last| self.end_of(last) - self.end);
        if room < start.len() as u64 {
            return Ok(false);
        }
        self.source.read(self.end, &mut start)?;
        Ok(Sealed::number_of(&start) == self.next_frame)
    }

    pub(super) fn reader(&self) -> WalReader {
        WalReader {
            source: Arc::clone(&self.source),
            map: Arc::clone(&self.map),
        }
    }

    /// Puts the frame on disk. After an error the log must not be written any more: the system may
    /// count what it could not write as written. Answers how long the sync took.
    pub(super) fn commit(&mut self, frame: &mut Frame) -> Result<Duration, StorageError> {
        let fits = self
            .extents
            .back()
            .is_some_and(|extent| self.end + frame.size() <= self.end_of(extent));
        if !fits {
            self.begin_extent(frame.size())?;
        }
        let (bytes, sealed) = frame.seal(&self.source.superblock.id, self.next_frame)?;
        self.source.write(self.end, bytes)?;
        let syncing = Instant::now();
        self.source.sync()?;
        let synced = syncing.elapsed();
        self.note(sealed)?;
        self.release();
        Ok(synced)
    }

    /// Takes in the frame at the end.
    fn note(&mut self, sealed: Sealed<'_>) -> Result<(), StorageError> {
        let records: Vec<Record<'_>> = sealed.records().collect::<Result<_, _>>()?;
        self.map.write().note(self.end, sealed.size, records.iter());
        for record in records {
            match record {
                Record::Vote(vote) => self.marks.vote = Some(vote),
                Record::Committed(committed) => self.marks.committed = Some(committed),
                Record::Purged(upto) => self.marks.purged = Some(upto),
                Record::Entry { .. } | Record::Truncation(_) => {}
            }
        }
        self.end += sealed.size;
        self.next_frame = sealed.number + 1;
        Ok(())
    }

    /// Lets go of extents whose entries are all purged.
    fn release(&mut self) {
        let kept = self.marks.purged.next_index();
        while self
            .extents
            .get(1)
            .is_some_and(|second| second.header.next_index <= kept)
        {
            if let Some(extent) = self.extents.pop_front() {
                self.free.extend(extent.slots());
            }
        }
    }

    /// Where entries go on.
    fn next_index(&self) -> LogIndex {
        let last = self.map.read().last();
        last.map_or(self.marks.purged.next_index(), |place| place.last + 1)
    }

    /// Begins an extent with room for a frame of `size` bytes. All earlier frames are on disk.
    fn begin_extent(&mut self, size: u64) -> Result<(), StorageError> {
        let slots = (FRAMES_AT + size).div_ceil(self.source.superblock.slot);
        let slot = match self.free_run(slots) {
            Some(slot) => slot,
            None => self.grow(slots)?,
        };
        let last = self.extents.back();
        let header = Header {
            sequence: last.map_or(0, |extent| extent.header.sequence + 1),
            slots: u32::try_from(slots)
                .map_err(|_| StorageError::Refused("a frame is too large".to_owned()))?,
            first_frame: self.next_frame,
            next_index: self.next_index(),
            marks: self.marks,
        };
        let extent = Extent { slot, header };
        let block = header.encode(&self.source.superblock.id)?;
        let start = self.start_of(&extent);
        self.source.write(start, &block)?;
        self.free.retain(|slot| !extent.slots().contains(slot));
        self.extents.push_back(extent);
        self.end = start + FRAMES_AT;
        Ok(())
    }

    /// The first of `slots` free slots in a row.
    fn free_run(&self, slots: u64) -> Option<u64> {
        let mut run = 0;
        let mut before = None;
        for &slot in &self.free {
            run = if before == slot.checked_sub(1) && run > 0 {
                run + 1
            } else {
                1
            };
            before = Some(slot);
            if run == slots {
                return Some(slot + 1 - slots);
            }
        }
        None
    }

    /// Adds slots to the file, and writes them once, so that the file system has no more to do when
    /// frames are written to them. Returns the first.
    fn grow(&mut self, slots: u64) -> Result<u64, StorageError> {
        let first = self.slots;
        let [start, end] = [first, first + slots].map(|slot| self.source.superblock.start_of(slot));
        let extended = self.source.backend.set_len(end);
        extended.map_err(StorageError::io("extend", &self.source.path))?;
        let zeros = vec![0; ZEROS.min((end - start) as usize)];
        let mut at = start;
        while at < end {
            let piece = &zeros[..zeros.len().min((end - at) as usize)];
            self.source.write(at, piece)?;
            at += piece.len() as u64;
        }
        self.slots += slots;
        Ok(first)
    }

    fn start_of(&self, extent: &Extent) -> u64 {
        self.source.superblock.start_of(extent.slot)
    }

    fn end_of(&self, extent: &Extent) -> u64 {
        self.source.superblock.start_of(extent.slots().end)
    }
}

impl Extent {
    fn slots(&self) -> std::ops::Range<u64> {
        self.slot..self.slot + u64::from(self.header.slots)
    }
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal")
            .field("extents", &self.extents)
            .field("end", &self.end)
            .field("next_frame", &self.next_frame)
            .finish_non_exhaustive()
    }
}

/// Reads entries. Clones read the same log.
#[derive(Debug, Clone)]
pub(super) struct WalReader {
    source: Arc<Source>,
    map: Arc<RwLock<Map>>,
}

/// The log as it is on disk, which stays so while this is held: the writer waits.
pub(super) struct Stored<'w> {
    source: &'w Source,
    map: RwLockReadGuard<'w, Map>,
}

impl WalReader {
    pub(super) fn stored(&self) -> Stored<'_> {
        Stored {
            source: &self.source,
            map: self.map.read(),
        }
    }
}

impl Stored<'_> {
    /// The last entry, and its position.
    pub(super) fn last(&self) -> Result<Option<(Entry, u64)>, StorageError> {
        match self.map.last() {
            Some(place) => Ok(self.entries_of(&place)?.pop()),
            None => Ok(None),
        }
    }

    /// The entries of `range`, up to `bytes` of weight, at least one where there is any.
    pub(super) fn read(
        &self,
        range: std::ops::Range<LogIndex>,
        bytes: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut left = bytes;
        for place in self.map.from(range.start) {
            if place.first >= range.end {
                break;
            }
            for (entry, _) in self.entries_of(place)? {
                if !range.contains(&entry.log_id.index) {
                    continue;
                }
                let weight = weight(&entry);
                if weight > left && !entries.is_empty() {
                    return Ok(entries);
                }
                left = left.saturating_sub(weight);
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    /// The position of the first entry at or behind `index`.
    pub(super) fn position(&self, index: LogIndex) -> Result<Option<u64>, StorageError> {
        let Some(place) = self.map.from(index).next() else {
            return Ok(None);
        };
        let mut entries = self.entries_of(place)?.into_iter();
        let found = entries.find(|(entry, _)| entry.log_id.index >= index);
        Ok(found.map(|(_, position)| position))
    }

    /// Those entries of a frame that count.
    fn entries_of(&self, place: &Place) -> Result<Vec<(Entry, u64)>, StorageError> {
        let mut bytes = vec![0; place.size as usize];
        self.source.read(place.offset, &mut bytes)?;
        let what = || format!("log entries {} to {}", place.first, place.last);
        let sealed = Sealed::read(&self.source.superblock.id, &bytes)
            .ok_or_else(|| StorageError::damaged(what(), "their checksum does not match"))?;
        let mut found: Vec<(LogIndex, &[u8])> = Vec::new();
        for record in sealed.records() {
            match record? {
                Record::Entry { index, stored } => found.push((index, stored)),
                Record::Truncation(from) => found.retain(|(index, _)| *index < from),
                Record::Vote(_) | Record::Committed(_) | Record::Purged(_) => {}
            }
        }
        found.retain(|(index, _)| (place.first..=place.last).contains(index));
        let expected = (place.last - place.first + 1) as usize;
        if found.len() != expected {
            let reason = format!("{} of them are there", found.len());
            return Err(StorageError::damaged(what(), reason));
        }
        let decoded = found
            .into_iter()
            .map(|(index, stored)| decode_entry(index, stored));
        decoded.collect()
    }
}

/// A file, to be read and written.
pub(super) fn backend(path: &Path) -> Result<FileBackend, StorageError> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.map_err(StorageError::io("open", path))?;
    FileBackend::new(file).map_err(|error| StorageError::io("open", path)(io::Error::other(error)))
}

/// The content of a new file.
pub(super) fn new_file(extent_bytes: u64) -> Result<Vec<u8>, StorageError> {
    let id: FileId = random_bytes()?;
    let slot = extent_bytes.max(2 * FRAMES_AT);
    Ok(Superblock { id, slot }.encode())
}
