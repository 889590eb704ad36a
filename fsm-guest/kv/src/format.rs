//! The bytes of a snapshot.
//!
//! ```text
//! magic          8 bytes  "rkv:kv" 0 and the version of this format, 1 or 2
//! per key, in the order of the keys:
//!   tag          1 byte   1
//!   key length   4 bytes
//!   value length 4 bytes
//!   version      8 bytes  of the key, at least 1; only in format 2
//!   key
//!   value
//! tag            1 byte   0
//! count          8 bytes  of keys
//! ```
//!
//! Numbers are little-endian. Equal maps give equal bytes. There is no checksum: the host keeps
//! one of each snapshot, and what is checked here is that the bytes are a map.

use crate::Slot;

/// What it is. Behind it comes in which version.
pub(crate) const MAGIC_NAME: [u8; 7] = *b"rkv:kv\0";

/// Name and version.
pub(crate) const MAGIC_BYTES: usize = MAGIC_NAME.len() + 1;

pub(crate) const TAG_END: u8 = 0;
pub(crate) const TAG_RECORD: u8 = 1;

/// Tag and count.
pub(crate) const END_BYTES: usize = 1 + 8;

/// The versions of this format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Keys and values.
    Plain = 1,
    /// Keys, how often they were set, and values.
    Counted = 2,
}

impl Format {
    /// The format that slots of this type are written in.
    pub(crate) fn of<S: Slot>() -> Self {
        if S::COUNTED {
            Self::Counted
        } else {
            Self::Plain
        }
    }

    /// The format of the snapshots of a schema. Each has had its own, with the same number.
    pub(crate) fn of_schema(schema: u32) -> Option<Self> {
        match schema {
            1 => Some(Self::Plain),
            2 => Some(Self::Counted),
            _ => None,
        }
    }

    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    /// Appends the start.
    pub(crate) fn put_magic(self, out: &mut Vec<u8>) {
        out.extend(MAGIC_NAME);
        out.push(self.number());
    }

    /// Appends one key and what is under it.
    pub(crate) fn put_record<S: Slot>(self, out: &mut Vec<u8>, key: &[u8], slot: &S) {
        let value = slot.value();
        out.reserve(self.header_bytes() + key.len() + value.len());
        out.push(TAG_RECORD);
        // The casts lose nothing: a guest's memory, and so what is in it, is below 4 GiB.
        out.extend((key.len() as u32).to_le_bytes());
        out.extend((value.len() as u32).to_le_bytes());
        if self == Self::Counted {
            out.extend(slot.version().get().to_le_bytes());
        }
        out.extend_from_slice(key);
        out.extend_from_slice(value);
    }

    /// A record without its tag, borrowed from the front of `bytes`, or nothing if it is not
    /// complete.
    pub(crate) fn split_record(self, bytes: &[u8]) -> Option<Record<'_>> {
        let (key_length, rest) = bytes.split_first_chunk()?;
        let (value_length, rest) = rest.split_first_chunk()?;
        let (version, rest) = match self {
            Self::Plain => (1, rest),
            Self::Counted => {
                let (version, rest) = rest.split_first_chunk()?;
                (u64::from_le_bytes(*version), rest)
            }
        };
        let (key, rest) = rest.split_at_checked(length(*key_length)?)?;
        let (value, _) = rest.split_at_checked(length(*value_length)?)?;
        Some(Record {
            size: self.header_bytes() + key.len() + value.len(),
            key,
            version,
            value,
        })
    }

    /// Tag, lengths and version of a record.
    fn header_bytes(self) -> usize {
        match self {
            Self::Plain => 1 + 4 + 4,
            Self::Counted => 1 + 4 + 4 + 8,
        }
    }
}

/// What a record holds.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) key: &'a [u8],
    /// 1 where versions are not written.
    pub(crate) version: u64,
    pub(crate) value: &'a [u8],
    /// What the record takes, in bytes, with its tag.
    pub(crate) size: usize,
}

/// Appends the end.
pub(crate) fn put_end(out: &mut Vec<u8>, count: u64) {
    out.push(TAG_END);
    out.extend(count.to_le_bytes());
}

fn length(bytes: [u8; 4]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}
