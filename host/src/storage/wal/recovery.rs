//! Finding out what the file has: after a start, whatever ended the run before.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use openraft::LogIdOptionExt;
use parking_lot::RwLock;

use super::frame::{Record, Sealed};
use super::layout::{FRAMES_AT, Header};
use super::map::Map;
use super::{Extent, Marks, Source, StorageError, Wal};
use crate::types::LogIndex;

/// A frame behind the one that is missing at the end has a number within so many of it.
const NUMBERS: u64 = 1 << 32;

/// Reads all that is needed of a file with that many slots.
pub(super) fn recover(source: Arc<Source>, slots: u64) -> Result<Wal, StorageError> {
    let extents = needed(&source, slots)?;
    let mut wal = Wal {
        source,
        map: Arc::new(RwLock::new(Map::default())),
        free: (0..slots).collect(),
        extents: VecDeque::new(),
        slots,
        end: 0,
        next_frame: 0,
        marks: Marks::default(),
    };
    if let Some(first) = extents.front() {
        wal.marks = first.header.marks;
        wal.next_frame = first.header.first_frame;
    }
    for extent in extents {
        let sequence = extent.header.sequence;
        if extent.header.first_frame != wal.next_frame {
            let reason = format!(
                "extent {sequence} begins with frame {}, and frame {} does not read back",
                extent.header.first_frame, wal.next_frame
            );
            return Err(wal.source.damaged(reason));
        }
        let bytes = read(&wal.source, &extent)?;
        let start = wal.start_of(&extent);
        wal.end = start + FRAMES_AT;
        wal.free.retain(|slot| !extent.slots().contains(slot));
        wal.extents.push_back(extent);
        while let Some(sealed) = next_frame(&wal, &bytes, start) {
            check_order(&wal, sealed)?;
            wal.note(sealed)?;
        }
        check_end(&wal, &bytes[(wal.end - start) as usize..])?;
    }
    for &slot in &wal.free {
        check_free(&wal, slot)?;
    }
    check_whole(&wal)?;
    // A run that was killed may have left a frame that it had written and not synced.
    wal.source.sync()?;
    wal.release();
    Ok(wal)
}

/// The extents that are needed, in order: from the newest back to that with the first entry.
fn needed(source: &Source, slots: u64) -> Result<VecDeque<Extent>, StorageError> {
    let mut found = BTreeMap::new();
    for slot in 0..slots {
        let mut block = vec![0; FRAMES_AT as usize];
        let at = source.superblock.start_of(slot);
        source.read(at, &mut block)?;
        let header = Header::decode(&source.superblock.id, &block);
        if let Some(header) = header.filter(|header| slot + u64::from(header.slots) <= slots) {
            found.insert(header.sequence, Extent { slot, header });
        }
    }
    let mut extents = VecDeque::new();
    let Some((_, newest)) = found.pop_last() else {
        return Ok(extents);
    };
    let kept = purged_until(source, &newest)?;
    extents.push_front(newest);
    while let Some(first) = extents.front().map(|extent| extent.header)
        && first.sequence > 0
        && first.next_index > kept
    {
        let before = found.remove(&(first.sequence - 1)).ok_or_else(|| {
            let reason = format!("entries before {} are missing", first.next_index);
            source.damaged(reason)
        })?;
        extents.push_front(before);
    }
    Ok(extents)
}

/// The index behind the last purged entry, as the newest extent tells.
fn purged_until(source: &Source, newest: &Extent) -> Result<LogIndex, StorageError> {
    let bytes = read(source, newest)?;
    let mut purged = newest.header.marks.purged;
    let mut number = newest.header.first_frame;
    let mut rest = &bytes[FRAMES_AT as usize..];
    while let Some(sealed) = Sealed::read(&source.superblock.id, rest)
        && sealed.number == number
    {
        for record in sealed.records() {
            if let Record::Purged(upto) = record? {
                purged = Some(upto);
            }
        }
        number += 1;
        rest = rest.get(sealed.size as usize..).unwrap_or_default();
    }
    Ok(purged.next_index())
}

fn read(source: &Source, extent: &Extent) -> Result<Vec<u8>, StorageError> {
    let slot = source.superblock.slot;
    let mut bytes = vec![0; (u64::from(extent.header.slots) * slot) as usize];
    source.read(source.superblock.start_of(extent.slot), &mut bytes)?;
    Ok(bytes)
}

/// The frame that comes next in the extent that begins at `start`.
fn next_frame<'b>(wal: &Wal, bytes: &'b [u8], start: u64) -> Option<Sealed<'b>> {
    let rest = bytes.get((wal.end - start) as usize..)?;
    let sealed = Sealed::read(&wal.source.superblock.id, rest)?;
    (sealed.number == wal.next_frame).then_some(sealed)
}

/// Entries follow each other, or what was purged.
fn check_order(wal: &Wal, sealed: Sealed<'_>) -> Result<(), StorageError> {
    let mut next = wal.map.read().last().map(|place| place.last + 1);
    for record in sealed.records() {
        match record? {
            Record::Entry { index, .. } => {
                if next.is_some_and(|next| next != index) {
                    let reason = format!("entry {index} does not follow the one before it");
                    return Err(wal.source.damaged(reason));
                }
                next = Some(index + 1);
            }
            Record::Truncation(from) => next = next.map(|next| next.min(from)),
            Record::Purged(upto) => next = next.filter(|next| *next > upto.index + 1),
            Record::Vote(_) | Record::Committed(_) => {}
        }
    }
    Ok(())
}

/// At most one frame was not synced. Any with a later number tells that the missing one was.
fn check_end(wal: &Wal, rest: &[u8]) -> Result<(), StorageError> {
    let missing = wal.next_frame;
    let later = missing.saturating_add(1)..missing.saturating_add(NUMBERS);
    if Sealed::is_in(&wal.source.superblock.id, rest, later) {
        let reason = format!("frame {missing} does not read back, and others behind it do");
        return Err(wal.source.damaged(reason));
    }
    Ok(())
}

/// A slot without a header is free, unless its first frame is one that is missing.
fn check_free(wal: &Wal, slot: u64) -> Result<(), StorageError> {
    let slot_bytes = wal.source.superblock.slot;
    let at = wal.source.superblock.start_of(slot) + FRAMES_AT;
    let mut start = [0; Sealed::HEADER];
    wal.source.read(at, &mut start)?;
    if Sealed::number_of(&start) < wal.next_frame {
        return Ok(());
    }
    let mut bytes = vec![0; (slot_bytes - FRAMES_AT) as usize];
    wal.source.read(at, &mut bytes)?;
    check_end(wal, &bytes)
}

/// The log has no hole between what was purged and its first entry.
fn check_whole(wal: &Wal) -> Result<(), StorageError> {
    match (wal.marks.purged, wal.map.read().first()) {
        (Some(purged), Some(first)) if first > purged.index + 1 => {
            let reason = format!("entries {} to {} are missing", purged.index + 1, first - 1);
            Err(wal.source.damaged(reason))
        }
        _ => Ok(()),
    }
}
