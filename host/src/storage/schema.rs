//! How entries and single values are stored, and what has a name in the database.
//!
//! ```text
//! entry  1 byte   format, ENTRY_FORMAT
//!        4 bytes  crc32 of all that follows, little-endian
//!        8 bytes  position, little-endian: weight of all entries written before
//!        rest     the entry, postcard
//! value  1 byte   format, META_FORMAT
//!        rest     the value, postcard
//!
//! table of the database  key       value
//! meta                   "schema"  4 bytes  SCHEMA_VERSION, little-endian
//!                        others    a value
//! ```
//!
//! The position makes "how many bytes of log are behind index i" one read instead of a scan, and
//! survives a restart.

use openraft::EntryPayload;
use redb::TableDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StorageError;
use crate::types::{Entry, LogIndex, Proposal};

/// Single values, by the names below.
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// [`SCHEMA_VERSION`] of whoever made the database.
pub(super) const SCHEMA: &str = "schema";
/// The `Identity` of the node.
pub(super) const IDENTITY: &str = "identity";

/// Version of this module's tables and keys. With version 1, which no release had, the database
/// held the log.
pub(super) const SCHEMA_VERSION: u32 = 2;
const ENTRY_FORMAT: u8 = 1;
const META_FORMAT: u8 = 1;

const CRC_AT: usize = 1;
const POSITION_AT: usize = CRC_AT + 4;

/// What an entry counts for wherever bytes of log are bounded: its payload and a fixed share for
/// the rest. A function of the entry alone, so that it is known before the entry is encoded.
pub(super) fn weight(entry: &Entry) -> u64 {
    const FIXED: usize = 64;
    const PER_NODE: usize = 128;
    let payload = match &entry.payload {
        EntryPayload::Blank => 0,
        EntryPayload::Normal(Proposal::Command { command, .. }) => command.len(),
        EntryPayload::Normal(Proposal::NamedCommand {
            command,
            request_id,
            ..
        }) => command.len() + request_id.len(),
        EntryPayload::Normal(Proposal::ModuleChunk { bytes, .. }) => bytes.len(),
        EntryPayload::Normal(Proposal::Activate(activation)) => 8 * activation.skip.len(),
        EntryPayload::Normal(
            Proposal::ModuleCommit { .. }
            | Proposal::RemoveModule { .. }
            | Proposal::Checkpoint(_)
            | Proposal::DropPrevious,
        ) => 0,
        EntryPayload::Membership(membership) => PER_NODE * membership.nodes().count(),
    };
    (FIXED + payload) as u64
}

/// Appends the stored form of `entry`.
pub(super) fn encode_entry(
    entry: &Entry,
    position: u64,
    buffer: &mut Vec<u8>,
) -> Result<(), StorageError> {
    let start = buffer.len();
    buffer.push(ENTRY_FORMAT);
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&position.to_le_bytes());
    *buffer = postcard::to_extend(entry, std::mem::take(buffer))
        .map_err(|error| StorageError::Refused(format!("cannot encode a log entry: {error}")))?;
    let stored = &mut buffer[start..];
    let crc = crc32fast::hash(&stored[POSITION_AT..]);
    stored[CRC_AT..POSITION_AT].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// The entry stored at `index`, and its position.
pub(super) fn decode_entry(index: LogIndex, value: &[u8]) -> Result<(Entry, u64), StorageError> {
    let what = || format!("log entry {index}");
    check_format(what, value, ENTRY_FORMAT)?;
    let short = || StorageError::damaged(what(), format!("{} bytes are too few", value.len()));
    let (crc, rest) = value[CRC_AT..].split_first_chunk::<4>().ok_or_else(short)?;
    let (position, encoded) = rest.split_first_chunk::<8>().ok_or_else(short)?;
    if crc32fast::hash(rest) != u32::from_le_bytes(*crc) {
        return Err(StorageError::damaged(what(), "its checksum does not match"));
    }
    let entry: Entry =
        postcard::from_bytes(encoded).map_err(|error| StorageError::damaged(what(), error))?;
    if entry.log_id.index != index {
        let reason = format!("it calls itself entry {}", entry.log_id.index);
        return Err(StorageError::damaged(what(), reason));
    }
    Ok((entry, u64::from_le_bytes(*position)))
}

/// The stored form of a single value.
pub(super) fn encode_meta<T: Serialize>(value: &T) -> Result<Vec<u8>, StorageError> {
    postcard::to_extend(value, vec![META_FORMAT])
        .map_err(|error| StorageError::Refused(format!("cannot encode a meta value: {error}")))
}

/// The value stored as `key`.
pub(super) fn decode_meta<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, StorageError> {
    let what = || format!("the stored {key}");
    check_format(what, value, META_FORMAT)?;
    postcard::from_bytes(&value[1..]).map_err(|error| StorageError::damaged(what(), error))
}

fn check_format(what: impl Fn() -> String, value: &[u8], known: u8) -> Result<(), StorageError> {
    match value.first() {
        Some(&found) if found == known => Ok(()),
        Some(&found) if found > known => Err(StorageError::NewerFormat {
            what: what(),
            found: found.into(),
            known: known.into(),
        }),
        found => Err(StorageError::damaged(
            what(),
            format!("its format byte is {found:?}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use openraft::entry::RaftEntry;

    use super::*;
    use crate::types::LogId;

    fn stored() -> Vec<u8> {
        let command = Proposal::Command {
            time_ms: 7,
            command: Bytes::from_static(b"put"),
        };
        let entry = Entry::new_normal(LogId::new_term_index(3, 9), command);
        let mut buffer = Vec::new();
        encode_entry(&entry, 1234, &mut buffer).unwrap();
        buffer
    }

    #[test]
    fn an_entry_comes_back_with_its_position() {
        let (entry, position) = decode_entry(9, &stored()).unwrap();
        assert_eq!(
            (entry.log_id, position),
            (LogId::new_term_index(3, 9), 1234)
        );
        assert_eq!(weight(&entry), 64 + 3);
    }

    #[test]
    fn any_flipped_bit_of_an_entry_is_noticed() {
        let good = stored();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_entry(9, &bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn an_entry_cut_short_or_at_another_index_is_damaged() {
        let good = stored();
        for length in 0..good.len() {
            let error = decode_entry(9, &good[..length]).unwrap_err();
            assert!(
                matches!(error, StorageError::Damaged { .. }),
                "{length}: {error}"
            );
        }
        assert!(matches!(
            decode_entry(8, &good),
            Err(StorageError::Damaged { .. })
        ));
    }

    #[test]
    fn a_newer_format_is_refused_and_not_guessed() {
        let mut value = encode_meta(&5_u64).unwrap();
        assert_eq!(decode_meta::<u64>("purged", &value).unwrap(), 5);
        value[0] = META_FORMAT + 1;
        let error = decode_meta::<u64>("purged", &value).unwrap_err();
        assert!(
            matches!(
                error,
                StorageError::NewerFormat {
                    found: 2,
                    known: 1,
                    ..
                }
            ),
            "{error}"
        );
    }
}
