//! What the log writer does.

use prometheus::{Histogram, IntCounter};

use super::{Page, counter, disk_buckets, doubling, histogram};

/// Recorder of the log writer. Clones share it.
#[derive(Debug, Clone)]
pub struct LogMetrics {
    /// Seconds of each commit.
    pub commit: Histogram,
    /// Seconds of the fsync in it.
    pub fsync: Histogram,
    /// Entries of each commit that has any.
    pub batch: Histogram,
    /// Entries appended.
    pub entries: IntCounter,
    /// Bytes of stored entries.
    pub bytes: IntCounter,
}

impl Default for LogMetrics {
    fn default() -> Self {
        Self {
            commit: histogram(
                "rkv_log_commit_seconds",
                "Time of a durable commit of the log: encoding, one write, one fsync.",
                disk_buckets(),
            ),
            fsync: histogram(
                "rkv_log_fsync_seconds",
                "Time of the fsync in a commit of the log.",
                disk_buckets(),
            ),
            batch: histogram(
                "rkv_log_batch_entries",
                "Entries that one commit of the log appended.",
                doubling(1.0, 13),
            ),
            entries: counter("rkv_log_entries_total", "Entries appended to the log."),
            bytes: counter(
                "rkv_log_bytes_total",
                "Bytes of the entries appended to the log.",
            ),
        }
    }
}

impl LogMetrics {
    /// Writes down what was recorded.
    pub fn write(&self, page: &mut Page) {
        page.record(&self.commit);
        page.record(&self.fsync);
        page.record(&self.batch);
        page.record(&self.entries);
        page.record(&self.bytes);
    }
}
