//! How well concurrent writes share fsyncs.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;

use super::load;
use crate::client::Connection;
use crate::cluster::{Cluster, Launch};
use crate::samples::Samples;
use crate::table::{Table, millis, verdict};

const NODES: u64 = 3;
const CLIENTS: usize = 64;
/// Load before the first request that counts.
const WARM_UP: Duration = Duration::from_secs(1);
/// Log entries that an fsync of the leader should carry.
const BAR: f64 = 8.0;

/// Measures for `duration`, with every client on a connection of its own to the leader.
pub(crate) async fn batching(launch: &Launch, duration: Duration) -> Result<Table> {
    let cluster = Cluster::start(launch, NODES, &[]).await?;
    let leader = &cluster.nodes()[cluster.leader().await?];

    let begin = Instant::now() + WARM_UP;
    let end = begin + duration;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(put_between(leader.connect().await?, client, begin, end));
    }
    tokio::time::sleep_until(begin.into()).await;
    let before = leader.stats().await?.log;
    tokio::time::sleep_until(end.into()).await;
    let after = leader.stats().await?.log;
    let mut samples = Samples::default();
    while let Some(client) = clients.join_next().await {
        samples.append(client??);
    }

    let commits = after.commits - before.commits;
    let entries = after.entries - before.entries;
    let per_fsync = entries as f64 / commits.max(1) as f64;
    let per_second = samples.len() as f64 / duration.as_secs_f64();
    let mut table = Table::new(
        format!(
            "batching: {NODES} nodes, {CLIENTS} clients on the leader, values of {} bytes",
            load::VALUE.len()
        ),
        &["", "requests/s", "p50", "p99"],
    );
    let [p50, p99] = [50, 99].map(|percent| millis(samples.percentile(percent)));
    table.row(&["acknowledged PUT", &format!("{per_second:.0}"), &p50, &p99]);
    table.row(&["", "entries", "fsyncs", "entries/fsync"]);
    let ratio = format!("{per_fsync:.1}");
    let verdict = verdict(&format!("> {BAR}"), per_fsync > BAR);
    table.row(&[
        "leader's log",
        &entries.to_string(),
        &commits.to_string(),
        &ratio,
        &verdict,
    ]);
    Ok(table)
}

/// One client's PUTs until `end`; the samples are those that began at `begin` or later.
async fn put_between(
    mut connection: Connection,
    client: usize,
    begin: Instant,
    end: Instant,
) -> Result<Samples> {
    let mut samples = Samples::default();
    for count in 0.. {
        let start = Instant::now();
        if start >= end {
            break;
        }
        let took = load::put(&mut connection, client, count).await?;
        if start >= begin {
            samples.push(took);
        }
    }
    Ok(samples)
}
