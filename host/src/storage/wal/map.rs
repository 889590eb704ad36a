//! Where the entries are in the file.

use std::collections::VecDeque;

use super::frame::Record;
use crate::types::LogIndex;

/// A frame with entries that the log contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// In the file, in bytes.
    pub(super) offset: u64,
    pub(super) size: u64,
    /// Its entries that count.
    pub(super) first: LogIndex,
    pub(super) last: LogIndex,
}

/// The frames with the entries of the log, in the order of the entries.
#[derive(Debug, Default)]
pub(super) struct Map(VecDeque<Place>);

impl Map {
    /// Takes in one frame, record by record.
    pub(super) fn note<'r>(
        &mut self,
        offset: u64,
        size: u64,
        records: impl Iterator<Item = &'r Record<'r>>,
    ) {
        let mut own: Option<Place> = None;
        for record in records {
            match record {
                Record::Entry { index, .. } => {
                    let place = own.get_or_insert(Place {
                        offset,
                        size,
                        first: *index,
                        last: *index,
                    });
                    place.last = *index;
                }
                Record::Truncation(from) => {
                    own = own.and_then(|place| place.before(*from));
                    self.truncate(*from);
                }
                Record::Purged(upto) => {
                    own = own.and_then(|place| place.behind(upto.index));
                    self.purge(upto.index);
                }
                Record::Vote(_) | Record::Committed(_) => {}
            }
        }
        self.0.extend(own);
    }

    fn truncate(&mut self, from: LogIndex) {
        while let Some(place) = self.0.pop_back() {
            if let Some(place) = place.before(from) {
                self.0.push_back(place);
                break;
            }
        }
    }

    fn purge(&mut self, upto: LogIndex) {
        while let Some(place) = self.0.pop_front() {
            if let Some(place) = place.behind(upto) {
                self.0.push_front(place);
                break;
            }
        }
    }

    pub(super) fn first(&self) -> Option<LogIndex> {
        self.0.front().map(|place| place.first)
    }

    pub(super) fn last(&self) -> Option<Place> {
        self.0.back().copied()
    }

    /// The frames from that of `index` on, or from the first behind it.
    pub(super) fn from(&self, index: LogIndex) -> impl Iterator<Item = &Place> {
        let at = self.0.partition_point(|place| place.last < index);
        self.0.range(at..)
    }
}

impl Place {
    fn before(self, from: LogIndex) -> Option<Self> {
        let last = self.last.min(from.checked_sub(1)?);
        (self.first <= last).then_some(Self { last, ..self })
    }

    fn behind(self, upto: LogIndex) -> Option<Self> {
        let first = self.first.max(upto.checked_add(1)?);
        (first <= self.last).then_some(Self { first, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::LogId;

    fn entries(range: std::ops::Range<LogIndex>) -> Vec<Record<'static>> {
        let entry = |index| Record::Entry { index, stored: b"" };
        range.map(entry).collect()
    }

    fn noted(frames: &[Vec<Record<'_>>]) -> Vec<(u64, LogIndex, LogIndex)> {
        let mut map = Map::default();
        for (number, records) in (0..).zip(frames) {
            map.note(number, 1, records.iter());
        }
        let places = map.from(0);
        places
            .map(|place| (place.offset, place.first, place.last))
            .collect()
    }

    #[test]
    fn a_truncation_cuts_frames_off_and_new_entries_come_behind() {
        let mut second = vec![Record::Truncation(3)];
        second.extend(entries(3..6));
        assert_eq!(noted(&[entries(0..5), second]), [(0, 0, 2), (1, 3, 5)]);
        let all = vec![Record::Truncation(0)];
        assert_eq!(noted(&[entries(0..5), entries(5..6), all]), []);
    }

    #[test]
    fn a_frame_may_cut_its_own_entries_off() {
        let mut frame = entries(5..9);
        frame.push(Record::Truncation(7));
        frame.extend(entries(7..10));
        assert_eq!(noted(&[entries(0..5), frame]), [(0, 0, 4), (1, 5, 9)]);
    }

    #[test]
    fn a_purge_takes_whole_frames_and_parts_of_them() {
        let purge = |upto| vec![Record::Purged(LogId::new_term_index(1, upto))];
        let frames = [entries(0..5), entries(5..6), entries(6..9), purge(6)];
        assert_eq!(noted(&frames), [(2, 7, 8)]);
        let ahead = [entries(0..5), purge(20), entries(21..22)];
        assert_eq!(noted(&ahead), [(2, 21, 21)]);
    }

    #[test]
    fn frames_are_found_by_what_they_contain() {
        let mut map = Map::default();
        map.note(0, 1, entries(2..5).iter());
        map.note(1, 1, entries(5..9).iter());
        let found = |index| {
            map.from(index)
                .map(|place| place.offset)
                .collect::<Vec<_>>()
        };
        assert_eq!(found(0), [0, 1]);
        assert_eq!(found(5), [1]);
        assert!(found(9).is_empty());
        assert_eq!(
            (map.first(), map.last().map(|place| place.last)),
            (Some(2), Some(8))
        );
    }
}
