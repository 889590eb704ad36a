//! Whole snapshots, written and read.

use crate::{Description, Failure, Restore, Snapshot, StateMachine};

/// Reads a whole snapshot in chunks of at most `max_bytes`.
///
/// # Panics
///
/// When a chunk is larger than that.
#[must_use]
pub fn snapshot<M: StateMachine>(machine: &M, max_bytes: usize) -> Vec<u8> {
    read_all(&mut machine.freeze(), max_bytes)
}

/// Reads what is left of a snapshot in chunks of at most `max_bytes`.
///
/// # Panics
///
/// When a chunk is larger than that.
#[must_use]
pub fn read_all(snapshot: &mut impl Snapshot, max_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let chunk = snapshot.read(max_bytes);
        assert!(
            chunk.len() <= max_bytes,
            "a chunk of {} bytes, not {max_bytes}",
            chunk.len()
        );
        if chunk.is_empty() {
            return bytes;
        }
        bytes.extend(chunk);
    }
}

/// Builds a state from a snapshot of the same state machine, in chunks of `chunk_bytes`.
///
/// # Errors
///
/// Those of the state machine.
///
/// # Panics
///
/// When `chunk_bytes` is 0.
pub fn restore<M: StateMachine>(snapshot: &[u8], chunk_bytes: usize) -> Result<M, Failure> {
    migrate(M::describe(), snapshot, chunk_bytes)
}

/// Builds a state from a snapshot that `saved` wrote, in chunks of `chunk_bytes`: another version
/// of the state machine, or one that is to be refused.
///
/// # Errors
///
/// Those of the state machine.
///
/// # Panics
///
/// When `chunk_bytes` is 0.
pub fn migrate<M: StateMachine>(
    saved: Description,
    snapshot: &[u8],
    chunk_bytes: usize,
) -> Result<M, Failure> {
    let mut restore = M::restore(saved)?;
    for chunk in snapshot.chunks(chunk_bytes) {
        restore.write(chunk)?;
    }
    restore.finish()
}
