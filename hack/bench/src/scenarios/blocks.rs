//! Latencies of things that take turns, so that the noise of the machine meets all alike.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::samples::Samples;
use crate::table::millis;

/// Medians over the blocks of each block's percentiles.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    p50: Samples,
    p99: Samples,
    operations: usize,
}

impl Blocks {
    pub(super) fn push(&mut self, block: &Samples) {
        self.p50.push(block.median());
        self.p99.push(block.percentile(99));
        self.operations += block.len();
    }

    /// How many times longer these take than `others`: medians and 99th percentiles.
    pub(super) fn ratios(&self, others: &Self) -> [f64; 2] {
        [(&self.p50, &others.p50), (&self.p99, &others.p99)]
            .map(|(own, other)| own.median().as_secs_f64() / other.median().as_secs_f64())
    }

    pub(super) fn cells(&self, name: &str) -> [String; 4] {
        let [p50, p99] = [&self.p50, &self.p99].map(|samples| millis(samples.median()));
        [name.to_owned(), p50, p99, self.operations.to_string()]
    }
}

/// Does something for so long, again and again, and takes the time of each.
pub(super) async fn time_for(
    duration: Duration,
    mut operation: impl AsyncFnMut(u64) -> Result<()>,
) -> Result<Samples> {
    let begun = Instant::now();
    let mut samples = Samples::default();
    for count in 0.. {
        if begun.elapsed() >= duration {
            break;
        }
        let start = Instant::now();
        operation(count).await?;
        samples.push(start.elapsed());
    }
    Ok(samples)
}
