//! What the state machine's thread does, and the snapshots of it.

use std::sync::Arc;
use std::time::Instant;

use prometheus::{Histogram, IntCounter};

use super::timings::Timings;
use super::{Page, counter, disk_buckets, doubling, histogram};

/// Recorder of the state machine. Clones share it.
#[derive(Debug, Clone)]
pub struct FsmMetrics {
    apply: Histogram,
    batch: Histogram,
    query: Arc<Timings>,
    fuel: IntCounter,
    snapshot: Histogram,
}

impl Default for FsmMetrics {
    fn default() -> Self {
        Self {
            apply: histogram(
                "rkv_fsm_apply_seconds",
                "Time to apply a batch of entries.",
                disk_buckets(),
            ),
            batch: histogram(
                "rkv_fsm_batch_entries",
                "Entries in a batch that was applied.",
                doubling(1.0, 11),
            ),
            query: Arc::new(Timings::new(
                "rkv_fsm_query_seconds",
                "Time to answer a batch of queries, waiting left out.",
                &disk_buckets(),
            )),
            fuel: counter(
                "rkv_fsm_fuel_total",
                "Fuel that commands burnt, about one for each WebAssembly operator.",
            ),
            snapshot: histogram(
                "rkv_snapshot_write_seconds",
                "Time to write a snapshot, while entries go on being applied.",
                doubling(1.0 / 64.0, 16),
            ),
        }
    }
}

impl FsmMetrics {
    /// Notes a batch of entries.
    pub fn applied(&self, entries: usize, started: Instant) {
        self.apply.observe(started.elapsed().as_secs_f64());
        self.batch.observe(entries as f64);
    }

    /// Notes a batch of queries.
    pub fn answered(&self, started: Instant) {
        self.query.observe(started.elapsed());
    }

    /// Notes what commands burnt.
    pub fn burnt(&self, fuel: u64) {
        self.fuel.inc_by(fuel);
    }

    /// Notes a snapshot.
    pub fn wrote_snapshot(&self, started: Instant) {
        self.snapshot.observe(started.elapsed().as_secs_f64());
    }

    /// Writes down what was recorded of commands and queries.
    pub fn write(&self, page: &mut Page) {
        page.record(&self.apply);
        page.record(&self.batch);
        page.record(&*self.query);
        page.record(&self.fuel);
    }

    /// Writes down what was recorded of snapshots.
    pub fn write_snapshots(&self, page: &mut Page) {
        page.record(&self.snapshot);
    }
}
