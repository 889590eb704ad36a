//! How the file is divided.
//!
//! ```text
//! 4096 bytes  what the file is: magic, version, extent size, id, crc32
//! slots       of one extent size each; an extent takes one, or as many as its first frame needs
//!
//! extent      512 bytes  length u32, crc32 of the file's id and all that follows, the header
//!             frames     see frame.rs; what is behind the last one is of no meaning
//! ```
//!
//! The id is random and never told: bytes that a client stored cannot pass for a header or a frame,
//! wherever in the file they come to lie.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::super::StorageError;
use super::FileId;
use crate::types::{LogId, LogIndex, Vote};

/// Where the slots begin.
pub(super) const SLOTS_AT: u64 = 4096;
/// Where in an extent the frames begin.
pub(super) const FRAMES_AT: u64 = 512;

const MAGIC: [u8; 8] = *b"rkv-wal\0";
const VERSION: u32 = 1;

/// What the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Superblock {
    pub(super) id: FileId,
    /// Bytes of a slot.
    pub(super) slot: u64,
}

impl Superblock {
    /// Where in the file a slot begins.
    pub(super) fn start_of(&self, slot: u64) -> u64 {
        SLOTS_AT + slot * self.slot
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut block = MAGIC.to_vec();
        block.extend_from_slice(&VERSION.to_le_bytes());
        block.extend_from_slice(&self.slot.to_le_bytes());
        block.extend_from_slice(&self.id);
        block.extend_from_slice(&crc32fast::hash(&block).to_le_bytes());
        block.resize(SLOTS_AT as usize, 0);
        block
    }

    /// `name` is that of the file.
    pub(super) fn decode(block: &[u8], name: &dyn fmt::Display) -> Result<Self, StorageError> {
        let damaged = |reason: &str| StorageError::damaged(name, reason);
        let (magic, rest) = block
            .split_first_chunk::<8>()
            .ok_or_else(|| damaged("it is too short"))?;
        if *magic != MAGIC {
            return Err(damaged("it does not begin like a log"));
        }
        let mut rest = rest.iter().copied();
        let mut take = || rest.next().unwrap_or(0);
        let version = u32::from_le_bytes(std::array::from_fn(|_| take()));
        if version > VERSION {
            return Err(StorageError::NewerFormat {
                what: name.to_string(),
                found: version,
                known: VERSION,
            });
        }
        let slot = u64::from_le_bytes(std::array::from_fn(|_| take()));
        let id = std::array::from_fn(|_| take());
        let found = Self { id, slot };
        if version != VERSION || slot <= FRAMES_AT || found.encode() != block {
            return Err(damaged("its first block is not what was written"));
        }
        Ok(found)
    }
}

/// What openraft saved last, as far as it is on disk.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::storage) struct Marks {
    pub(in crate::storage) vote: Option<Vote>,
    /// A committed id, at or before the true one.
    pub(in crate::storage) committed: Option<LogId>,
    /// The last entry that was purged.
    pub(in crate::storage) purged: Option<LogId>,
}

/// The start of an extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    /// One more than that of the extent that was written before it.
    pub(super) sequence: u64,
    /// Slots that it takes.
    pub(super) slots: u32,
    /// The number of its first frame.
    pub(super) first_frame: u64,
    /// The index behind the last entry of the log when the extent was begun: all entries before it
    /// are in earlier extents, which nobody needs once these entries are purged.
    pub(super) next_index: LogIndex,
    /// As of then: so that earlier extents are not needed for them either.
    pub(super) marks: Marks,
}

impl Header {
    pub(super) fn encode(&self, id: &FileId) -> Result<Vec<u8>, StorageError> {
        let encoded = postcard::to_stdvec(self).map_err(|error| {
            StorageError::Refused(format!("cannot encode an extent's header: {error}"))
        })?;
        // A header takes some hundred bytes at the most.
        let mut block = (encoded.len() as u32).to_le_bytes().to_vec();
        block.extend_from_slice(&checksum(id, &encoded).to_le_bytes());
        block.extend_from_slice(&encoded);
        block.resize(FRAMES_AT as usize, 0);
        Ok(block)
    }

    /// The header at the start of a slot, if one is there.
    pub(super) fn decode(id: &FileId, block: &[u8]) -> Option<Self> {
        let (length, rest) = block.split_first_chunk::<4>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let encoded = rest.get(..u32::from_le_bytes(*length) as usize)?;
        if checksum(id, encoded) != u32::from_le_bytes(*crc) {
            return None;
        }
        postcard::from_bytes(encoded).ok()
    }
}

fn checksum(id: &FileId, encoded: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(b"extent");
    hasher.update(id);
    hasher.update(encoded);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_of_the_first_block_is_noticed() {
        let superblock = Superblock {
            id: [7; 16],
            slot: 4 << 20,
        };
        let good = superblock.encode();
        assert_eq!(Superblock::decode(&good, &"it").unwrap(), superblock);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Superblock::decode(&bad, &"it").is_err(), "bit {bit}");
        }
        assert!(Superblock::decode(&good[..30], &"it").is_err());
    }

    #[test]
    fn a_header_of_another_file_is_none() {
        let id = |index| Some(LogId::new_term_index(u64::MAX, index));
        let header = Header {
            sequence: u64::MAX,
            slots: u32::MAX,
            first_frame: u64::MAX,
            next_index: u64::MAX,
            marks: Marks {
                vote: Some(Vote::new_committed(u64::MAX, u64::MAX)),
                committed: id(u64::MAX),
                purged: id(u64::MAX),
            },
        };
        let block = header.encode(&[7; 16]).unwrap();
        assert_eq!(block.len() as u64, FRAMES_AT, "the largest header fits");
        assert_eq!(Header::decode(&[7; 16], &block), Some(header));
        assert_eq!(Header::decode(&[8; 16], &block), None);
        assert_eq!(Header::decode(&[7; 16], &[0; 512]), None);
    }
}
