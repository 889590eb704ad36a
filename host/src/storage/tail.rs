//! The end of the log in memory: bookkeeping and recent entries, no disk, no waiting.

use std::collections::VecDeque;
use std::ops::Range;

use openraft::{LogIdOptionExt, LogState};

use super::schema::weight;
use super::{PurgeFloor, StorageError};
use crate::types::{Entry, LogId, LogIndex, TypeConfig};

/// What the log contains, as of the last call, whether or not that is on disk yet.
///
/// ```text
///  index   discarded        purged               tail_start()             last
///    ......|................|....................|........................|
///     gone   kept for older   on disk              in memory, and on disk up to
///            snapshot                              the durable ticket
/// ```
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// Consecutive entries that end at `last`.
    recent: VecDeque<Recent>,
    /// Sum of the weights of `recent`.
    weight: u64,
    /// Weight up to which durable entries stay in `recent`.
    limit: u64,
    /// Position of the entry that comes next: see `schema`.
    position: u64,
    last: Option<LogId>,
    /// The last entry that openraft wants gone.
    purged: Option<LogId>,
    /// The last entry that is gone, or about to go: at most `purged`, held back by `floor`.
    discarded: Option<LogId>,
    floor: PurgeFloor,
    /// Counts appends. An entry's place is reused after a truncation, a ticket never is.
    ticket: u64,
    /// All entries with tickets up to this one are on disk.
    durable: u64,
    /// Counts what makes a range of the disk disagree with an older [`Slice`].
    epoch: u64,
}

#[derive(Debug)]
struct Recent {
    entry: Entry,
    weight: u64,
    position: u64,
    ticket: u64,
}

/// What an append gave: the ticket to pass to [`Tail::mark_durable`], and where each entry is.
#[derive(Debug)]
pub(super) struct Appended {
    pub(super) ticket: u64,
    pub(super) weight: u64,
    /// Position of the first entry. The others follow by their weights.
    pub(super) position: u64,
}

/// Where the entries of a range are.
#[derive(Debug)]
pub(super) struct Slice {
    /// To be read from the disk first. Holds as long as [`Tail::epoch`] stays the same.
    pub(super) disk: Range<LogIndex>,
    /// The entries behind those, or the first of them when the slice is limited.
    pub(super) recent: Vec<Entry>,
    pub(super) epoch: u64,
}

/// Where the bytes behind an index begin.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BytesAfter {
    Known(u64),
    /// `end` less the position of the first stored entry at or after `first`.
    OnDisk {
        first: LogIndex,
        end: u64,
    },
}

impl Tail {
    /// The bookkeeping of a log whose entries are all on disk.
    pub(super) fn new(
        limit: u64,
        discarded: Option<LogId>,
        last: Option<LogId>,
        position: u64,
    ) -> Self {
        Self {
            limit,
            position,
            last,
            purged: discarded,
            discarded,
            ..Self::default()
        }
    }

    pub(super) fn state(&self) -> LogState<TypeConfig> {
        LogState {
            last_purged_log_id: self.purged,
            last_log_id: self.last,
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Adds entries, readable at once.
    ///
    /// # Errors
    /// [`StorageError::Refused`], and nothing is added, when there would be a hole.
    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<Appended, StorageError> {
        let mut last = self.last;
        for entry in entries {
            if last.is_some() && last.next_index() != entry.log_id.index {
                return Err(StorageError::Refused(format!(
                    "entry {} cannot follow entry {} in the log",
                    entry.log_id.index,
                    last.next_index() - 1,
                )));
            }
            last = Some(entry.log_id);
        }
        self.ticket += 1;
        let position = self.position;
        for entry in entries {
            let weight = weight(entry);
            self.recent.push_back(Recent {
                entry: entry.clone(),
                weight,
                position: self.position,
                ticket: self.ticket,
            });
            self.position += weight;
        }
        self.last = last;
        let weight = self.position - position;
        self.weight += weight;
        Ok(Appended {
            ticket: self.ticket,
            weight,
            position,
        })
    }

    /// Forgets all entries after `after`. Returns the first of them, when there was any.
    ///
    /// # Errors
    /// [`StorageError::Refused`] when the entries to keep are purged already.
    pub(super) fn truncate(
        &mut self,
        after: Option<LogId>,
    ) -> Result<Option<LogIndex>, StorageError> {
        let from = after.next_index();
        if from < self.purged.next_index() {
            return Err(StorageError::Refused(format!(
                "cannot cut the log at {from}: it is purged up to {}",
                self.purged.next_index() - 1,
            )));
        }
        if from >= self.last.next_index() {
            return Ok(None);
        }
        while self
            .recent
            .back()
            .is_some_and(|recent| recent.entry.log_id.index >= from)
        {
            let recent = self.recent.pop_back();
            self.weight -= recent.map_or(0, |recent| recent.weight);
        }
        self.last = after;
        self.epoch += 1;
        Ok(Some(from))
    }

    /// Notes that openraft no longer needs entries up to `upto`. Returns up to where they go.
    pub(super) fn purge(&mut self, upto: LogId) -> Option<LogId> {
        if self.purged.next_index() > upto.index {
            return None;
        }
        self.purged = Some(upto);
        if self.last.next_index() <= upto.index {
            // A snapshot from the leader that is ahead of this log. The floor cannot apply: the
            // next entry comes behind the snapshot, and what is here would be cut off by a hole.
            self.last = Some(upto);
            return Some(self.discard(upto));
        }
        self.lower()
    }

    /// Changes the floor. Returns up to where entries go because of it.
    pub(super) fn set_floor(&mut self, floor: PurgeFloor) -> Option<LogId> {
        self.floor = floor;
        self.lower()
    }

    fn lower(&mut self) -> Option<LogId> {
        let upto = match self.floor {
            PurgeFloor::Unlimited => self.purged?,
            PurgeFloor::Nothing => return None,
            PurgeFloor::Upto(floor) => self.purged?.min(floor),
        };
        (self.discarded < Some(upto)).then(|| self.discard(upto))
    }

    fn discard(&mut self, upto: LogId) -> LogId {
        while self
            .recent
            .front()
            .is_some_and(|recent| recent.entry.log_id.index <= upto.index)
        {
            self.drop_front();
        }
        self.discarded = Some(upto);
        self.epoch += 1;
        upto
    }

    fn drop_front(&mut self) {
        let recent = self.recent.pop_front();
        self.weight -= recent.map_or(0, |recent| recent.weight);
    }

    /// Notes that appends up to `ticket` are on disk, and readable there. Forgets the oldest
    /// entries as far as the limit asks for.
    pub(super) fn mark_durable(&mut self, ticket: u64) {
        self.durable = ticket;
        while self.weight > self.limit
            && self
                .recent
                .front()
                .is_some_and(|recent| recent.ticket <= ticket)
        {
            self.drop_front();
        }
    }

    /// The entries of `start..end` that the log contains.
    pub(super) fn slice(&self, start: LogIndex, end: LogIndex) -> Slice {
        let range = self.clamp(start, end);
        let split = self.tail_start().clamp(range.start, range.end);
        let recent = self.recent_from(split..range.end);
        let recent = recent.map(|recent| recent.entry.clone()).collect();
        Slice {
            disk: range.start..split,
            recent,
            epoch: self.epoch,
        }
    }

    /// The first entries of `start..end`: at least one where there is any, otherwise no more than
    /// `bytes` of weight. From the disk *or* from memory, never both.
    pub(super) fn slice_limited(&self, start: LogIndex, end: LogIndex, bytes: u64) -> Slice {
        let range = self.clamp(start, end);
        let split = self.tail_start().clamp(range.start, range.end);
        let mut recent = Vec::new();
        if split == range.start {
            let mut left = bytes;
            for next in self.recent_from(range.clone()) {
                if next.weight > left && !recent.is_empty() {
                    break;
                }
                left = left.saturating_sub(next.weight);
                recent.push(next.entry.clone());
            }
        }
        Slice {
            disk: range.start..split,
            recent,
            epoch: self.epoch,
        }
    }

    /// How many bytes of entries the log has behind `index`, or in all when there is none.
    pub(super) fn bytes_after(&self, index: Option<LogIndex>) -> BytesAfter {
        let start = index.map_or(0, |index| index.saturating_add(1));
        let range = self.clamp(start, LogIndex::MAX);
        if range.is_empty() {
            return BytesAfter::Known(0);
        }
        match self.recent_from(range.clone()).next() {
            Some(first) if range.start >= self.tail_start() => {
                BytesAfter::Known(self.position - first.position)
            }
            _ => BytesAfter::OnDisk {
                first: range.start,
                end: self.position,
            },
        }
    }

    /// The part of `start..end` that the log contains. Empty ranges come back empty.
    fn clamp(&self, start: LogIndex, end: LogIndex) -> Range<LogIndex> {
        let start = start.max(self.discarded.next_index());
        let end = end.min(self.last.next_index());
        start..end.max(start)
    }

    /// The first index of `recent`, or the index behind `last`.
    fn tail_start(&self) -> LogIndex {
        match self.recent.front() {
            Some(recent) => recent.entry.log_id.index,
            None => self.last.next_index(),
        }
    }

    fn recent_from(&self, range: Range<LogIndex>) -> impl Iterator<Item = &Recent> {
        let skipped = range.start.saturating_sub(self.tail_start());
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        let wanted = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        self.recent.iter().skip(skipped).take(wanted)
    }
}

#[cfg(test)]
mod tests;
