//! What the log writer counts, for `/stats` and for benchmarks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Number of buckets of [`WriterStats::commit_buckets`].
pub const COMMIT_BUCKETS: usize = 17;

/// Figures of the log writer since the log was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriterStats {
    /// Transactions, each one durable commit.
    pub commits: u64,
    /// Entries appended.
    pub entries: u64,
    /// Bytes of stored entries.
    pub bytes: u64,
    /// Time in transactions, nearly all of it fsync.
    pub commit_time: Duration,
    /// The longest of them.
    pub commit_time_max: Duration,
    /// How many commits took less than 64 us, 128 us, and so on, doubling, up to 2 s; the last
    /// bucket has those that took longer.
    pub commit_buckets: [u64; COMMIT_BUCKETS],
    /// How long the transaction that runs now has been running. `None` when there is none. A value
    /// above an election timeout means that the disk hangs.
    pub running: Option<Duration>,
}

/// The counters behind [`WriterStats`]: the writer adds, anybody reads.
#[derive(Debug)]
pub(super) struct Counters {
    opened: Instant,
    commits: AtomicU64,
    entries: AtomicU64,
    bytes: AtomicU64,
    commit_nanos: AtomicU64,
    commit_nanos_max: AtomicU64,
    buckets: [AtomicU64; COMMIT_BUCKETS],
    /// Nanoseconds from `opened` to the start of the transaction that runs, 0 when none does.
    started: AtomicU64,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            commits: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            commit_nanos: AtomicU64::new(0),
            commit_nanos_max: AtomicU64::new(0),
            buckets: [const { AtomicU64::new(0) }; COMMIT_BUCKETS],
            started: AtomicU64::new(0),
        }
    }

    pub(super) fn commit_starts(&self) {
        self.started
            .store(nanos(self.opened.elapsed()).max(1), Ordering::Relaxed);
    }

    pub(super) fn commit_ended(&self, entries: u64, bytes: u64) {
        let started = self.started.swap(0, Ordering::Relaxed);
        let taken = nanos(self.opened.elapsed()).saturating_sub(started);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.entries.fetch_add(entries, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.commit_nanos.fetch_add(taken, Ordering::Relaxed);
        self.commit_nanos_max.fetch_max(taken, Ordering::Relaxed);
        self.buckets[bucket(taken)].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> WriterStats {
        let started = self.started.load(Ordering::Relaxed);
        let running = nanos(self.opened.elapsed()).saturating_sub(started);
        WriterStats {
            commits: self.commits.load(Ordering::Relaxed),
            entries: self.entries.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            commit_time: Duration::from_nanos(self.commit_nanos.load(Ordering::Relaxed)),
            commit_time_max: Duration::from_nanos(self.commit_nanos_max.load(Ordering::Relaxed)),
            commit_buckets: self
                .buckets
                .each_ref()
                .map(|count| count.load(Ordering::Relaxed)),
            running: (started != 0).then(|| Duration::from_nanos(running)),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn bucket(nanos: u64) -> usize {
    let sixty_fours = nanos / 64_000;
    let doublings = u64::BITS - sixty_fours.leading_zeros();
    (doublings as usize).min(COMMIT_BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_double_from_64_microseconds_up_to_two_seconds() {
        assert_eq!(bucket(63_999), 0);
        assert_eq!(bucket(64_000), 1);
        assert_eq!(bucket(127_999), 1);
        assert_eq!(bucket(128_000), 2);
        assert_eq!(bucket(64_000 << 15), COMMIT_BUCKETS - 1);
        assert_eq!(bucket((64_000 << 15) - 1), COMMIT_BUCKETS - 2);
        assert_eq!(bucket(u64::MAX), COMMIT_BUCKETS - 1);
    }
}
