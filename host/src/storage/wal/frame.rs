//! Frames: what one commit puts on disk, all of it or nothing.
//!
//! ```text
//! 4 bytes  length of the records, little-endian
//! 4 bytes  crc32 of the file's id, the number and the records, little-endian
//! 8 bytes  number: one more than that of the frame before it, little-endian
//! records  each a byte that tells its kind, and
//!          entry       index u64, length u32, the entry as schema.rs stores it
//!          truncation  first index that is gone, u64
//!          vote, committed, purged
//!                      length u32, the value as schema.rs stores it
//! zeros    up to a multiple of eight bytes
//! ```

use super::super::StorageError;
use super::super::schema::{decode_meta, encode_entry, encode_meta};
use super::FileId;
use crate::types::{Entry, LogId, LogIndex, Vote};

const HEADER: usize = 16;
const NUMBER_AT: usize = 8;
const ALIGNMENT: usize = 8;

const ENTRY: u8 = 1;
const TRUNCATION: u8 = 2;
const VOTE_SAVED: u8 = 3;
const COMMIT: u8 = 4;
const PURGE: u8 = 5;

/// A frame in the making.
#[derive(Debug)]
pub(in crate::storage) struct Frame(Vec<u8>);

impl Default for Frame {
    fn default() -> Self {
        Self(vec![0; HEADER])
    }
}

impl Frame {
    /// Begins anew, and keeps the memory unless it is more than `most` bytes.
    pub(in crate::storage) fn clear(&mut self, most: usize) {
        self.0.truncate(HEADER);
        self.0.shrink_to(most);
    }

    pub(in crate::storage) fn is_empty(&self) -> bool {
        self.0.len() == HEADER
    }

    /// Adds an entry. Returns the bytes that it takes as it is stored.
    pub(in crate::storage) fn entry(
        &mut self,
        entry: &Entry,
        position: u64,
    ) -> Result<u64, StorageError> {
        self.0.push(ENTRY);
        self.0.extend_from_slice(&entry.log_id.index.to_le_bytes());
        let length_at = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        encode_entry(entry, position, &mut self.0)?;
        let length = self.0.len() - length_at - 4;
        self.0[length_at..length_at + 4].copy_from_slice(&number(length)?.to_le_bytes());
        Ok(length as u64)
    }

    pub(in crate::storage) fn truncate(&mut self, from: LogIndex) {
        self.0.push(TRUNCATION);
        self.0.extend_from_slice(&from.to_le_bytes());
    }

    pub(in crate::storage) fn vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        self.value(VOTE_SAVED, &encode_meta(vote)?)
    }

    pub(in crate::storage) fn committed(&mut self, committed: &LogId) -> Result<(), StorageError> {
        self.value(COMMIT, &encode_meta(committed)?)
    }

    pub(in crate::storage) fn purge(&mut self, upto: &LogId) -> Result<(), StorageError> {
        self.value(PURGE, &encode_meta(upto)?)
    }

    fn value(&mut self, kind: u8, value: &[u8]) -> Result<(), StorageError> {
        self.0.push(kind);
        self.0
            .extend_from_slice(&number(value.len())?.to_le_bytes());
        self.0.extend_from_slice(value);
        Ok(())
    }

    /// Bytes that the frame takes in the file.
    pub(super) fn size(&self) -> u64 {
        self.0.len().next_multiple_of(ALIGNMENT) as u64
    }

    /// The frame as it goes to disk, and as it will be read.
    pub(super) fn seal(
        &mut self,
        id: &FileId,
        frame_number: u64,
    ) -> Result<(&[u8], Sealed<'_>), StorageError> {
        let end = self.0.len();
        let length = number(end - HEADER)?;
        self.0[..4].copy_from_slice(&length.to_le_bytes());
        self.0[NUMBER_AT..HEADER].copy_from_slice(&frame_number.to_le_bytes());
        let crc = checksum(id, &self.0[NUMBER_AT..]);
        self.0[4..NUMBER_AT].copy_from_slice(&crc.to_le_bytes());
        self.0.resize(end.next_multiple_of(ALIGNMENT), 0);
        let sealed = Sealed::of(frame_number, &self.0[HEADER..end]);
        Ok((&self.0, sealed))
    }
}

fn number(length: usize) -> Result<u32, StorageError> {
    u32::try_from(length).map_err(|_| {
        StorageError::Refused(format!(
            "{length} bytes are too many for one frame of the log"
        ))
    })
}

fn checksum(id: &FileId, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(id);
    hasher.update(rest);
    hasher.finalize()
}

/// A frame as it was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sealed<'a> {
    pub(super) number: u64,
    /// Bytes that it takes in the file.
    pub(super) size: u64,
    records: &'a [u8],
}

impl<'a> Sealed<'a> {
    /// Bytes before the records.
    pub(super) const HEADER: usize = HEADER;

    /// The number of a frame that begins so, if one does.
    pub(super) fn number_of(start: &[u8; HEADER]) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|at| start[NUMBER_AT + at]))
    }

    /// The frame at the start of `bytes`, if there is a whole one.
    pub(super) fn read(id: &FileId, bytes: &'a [u8]) -> Option<Self> {
        let (number, end) = header(bytes)?;
        let crc = u32::from_le_bytes(bytes[4..NUMBER_AT].try_into().ok()?);
        let checked = bytes.get(NUMBER_AT..end)?;
        (checksum(id, checked) == crc).then(|| Self::of(number, &bytes[HEADER..end]))
    }

    fn of(number: u64, records: &'a [u8]) -> Self {
        Self {
            number,
            size: (HEADER + records.len()).next_multiple_of(ALIGNMENT) as u64,
            records,
        }
    }

    /// Whether some frame with a number of `numbers` begins in `bytes`.
    pub(super) fn is_in(id: &FileId, bytes: &'a [u8], numbers: std::ops::Range<u64>) -> bool {
        (0..bytes.len()).step_by(ALIGNMENT).any(|at| {
            let bytes = &bytes[at..];
            header(bytes).is_some_and(|(number, _)| numbers.contains(&number))
                && Self::read(id, bytes).is_some()
        })
    }

    /// What is in it, in the order of its making.
    pub(super) fn records(&self) -> Records<'a> {
        Records(self.records)
    }
}

/// Number and end of the frame at the start of `bytes`, if it may be one.
fn header(bytes: &[u8]) -> Option<(u64, usize)> {
    let header = bytes.first_chunk::<HEADER>()?;
    let (length, rest) = header.split_first_chunk::<4>()?;
    let number = rest.last_chunk::<8>()?;
    let end = HEADER.checked_add(u32::from_le_bytes(*length) as usize)?;
    (end > HEADER && end <= bytes.len()).then_some((u64::from_le_bytes(*number), end))
}

/// One change of the log.
#[derive(Debug)]
pub(super) enum Record<'a> {
    Entry { index: LogIndex, stored: &'a [u8] },
    Truncation(LogIndex),
    Vote(Vote),
    Committed(LogId),
    Purged(LogId),
}

/// The records of a frame.
#[derive(Debug)]
pub(super) struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&kind, rest) = self.0.split_first()?;
        self.0 = rest;
        let record = self.record(kind);
        if record.is_err() {
            self.0 = &[];
        }
        Some(record)
    }
}

impl<'a> Records<'a> {
    fn record(&mut self, kind: u8) -> Result<Record<'a>, StorageError> {
        match kind {
            ENTRY => Ok(Record::Entry {
                index: self.index()?,
                stored: self.value()?,
            }),
            TRUNCATION => Ok(Record::Truncation(self.index()?)),
            VOTE_SAVED => Ok(Record::Vote(decode_meta("vote", self.value()?)?)),
            COMMIT => Ok(Record::Committed(decode_meta(
                "committed id",
                self.value()?,
            )?)),
            PURGE => Ok(Record::Purged(decode_meta("purged id", self.value()?)?)),
            kind => Err(malformed(format!("a record of kind {kind}"))),
        }
    }

    fn index(&mut self) -> Result<LogIndex, StorageError> {
        let (index, rest) = self
            .0
            .split_first_chunk::<8>()
            .ok_or_else(|| malformed("a record that is cut off".to_owned()))?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*index))
    }

    fn value(&mut self) -> Result<&'a [u8], StorageError> {
        let cut_off = || malformed("a record that is cut off".to_owned());
        let (length, rest) = self.0.split_first_chunk::<4>().ok_or_else(cut_off)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (value, rest) = rest.split_at_checked(length).ok_or_else(cut_off)?;
        self.0 = rest;
        Ok(value)
    }
}

fn malformed(reason: String) -> StorageError {
    StorageError::damaged("a frame of log.wal", reason)
}
