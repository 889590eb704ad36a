use bytes::Bytes;
use openraft::entry::RaftEntry;

use super::*;
use crate::types::Proposal;

/// What each entry of these tests weighs.
const WEIGHT: u64 = 100;

fn id(term: u64, index: u64) -> LogId {
    LogId::new_term_index(term, index)
}

fn entries(term: u64, range: Range<u64>) -> Vec<Entry> {
    let command = Proposal::Command {
        time_ms: 0,
        command: Bytes::from(vec![0; 36]),
    };
    range
        .map(|index| Entry::new_normal(id(term, index), command.clone()))
        .collect()
}

/// A tail that keeps `kept` durable entries, and has appended those of `range` in one go.
fn tail(kept: u64, range: Range<u64>) -> (Tail, u64) {
    let mut tail = Tail::new(kept * WEIGHT, None, None, 0);
    let appended = tail.append(&entries(1, range)).unwrap();
    (tail, appended.ticket)
}

#[test]
fn entries_stay_until_they_are_durable_and_the_limit_is_reached() {
    let (mut tail, ticket) = tail(2, 0..5);
    assert_eq!(
        tail.slice(0, 5).disk,
        0..0,
        "not durable: all in memory whatever the limit"
    );
    tail.mark_durable(ticket);
    let slice = tail.slice(0, 5);
    assert_eq!(slice.disk, 0..3);
    assert_eq!(slice.recent, entries(1, 3..5));
}

/// The commit of entries that were cut off and written anew says nothing of the new ones.
#[test]
fn rewritten_entries_wait_for_their_own_commit() {
    let (mut tail, old) = tail(0, 0..5);
    assert_eq!(tail.truncate(Some(id(1, 1))).unwrap(), Some(2));
    let new = tail.append(&entries(2, 2..4)).unwrap().ticket;
    tail.mark_durable(old);
    let slice = tail.slice(0, 9);
    assert_eq!(slice.disk, 0..2);
    assert_eq!(slice.recent, entries(2, 2..4));
    tail.mark_durable(new);
    assert_eq!(tail.slice(0, 9).disk, 0..4);
}

#[test]
fn a_range_on_disk_is_void_once_the_log_is_cut() {
    let (mut tail, ticket) = tail(0, 0..9);
    tail.mark_durable(ticket);
    let before = tail.slice(0, 9).epoch;
    tail.append(&entries(1, 9..10)).unwrap();
    assert_eq!(tail.epoch(), before, "an append voids nothing");
    tail.truncate(Some(id(1, 7))).unwrap();
    let truncated = tail.epoch();
    assert_ne!(truncated, before);
    tail.purge(id(1, 3)).unwrap();
    assert_ne!(tail.epoch(), truncated);
    assert_eq!(tail.slice(0, 9).disk, 4..8);
}

#[test]
fn a_cut_into_what_only_the_disk_has_empties_the_tail() {
    let (mut tail, ticket) = tail(2, 0..9);
    tail.mark_durable(ticket);
    assert_eq!(tail.truncate(Some(id(1, 3))).unwrap(), Some(4));
    assert_eq!(tail.slice(0, 9).disk, 0..4);
    tail.append(&entries(2, 4..5)).unwrap();
    let slice = tail.slice(0, 9);
    assert_eq!((slice.disk, slice.recent), (0..4, entries(2, 4..5)));
    assert_eq!(
        tail.truncate(Some(id(2, 4))).unwrap(),
        None,
        "nothing behind it"
    );
}

#[test]
fn bytes_behind_an_index_never_count_too_few() {
    let (mut tail, _) = tail(9, 0..5);
    assert_eq!(tail.bytes_after(Some(2)), BytesAfter::Known(2 * WEIGHT));
    tail.truncate(Some(id(1, 3))).unwrap();
    tail.append(&entries(2, 4..6)).unwrap();
    assert_eq!(tail.bytes_after(Some(3)), BytesAfter::Known(2 * WEIGHT));
    assert_eq!(
        tail.bytes_after(Some(2)),
        BytesAfter::Known(4 * WEIGHT),
        "one was cut off"
    );
    tail.purge(id(2, 4)).unwrap();
    assert_eq!(tail.bytes_after(None), BytesAfter::Known(WEIGHT));
}

#[test]
fn a_purge_never_goes_back() {
    let (mut tail, _) = tail(9, 0..9);
    assert_eq!(tail.purge(id(1, 5)), Some(id(1, 5)));
    assert_eq!(tail.purge(id(1, 5)), None);
    assert_eq!(tail.purge(id(1, 2)), None);
    tail.set_floor(PurgeFloor::Upto(id(1, 2)));
    assert_eq!(tail.state().last_purged_log_id, Some(id(1, 5)));
    assert_eq!(tail.slice(0, 9).recent, entries(1, 6..9));
}
