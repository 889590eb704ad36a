//! A histogram of durations, for what every request does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, Metric, MetricFamily, MetricType};

use super::spread::Spread;

/// The most buckets.
const MAX_BUCKETS: usize = 24;

/// Counts durations by buckets. As [`prometheus::Histogram`], which threads have to share.
#[derive(Debug)]
pub(super) struct Timings {
    name: &'static str,
    help: &'static str,
    /// Upper bounds.
    bounds: Vec<Duration>,
    counts: Spread<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Not cumulated. What is above all bounds is in the one behind the last bound's.
    buckets: [AtomicU64; MAX_BUCKETS + 1],
    nanoseconds: AtomicU64,
}

impl Timings {
    /// With buckets up to these numbers of seconds, at most [`MAX_BUCKETS`] of them.
    pub(super) fn new(name: &'static str, help: &'static str, bounds: &[f64]) -> Self {
        let bounds = bounds.iter().take(MAX_BUCKETS);
        Self {
            name,
            help,
            bounds: bounds.copied().map(Duration::from_secs_f64).collect(),
            counts: Spread::default(),
        }
    }

    pub(super) fn observe(&self, took: Duration) {
        let counts = self.counts.own();
        let bucket = self.bounds.partition_point(|bound| *bound < took);
        counts.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        counts.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

impl Collector for Timings {
    /// None: nothing is registered.
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let sum = |of: &dyn Fn(&Counts) -> &AtomicU64| -> u64 {
            let parts = self.counts.parts();
            parts.map(|part| of(part).load(Ordering::Relaxed)).sum()
        };
        let mut buckets = Vec::with_capacity(self.bounds.len());
        let mut so_far = 0;
        for (number, bound) in self.bounds.iter().enumerate() {
            so_far += sum(&|counts| &counts.buckets[number]);
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound.as_secs_f64());
            bucket.set_cumulative_count(so_far);
            buckets.push(bucket);
        }
        so_far += sum(&|counts| &counts.buckets[self.bounds.len()]);
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(so_far);
        let seconds = Duration::from_nanos(sum(&|counts| &counts.nanoseconds));
        histogram.set_sample_sum(seconds.as_secs_f64());
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(vec![metric]);
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::metrics::{Page, histogram};

    #[test]
    fn it_is_written_as_the_library_writes_its_own() {
        const BOUNDS: [f64; 3] = [0.000_25, 0.5, 1.0];
        let theirs = histogram("took_seconds", "How long.", BOUNDS.to_vec());
        let ours = Timings::new("took_seconds", "How long.", &BOUNDS);
        let seen = [0, 249_999, 250_000, 250_001, 500_000_000, 3_000_000_000];
        thread::scope(|scope| {
            for nanoseconds in seen {
                let took = Duration::from_nanos(nanoseconds);
                theirs.observe(took.as_secs_f64());
                let ours = &ours;
                scope.spawn(move || ours.observe(took));
            }
        });
        let text = |recorder: &dyn Fn(&mut Page)| {
            let mut page = Page::default();
            recorder(&mut page);
            page.encode().unwrap()
        };
        let ours = text(&|page| page.record(&ours));
        assert_eq!(ours, text(&|page| page.record(&theirs)));
        assert!(ours.contains("took_seconds_count 6"), "{ours}");
    }
}
