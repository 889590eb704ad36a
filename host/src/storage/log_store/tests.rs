use bytes::Bytes;
use futures::TryStreamExt;
use openraft::RaftLogReader;
use openraft::entry::RaftEntry;
use openraft::storage::RaftLogStorageExt;
use openraft::type_config::TypeConfigExt;

use super::super::log_reader::read_consistent;
use super::super::testing::TestBackend;
use super::super::wal::new_file;
use super::*;
use crate::types::Proposal;

mod crash;
mod purge;

/// Payload of the entries of these tests, in bytes.
const PAYLOAD: usize = 36;
/// What each of them weighs.
const WEIGHT: u64 = 100;

fn id(term: u64, index: u64) -> LogId {
    LogId::new_term_index(term, index)
}

fn entry(term: u64, index: u64) -> Entry {
    let command = Bytes::from(vec![b'x'; PAYLOAD]);
    Entry::new_normal(
        id(term, index),
        Proposal::Command {
            time_ms: index,
            command,
        },
    )
}

fn entries(term: u64, range: std::ops::Range<u64>) -> Vec<Entry> {
    range.map(|index| entry(term, index)).collect()
}

fn vote(term: u64) -> Vote {
    Vote::new(term, 1)
}

/// A disk with a new log. Its extents are small, so that tests have many.
fn disk() -> TestBackend {
    TestBackend::holding(new_file(16 << 10).unwrap())
}

fn open(backend: &TestBackend) -> LogStore {
    open_with(backend, LogLimits::DEFAULT)
}

fn open_with(backend: &TestBackend, limits: LogLimits) -> LogStore {
    LogStore::open(LogFile::with_backend(backend.clone()), limits).unwrap()
}

/// Starts an append and gives what will tell that it is durable.
async fn start(
    log: &mut LogStore,
    entries: Vec<Entry>,
) -> impl Future<Output = Result<(), io::Error>> + use<> {
    let (flushed, done) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(flushed))
        .await
        .unwrap();
    async { done.await.unwrap() }
}

async fn ids(log: &mut LogStore) -> Vec<LogId> {
    let entries = log.try_get_log_entries(..).await.unwrap();
    entries.iter().map(|entry| entry.log_id).collect()
}

async fn purged_and_last(log: &mut LogStore) -> (Option<LogId>, Option<LogId>) {
    let state = log.get_log_state().await.unwrap();
    (state.last_purged_log_id, state.last_log_id)
}

#[tokio::test]
async fn everything_is_found_again_after_a_restart() {
    let backend = disk();
    let mut log = open(&backend);
    log.blocking_append(entries(1, 0..10)).await.unwrap();
    log.save_vote(&vote(2)).await.unwrap();
    log.truncate_after(Some(id(1, 6))).await.unwrap();
    log.blocking_append(entries(2, 7..9)).await.unwrap();
    log.save_committed(Some(id(2, 7))).await.unwrap();
    log.purge(id(1, 3)).await.unwrap();
    let before = ids(&mut log).await;
    log.close().unwrap();
    drop(log);

    let mut log = open(&backend);
    assert_eq!(ids(&mut log).await, before);
    assert_eq!(before, [id(1, 4), id(1, 5), id(1, 6), id(2, 7), id(2, 8)]);
    assert_eq!(
        purged_and_last(&mut log).await,
        (Some(id(1, 3)), Some(id(2, 8)))
    );
    assert_eq!(log.read_vote().await.unwrap(), Some(vote(2)));
    assert_eq!(log.read_committed().await.unwrap(), Some(id(2, 7)));
    assert_eq!(log.bytes_after(Some(6)).unwrap(), 2 * WEIGHT);
    log.blocking_append(entries(2, 9..10)).await.unwrap();
    assert_eq!(log.bytes_after(Some(6)).unwrap(), 3 * WEIGHT);
}

#[tokio::test]
async fn appends_that_wait_for_the_disk_share_one_commit() {
    let backend = disk();
    let mut log = open(&backend);
    backend.hang();
    let first = start(&mut log, entries(1, 0..1)).await;
    backend.await_hanging();
    let mut waiting = Vec::new();
    for index in 1..50 {
        waiting.push(start(&mut log, entries(1, index..index + 1)).await);
        assert_eq!(
            ids(&mut log).await.len() as u64,
            index + 1,
            "readable at once"
        );
    }
    assert!(log.stats().running.is_some());
    backend.resume();
    first.await.unwrap();
    for done in waiting {
        done.await.unwrap();
    }
    log.close().unwrap();
    let stats = log.stats();
    assert_eq!((stats.commits, stats.entries), (2, 50));
    assert_eq!(log.metrics().fsync.get_sample_count(), 2);
    assert_eq!(stats.running, None);
}

#[tokio::test]
async fn a_committed_id_costs_no_commit_and_is_kept_at_the_end() {
    let backend = disk();
    let mut log = open(&backend);
    log.blocking_append(entries(1, 0..2)).await.unwrap();
    for _ in 0..100 {
        log.save_committed(Some(id(1, 1))).await.unwrap();
    }
    log.close().unwrap();
    assert_eq!(
        log.stats().commits,
        2,
        "the append, and what was left at the end"
    );
    drop(log);
    let mut log = open(&backend);
    assert_eq!(log.read_committed().await.unwrap(), Some(id(1, 1)));
}

#[tokio::test]
async fn a_failed_commit_fails_everything_that_waits_and_closes_the_log() {
    let backend = disk();
    let mut log = open(&backend);
    log.blocking_append(entries(1, 0..1)).await.unwrap();
    backend.hang();
    let first = start(&mut log, entries(1, 1..2)).await;
    backend.await_hanging();
    let second = start(&mut log, entries(1, 2..3)).await;
    backend.fail_syncs();
    backend.resume();
    let mut errors = vec![first.await.unwrap_err(), second.await.unwrap_err()];
    errors.push(log.save_vote(&vote(2)).await.unwrap_err());
    errors.push(log.truncate_after(None).await.unwrap_err());
    errors.push(
        log.append(entries(1, 0..1), IOFlushed::noop())
            .await
            .unwrap_err(),
    );
    errors.push(log.save_committed(Some(id(1, 0))).await.unwrap_err());
    errors.push(log.close().unwrap_err().into());
    for error in errors {
        assert!(
            error
                .to_string()
                .starts_with("the log is closed since a write failed"),
            "{error}"
        );
    }
    assert_eq!(
        log.read_vote().await.unwrap(),
        None,
        "a vote that is not on disk is not told"
    );
    assert!(log.failure().is_some());
    assert_eq!(log.running(), None, "it failed, and does not hang");
}

#[tokio::test]
async fn a_closed_log_can_be_read_and_not_written() {
    let mut log = open(&disk());
    let done = start(&mut log, entries(1, 0..3)).await;
    log.close().unwrap();
    done.await.unwrap();
    assert_eq!(ids(&mut log).await.len(), 3);
    let error = log.save_vote(&vote(1)).await.unwrap_err();
    assert!(error.to_string().contains("shutting down"), "{error}");
}

#[tokio::test]
async fn an_append_waits_while_the_queue_is_full() {
    let backend = disk();
    let limits = LogLimits {
        queue_bytes: 2 * WEIGHT,
        ..LogLimits::DEFAULT
    };
    let mut log = open_with(&backend, limits);
    backend.hang();
    let mut started = vec![start(&mut log, entries(1, 0..1)).await];
    backend.await_hanging();
    started.push(start(&mut log, entries(1, 1..3)).await);
    {
        let mut full = std::pin::pin!(start(&mut log, entries(1, 3..4)));
        assert!(futures::poll!(&mut full).is_pending());
        backend.resume();
        started.push(full.await);
    }
    for done in started {
        done.await.unwrap();
    }
    assert_eq!(ids(&mut log).await.len(), 4);
}

#[tokio::test]
async fn a_hole_or_a_cut_below_the_purged_part_is_refused() {
    let mut log = open(&disk());
    log.blocking_append(entries(1, 0..5)).await.unwrap();
    assert!(
        log.append(entries(1, 6..7), IOFlushed::noop())
            .await
            .is_err()
    );
    assert!(
        log.append(entries(1, 4..5), IOFlushed::noop())
            .await
            .is_err()
    );
    log.purge(id(1, 3)).await.unwrap();
    assert!(log.truncate_after(Some(id(1, 2))).await.is_err());
    assert_eq!(ids(&mut log).await, [id(1, 4)]);
}

/// Entries that only the disk has, and those that memory has, read as one log.
#[tokio::test]
async fn reads_cross_from_disk_to_memory_and_are_bounded() {
    let limits = LogLimits {
        tail_bytes: 4 * WEIGHT,
        read_bytes: 3 * WEIGHT,
        ..LogLimits::DEFAULT
    };
    let mut log = open_with(&disk(), limits);
    for index in 0..20 {
        log.blocking_append(entries(1, index..index + 1))
            .await
            .unwrap();
    }
    // The tail is cut when the writer has told the callers: a durable vote comes after that.
    log.save_vote(&vote(1)).await.unwrap();
    assert_eq!(
        log.bytes_after(Some(17)).unwrap(),
        2 * WEIGHT,
        "from memory"
    );
    assert_eq!(log.bytes_after(Some(3)).unwrap(), 16 * WEIGHT, "from disk");
    assert_eq!(log.bytes_after(None).unwrap(), 20 * WEIGHT);
    assert_eq!(log.bytes_after(Some(19)).unwrap(), 0);
    assert_eq!(log.bytes_after(Some(u64::MAX)).unwrap(), 0);
    {
        let tail = log.inner.tail.lock();
        assert_eq!(tail.slice(0, 20).disk, 0..16);
    }
    assert_eq!(ids(&mut log).await.len(), 20);
    let some = log.try_get_log_entries(14..=17).await.unwrap();
    assert_eq!(some, entries(1, 14..18));
    for start in 0..20 {
        let limited = log.limited_get_log_entries(start, 20).await.unwrap();
        assert!(
            (1..=3).contains(&limited.len()),
            "{} from {start}",
            limited.len()
        );
        assert_eq!(limited, entries(1, start..start + limited.len() as u64));
    }
    let streamed: Vec<Entry> = log.entries_stream(2..19).await.try_collect().await.unwrap();
    assert_eq!(streamed, entries(1, 2..19));
}

/// A truncation that is on disk before the read began would leave a hole between what the disk
/// still has and what memory had.
#[tokio::test]
async fn a_read_that_a_truncation_overtakes_starts_again() {
    let limits = LogLimits {
        tail_bytes: 2 * WEIGHT,
        ..LogLimits::DEFAULT
    };
    let mut log = open_with(&disk(), limits);
    log.blocking_append(entries(1, 0..9)).await.unwrap();
    log.save_vote(&vote(1)).await.unwrap();
    let take = || log.inner.tail.lock().slice(0, 9);
    let stale = take();
    assert_eq!((stale.disk.clone(), stale.recent.len()), (0..7, 2));
    let mut writing = log.clone();
    writing.truncate_after(Some(id(1, 4))).await.unwrap();
    let (stored, slice) = read_consistent(&log.inner, stale, take, u64::MAX).unwrap();
    assert_eq!((stored, slice.recent), (entries(1, 0..5), Vec::new()));
}

#[tokio::test]
async fn an_entry_larger_than_a_read_is_read_alone() {
    let limits = LogLimits {
        read_bytes: WEIGHT / 2,
        ..LogLimits::DEFAULT
    };
    for tail_bytes in [0, u64::MAX] {
        let mut log = open_with(
            &disk(),
            LogLimits {
                tail_bytes,
                ..limits
            },
        );
        log.blocking_append(entries(1, 0..3)).await.unwrap();
        log.save_vote(&vote(1)).await.unwrap();
        assert_eq!(
            log.limited_get_log_entries(1, 3).await.unwrap(),
            entries(1, 1..2)
        );
    }
}

#[tokio::test]
async fn a_damaged_entry_is_an_error_and_not_an_entry() {
    let limits = LogLimits {
        tail_bytes: 0,
        ..LogLimits::DEFAULT
    };
    let backend = disk();
    let mut log = open_with(&backend, limits);
    for index in 0..3 {
        let entries = entries(1, index..index + 1);
        log.blocking_append(entries).await.unwrap();
    }
    log.save_vote(&vote(1)).await.unwrap();
    let at = backend.find(&[b'x'; PAYLOAD]);
    backend.write(at[1] as u64, b"y").unwrap();
    let error = log.try_get_log_entries(0..3).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("log entries 1 to 1"), "{error}");
    assert_eq!(
        log.try_get_log_entries(2..3).await.unwrap(),
        entries(1, 2..3)
    );
}

/// A frame that is not the last was synced, so it cannot be one that a crash tore.
#[tokio::test]
async fn rot_is_not_taken_for_the_end_of_the_log() {
    for rotten in 0..5 {
        let backend = disk();
        let mut log = open(&backend);
        for index in 0..6 {
            let entries = entries(1, index..index + 1);
            log.blocking_append(entries).await.unwrap();
        }
        log.close().unwrap();
        drop(log);
        let at = backend.find(&[b'x'; PAYLOAD]);
        backend.write(at[rotten] as u64, b"y").unwrap();
        let error = LogStore::open(LogFile::with_backend(backend), LogLimits::DEFAULT);
        let error = error.unwrap_err();
        assert!(matches!(error, StorageError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("does not read back"), "{error}");
    }
}

/// The same for the start of an extent, without which all of it looks like free space.
#[tokio::test]
async fn an_extent_without_its_header_is_damage() {
    for rotten in 0..4 {
        let backend = disk();
        let mut log = open(&backend);
        for index in 0..700 {
            let entries = entries(1, index..index + 1);
            log.blocking_append(entries).await.unwrap();
        }
        log.close().unwrap();
        drop(log);
        assert!(backend.len().unwrap() > 4096 + 3 * (16 << 10));
        backend
            .write(4096 + rotten * (16 << 10) + 9, b"rot")
            .unwrap();
        let error = LogStore::open(LogFile::with_backend(backend), LogLimits::DEFAULT);
        assert!(
            matches!(error, Err(StorageError::Damaged { .. })),
            "extent {rotten}: {error:?}"
        );
    }
}
