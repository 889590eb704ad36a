//! The bytes of a snapshot file. Integers are little-endian.
//!
//! ```text
//! offset     bytes
//! 0          8      magic "RKVSNAP\0"
//! 8          4      format version
//! 12         4      H, length of the header
//! 16         4      crc32 of bytes 0..16 and of the header
//! 20         H      header: postcard of (SnapshotMeta, head)
//!
//!                   then chunks, each
//! +0         4      N, its length, never 0
//! +4         4      crc32 of its number (8 bytes, from 0), of N and of the content
//! +8         N      content
//!
//!                   then, as the last 64 bytes of the file, the trailer
//! +0         4      0, where a chunk would have its length
//! +4         8      number of chunks
//! +12        8      sum of their lengths
//! +20        32     sha256 of everything before the trailer
//! +52        4      crc32 of the 52 bytes before
//! +56        8      magic "RKVSEND\0"
//! ```
//!
//! Two checksums, as they answer different questions. The crc32 of a chunk is cheap (gigabytes a
//! second), is checked whenever the chunk is read, and covers its number, so that a chunk in
//! another's place does not match. The sha256 names the file: a transfer is resumed only if the
//! sender still has *that* file, and what arrived is compared with it once, at the end.

use serde::{Deserialize, Serialize};

use super::StorageError;
use crate::types::SnapshotMeta;

const MAGIC: [u8; 8] = *b"RKVSNAP\0";
const END_MAGIC: [u8; 8] = *b"RKVSEND\0";
const FORMAT: u32 = 1;

/// Bytes of a chunk, at most. Bounds the memory of whoever reads a file, damaged or not.
pub const MAX_CHUNK_BYTES: usize = 4 << 20;
/// Bytes of a header, at most, for the same reason.
const MAX_HEADER_BYTES: usize = 16 << 20;

/// Bytes from the start of the file to its header.
pub(super) const PREFIX_BYTES: usize = 20;
/// Bytes from the start of a chunk to its content.
pub(super) const CHUNK_HEAD_BYTES: usize = 8;
/// Bytes of the trailer.
pub(super) const TRAILER_BYTES: usize = 64;

/// What a snapshot says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) meta: SnapshotMeta,
    /// The state machine's own, opaque here.
    pub(super) head: Vec<u8>,
}

impl Header {
    /// The start of the file, up to the first chunk.
    pub(super) fn encode(&self) -> Result<Vec<u8>, StorageError> {
        let header = postcard::to_stdvec(self).map_err(|error| {
            StorageError::Refused(format!("cannot encode a snapshot's header: {error}"))
        })?;
        let length = u32::try_from(header.len())
            .ok()
            .filter(|_| header.len() <= MAX_HEADER_BYTES);
        let Some(length) = length else {
            return Err(StorageError::Refused(format!(
                "the header of a snapshot has {} bytes, at most {MAX_HEADER_BYTES} are possible",
                header.len()
            )));
        };
        let mut bytes = Vec::with_capacity(PREFIX_BYTES + header.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        let crc = crc(&[&bytes, &header]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&header);
        Ok(bytes)
    }

    /// The length of the header that follows `prefix`.
    pub(super) fn length(what: &str, prefix: &[u8; PREFIX_BYTES]) -> Result<usize, StorageError> {
        if prefix[..8] != MAGIC {
            return Err(StorageError::damaged(
                what,
                "it does not begin like a snapshot",
            ));
        }
        match u32_at(prefix, 8) {
            FORMAT => {}
            found if found > FORMAT => {
                return Err(StorageError::NewerFormat {
                    what: what.into(),
                    found,
                    known: FORMAT,
                });
            }
            found => {
                return Err(StorageError::damaged(
                    what,
                    format!("it claims format {found}"),
                ));
            }
        }
        let length = u32_at(prefix, 12) as usize;
        if length > MAX_HEADER_BYTES {
            return Err(StorageError::damaged(
                what,
                format!("its header claims {length} bytes"),
            ));
        }
        Ok(length)
    }

    /// The header whose bytes are `header`.
    pub(super) fn decode(
        what: &str,
        prefix: &[u8; PREFIX_BYTES],
        header: &[u8],
    ) -> Result<Self, StorageError> {
        if crc(&[&prefix[..16], header]) != u32_at(prefix, 16) {
            return Err(StorageError::damaged(
                what,
                "the checksum of its header does not match",
            ));
        }
        postcard::from_bytes(header).map_err(|error| StorageError::damaged(what, error))
    }
}

/// Replaces `buffer` by a chunk.
pub(super) fn encode_chunk(
    number: u64,
    content: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<(), StorageError> {
    let length = u32::try_from(content.len())
        .ok()
        .filter(|_| (1..=MAX_CHUNK_BYTES).contains(&content.len()));
    let Some(length) = length.map(u32::to_le_bytes) else {
        return Err(StorageError::Refused(format!(
            "a snapshot's chunk has 1 to {MAX_CHUNK_BYTES} bytes, not {}",
            content.len()
        )));
    };
    buffer.clear();
    buffer.extend_from_slice(&length);
    buffer.extend_from_slice(&crc(&[&number.to_le_bytes(), &length, content]).to_le_bytes());
    buffer.extend_from_slice(content);
    Ok(())
}

/// The length of the content that follows `head`. 0 where the trailer begins.
pub(super) fn chunk_length(
    what: &str,
    head: &[u8; CHUNK_HEAD_BYTES],
) -> Result<usize, StorageError> {
    let length = u32_at(head, 0) as usize;
    if length > MAX_CHUNK_BYTES {
        return Err(StorageError::damaged(
            what,
            format!("a chunk claims {length} bytes"),
        ));
    }
    Ok(length)
}

/// Whether `content` is what was written as chunk `number`.
pub(super) fn check_chunk(
    what: &str,
    number: u64,
    head: &[u8; CHUNK_HEAD_BYTES],
    content: &[u8],
) -> Result<(), StorageError> {
    if crc(&[&number.to_le_bytes(), &head[..4], content]) != u32_at(head, 4) {
        let reason = format!("the checksum of chunk {number} does not match");
        return Err(StorageError::damaged(what, reason));
    }
    Ok(())
}

/// What the end of a file says of the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) chunks: u64,
    pub(super) bytes: u64,
    pub(super) sha256: [u8; 32],
}

impl Trailer {
    pub(super) fn encode(&self) -> [u8; TRAILER_BYTES] {
        let mut bytes = [0; TRAILER_BYTES];
        bytes[4..12].copy_from_slice(&self.chunks.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[20..52].copy_from_slice(&self.sha256);
        let crc = crc(&[&bytes[..52]]);
        bytes[52..56].copy_from_slice(&crc.to_le_bytes());
        bytes[56..].copy_from_slice(&END_MAGIC);
        bytes
    }

    pub(super) fn decode(what: &str, bytes: &[u8; TRAILER_BYTES]) -> Result<Self, StorageError> {
        if bytes[56..] != END_MAGIC {
            return Err(StorageError::damaged(what, "its end is missing"));
        }
        if u32_at(bytes, 0) != 0 || crc(&[&bytes[..52]]) != u32_at(bytes, 52) {
            return Err(StorageError::damaged(
                what,
                "the checksum of its end does not match",
            ));
        }
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(&bytes[20..52]);
        Ok(Self {
            chunks: u64_at(bytes, 4),
            bytes: u64_at(bytes, 12),
            sha256,
        })
    }
}

fn crc(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

fn u64_at<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}
