//! What a node counts and times, for whoever scrapes `/metrics`. For every layer above `types`.
//!
//! A layer owns the recorder of what it does and writes to it as it goes: some atomic additions, no
//! lock and no allocation. Nothing is registered anywhere: at a scrape, `api` puts the recorders and
//! the figures that are kept anyway onto a [`Page`].

mod consensus;
mod fsm;
mod http;
mod log;
mod network;
mod page;
mod process;
mod spread;
mod timings;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge};

pub use consensus::ConsensusMetrics;
pub use fsm::FsmMetrics;
pub use http::{Counted, HttpMetrics, Measured};
pub use log::LogMetrics;
pub use network::{NetworkMetrics, RoundTrip};
pub use page::Page;
pub use process::write_process;

/// Seconds of what waits for a disk or a peer: 64 us, doubling, up to 4 s.
fn disk_buckets() -> Vec<f64> {
    doubling(64e-6, 17)
}

/// `count` numbers from `first` on, each twice the one before it.
fn doubling(first: f64, count: usize) -> Vec<f64> {
    std::iter::successors(Some(first), |bound| Some(bound * 2.0))
        .take(count)
        .collect()
}

/// Names and buckets are written in this module, so that they cannot be wrong.
const SOUND: &str = "a metric's name and buckets are sound";

fn histogram(name: &str, help: &str, buckets: Vec<f64>) -> Histogram {
    Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets)).expect(SOUND)
}

fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::new(name, help).expect(SOUND)
}

fn gauge(name: &str, help: &str) -> IntGauge {
    IntGauge::new(name, help).expect(SOUND)
}
