//! What goes between nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use prometheus::{Histogram, IntCounter};

use super::{Page, counter, disk_buckets, histogram};

/// Recorder of the transport. Clones share it.
#[derive(Debug, Clone)]
pub struct NetworkMetrics {
    round_trips: Arc<Mutex<BTreeMap<u64, Histogram>>>,
    /// Snapshots that a peer took from this node.
    pub snapshots_sent: IntCounter,
    /// Snapshots that this node took from a peer.
    pub snapshots_received: IntCounter,
}

impl Default for NetworkMetrics {
    fn default() -> Self {
        Self {
            round_trips: Arc::default(),
            snapshots_sent: counter(
                "rkv_snapshots_sent_total",
                "Snapshots sent to peers that took them.",
            ),
            snapshots_received: counter(
                "rkv_snapshots_received_total",
                "Snapshots received from peers.",
            ),
        }
    }
}

impl NetworkMetrics {
    /// Where round trips to a peer are recorded: resolved once for each client.
    pub fn round_trip(&self, peer: u64) -> RoundTrip {
        let mut round_trips = self.round_trips.lock();
        let round_trip = round_trips.entry(peer).or_insert_with(|| {
            histogram(
                "rkv_raft_peer_round_trip_seconds",
                "Time from a heartbeat to its answer, told by the leader.",
                disk_buckets(),
            )
        });
        RoundTrip(round_trip.clone())
    }

    /// Writes down the round trips to some peers: those that were removed are told no more.
    pub fn write_round_trips(&self, peers: &[u64], page: &mut Page) {
        let round_trips = self.round_trips.lock();
        let told = round_trips.iter().filter(|(peer, _)| peers.contains(peer));
        page.record_each("peer", told.map(|(peer, trip)| (peer.to_string(), trip)));
    }

    /// Writes down what was recorded of snapshots.
    pub fn write_snapshots(&self, page: &mut Page) {
        page.record(&self.snapshots_sent);
        page.record(&self.snapshots_received);
    }
}

/// Times the round trips to one peer.
#[derive(Debug)]
pub struct RoundTrip(Histogram);

impl RoundTrip {
    /// Notes one that is over.
    pub fn note(&self, started: Instant) {
        self.0.observe(started.elapsed().as_secs_f64());
    }
}
