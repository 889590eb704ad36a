//! What the log writer counts, for `/stats`, `/metrics` and benchmarks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::metrics::LogMetrics;

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
    /// How long the transaction that runs now has been running. `None` when there is none. A value
    /// above an election timeout means that the disk hangs.
    pub running: Option<Duration>,
}

/// The counters behind [`WriterStats`]: the writer adds, anybody reads.
#[derive(Debug)]
pub(super) struct Counters {
    opened: Instant,
    metrics: LogMetrics,
    commit_nanos_max: AtomicU64,
    /// Nanoseconds from `opened` to the start of the transaction that runs, 0 when none does.
    started: AtomicU64,
}

/// What a transaction put on disk.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    /// How long its fsync took, if there was anything to sync.
    pub(super) sync: Option<Duration>,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            metrics: LogMetrics::default(),
            commit_nanos_max: AtomicU64::new(0),
            started: AtomicU64::new(0),
        }
    }

    pub(super) fn commit_starts(&self) {
        self.started
            .store(nanos(self.opened.elapsed()).max(1), Ordering::Relaxed);
    }

    pub(super) fn commit_failed(&self) {
        self.started.store(0, Ordering::Relaxed);
    }

    pub(super) fn commit_ended(&self, written: &Written) {
        let started = self.started.swap(0, Ordering::Relaxed);
        let taken = nanos(self.opened.elapsed()).saturating_sub(started);
        self.commit_nanos_max.fetch_max(taken, Ordering::Relaxed);
        let metrics = &self.metrics;
        metrics
            .commit
            .observe(Duration::from_nanos(taken).as_secs_f64());
        if let Some(sync) = written.sync {
            metrics.fsync.observe(sync.as_secs_f64());
        }
        if written.entries > 0 {
            metrics.batch.observe(written.entries as f64);
            metrics.entries.inc_by(written.entries);
            metrics.bytes.inc_by(written.bytes);
        }
    }

    pub(super) fn metrics(&self) -> &LogMetrics {
        &self.metrics
    }

    /// How long the transaction that runs now has been running.
    pub(super) fn running(&self) -> Option<Duration> {
        let started = self.started.load(Ordering::Relaxed);
        let running = nanos(self.opened.elapsed()).saturating_sub(started);
        (started != 0).then(|| Duration::from_nanos(running))
    }

    pub(super) fn read(&self) -> WriterStats {
        let metrics = &self.metrics;
        WriterStats {
            commits: metrics.commit.get_sample_count(),
            entries: metrics.entries.get(),
            bytes: metrics.bytes.get(),
            commit_time: Duration::from_secs_f64(metrics.commit.get_sample_sum()),
            commit_time_max: Duration::from_nanos(self.commit_nanos_max.load(Ordering::Relaxed)),
            running: self.running(),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
