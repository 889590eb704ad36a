//! How long writes wait when the leader goes away, with default timing and nothing else wrong.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use rkv_tests::wait::GENEROUS;
use rkv_tests::{Client, Cluster, Fate};
use tokio::time::{Instant, sleep, timeout};

/// How long one try may take; the node that is asked may just be gone.
const PATIENCE: Duration = Duration::from_millis(250);

const PAUSE: Duration = Duration::from_millis(2);

/// The longest waits for a write, sorted.
#[derive(Debug, Default)]
pub(crate) struct Failovers {
    killed: Vec<Duration>,
    handed_over: Vec<Duration>,
}

impl Failovers {
    /// Kills and terminates the leader so many times each.
    pub(crate) async fn measure(cluster: &mut Cluster, times: usize) -> Self {
        let mut failovers = Self::default();
        for _ in 0..times {
            cluster.ready().await;
            let leader = cluster.leader().await;
            let rest = others(cluster, leader);
            cluster.node_mut(leader).kill9();
            let killed = Instant::now();
            while !write(&rest, killed).await {
                sleep(PAUSE).await;
            }
            failovers.killed.push(killed.elapsed());
            cluster.restart(leader).await;

            let leader = cluster.leader().await;
            let rest = others(cluster, leader);
            let mut last = Instant::now();
            let mut longest = Duration::ZERO;
            cluster.node(leader).terminate();
            let mut ended = false;
            while !ended {
                // One more write after the end, which only the next leader can have taken.
                ended = !cluster.node_mut(leader).is_running();
                while !write(&rest, last).await {
                    sleep(PAUSE).await;
                }
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            failovers.handed_over.push(longest);
            cluster.node_mut(leader).exit(GENEROUS).await;
            cluster.restart(leader).await;
        }
        failovers.killed.sort_unstable();
        failovers.handed_over.sort_unstable();
        failovers
    }

    pub(crate) fn print(&self) {
        for (what, times) in [
            ("leader killed, to the next write", &self.killed),
            (
                "leader terminated, longest wait for a write",
                &self.handed_over,
            ),
        ] {
            if let (Some(median), Some(longest)) = (times.get(times.len() / 2), times.last()) {
                println!(
                    "{what}: median {median:.0?}, longest {longest:.0?} of {}",
                    times.len()
                );
            }
        }
    }
}

fn others(cluster: &Cluster, leader: u64) -> Vec<Client> {
    let ids = cluster.ids().into_iter().filter(|&id| id != leader);
    ids.map(|id| cluster.client(id)).collect()
}

/// Tries to write through each of `nodes` in turn.
///
/// # Panics
///
/// When nothing has succeeded for far too long.
async fn write(nodes: &[Client], since: Instant) -> bool {
    assert!(since.elapsed() < GENEROUS, "no write for {GENEROUS:?}");
    for node in nodes {
        let write = node.try_follow(Method::POST, "/keys/failover", Bytes::from_static(b"x"));
        let answer = timeout(PATIENCE, write).await;
        if answer.is_ok_and(|answer| Fate::of(&answer) == Fate::Acknowledged) {
            return true;
        }
    }
    false
}
