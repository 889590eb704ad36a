//! The bytes of a snapshot.
//!
//! ```text
//! magic          8 bytes  "rkv:kv" 0 1, whose last byte is the version of this format
//! per key, in the order of the keys:
//!   tag          1 byte   1
//!   key length   4 bytes
//!   value length 4 bytes
//!   key
//!   value
//! tag            1 byte   0
//! count          8 bytes  of keys
//! ```
//!
//! Numbers are little-endian. Equal maps give equal bytes. There is no checksum: the host keeps
//! one of each snapshot, and what is checked here is that the bytes are a map.

pub(crate) const MAGIC: [u8; 8] = *b"rkv:kv\0\x01";

/// How much of the magic says what it is. The rest says in which version.
pub(crate) const MAGIC_NAME_BYTES: usize = 7;

pub(crate) const TAG_END: u8 = 0;
pub(crate) const TAG_RECORD: u8 = 1;

/// Tag and lengths of a record.
pub(crate) const RECORD_HEADER_BYTES: usize = 1 + 4 + 4;

/// Tag and count.
pub(crate) const END_BYTES: usize = 1 + 8;

/// Appends one key and its value.
pub(crate) fn put_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.reserve(RECORD_HEADER_BYTES + key.len() + value.len());
    out.push(TAG_RECORD);
    // The casts lose nothing: a guest's memory, and so what is in it, is below 4 GiB.
    out.extend((key.len() as u32).to_le_bytes());
    out.extend((value.len() as u32).to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

/// Appends the end.
pub(crate) fn put_end(out: &mut Vec<u8>, count: u64) {
    out.push(TAG_END);
    out.extend(count.to_le_bytes());
}

/// A record without its tag, borrowed from the front of `bytes`, or nothing if it is not complete.
pub(crate) fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (key_length, rest) = bytes.split_first_chunk()?;
    let (value_length, rest) = rest.split_first_chunk()?;
    let (key, rest) = rest.split_at_checked(length(*key_length)?)?;
    let (value, _) = rest.split_at_checked(length(*value_length)?)?;
    Some((key, value))
}

fn length(bytes: [u8; 4]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}
