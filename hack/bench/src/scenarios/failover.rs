//! How long nobody's write is acknowledged when a leader dies, or leaves in good order.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::load;
use crate::client::Connection;
use crate::cluster::{Cluster, Launch};
use crate::samples::Samples;
use crate::table::{Table, millis};

const NODES: u64 = 3;
const ROUNDS: u32 = 5;
/// Acknowledged writes that show a cluster at work, before its leader goes.
const STEADY_ACKS: u32 = 50;
/// A writer whose node refused waits this long, which bounds the error of the measurement.
const RETRY_PAUSE: Duration = Duration::from_millis(2);
/// A cluster that takes longer than this to serve again has failed.
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
enum Departure {
    /// `kill -9`.
    Crash,
    /// SIGTERM, on which a leader hands over.
    Handover,
}

/// An acknowledged write.
#[derive(Debug, Clone, Copy)]
struct Ack {
    at: Instant,
    /// Position of the node that acknowledged.
    node: usize,
}

/// Takes the leader away [`ROUNDS`] times in each way, and brings it back.
pub(crate) async fn failover(launch: &Launch) -> Result<Table> {
    let mut cluster = Cluster::start(launch, NODES, &[]).await?;
    let mut table = Table::new(
        format!(
            "failover: {NODES} nodes, {ROUNDS} rounds, longest time without an acknowledged write"
        ),
        &["", "median", "shortest", "longest"],
    );
    for (name, departure) in [
        ("kill -9 of the leader", Departure::Crash),
        ("SIGTERM, handover", Departure::Handover),
    ] {
        let mut gaps = Samples::default();
        for _ in 0..ROUNDS {
            gaps.push(round(&mut cluster, departure).await?);
        }
        let [median, shortest] = [50, 0].map(|percent| millis(gaps.percentile(percent)));
        table.row(&[name, &median, &shortest, &millis(gaps.max())]);
    }
    Ok(table)
}

/// One departure under load: the longest gap between acknowledged writes, from the signal to the
/// first one that another node acknowledged.
async fn round(cluster: &mut Cluster, departure: Departure) -> Result<Duration> {
    let leader = cluster.leader().await?;
    let (sender, mut acks) = mpsc::channel(1024);
    let mut writers = JoinSet::new();
    for (position, node) in cluster.nodes().iter().enumerate() {
        writers.spawn(write(node.http_addr(), position, sender.clone()));
    }
    for _ in 0..STEADY_ACKS {
        next(&mut acks).await?;
    }

    let node = cluster.node_mut(leader);
    let mut last = Instant::now();
    match departure {
        Departure::Crash => node.kill()?,
        Departure::Handover => node.terminate()?,
    }
    let mut gap = Duration::ZERO;
    loop {
        let ack = next(&mut acks).await?;
        gap = gap.max(ack.at.saturating_duration_since(last));
        last = last.max(ack.at);
        if ack.node != leader {
            break;
        }
    }
    writers.shutdown().await;

    if let Departure::Handover = departure {
        node.wait_for_exit().await?;
    }
    node.restart().await?;
    cluster.caught_up().await?;
    Ok(gap)
}

async fn next(acks: &mut mpsc::Receiver<Ack>) -> Result<Ack> {
    let ack = tokio::time::timeout(LIMIT, acks.recv());
    let ack = ack
        .await
        .with_context(|| format!("no write in {} s", LIMIT.as_secs()))?;
    ack.context("all writers have ended")
}

/// Writes to one node without end, whatever the node answers, and tells of what is acknowledged.
async fn write(addr: SocketAddr, position: usize, acks: mpsc::Sender<Ack>) {
    let mut connection = None;
    for count in 0.. {
        match put(&mut connection, addr, position, count).await {
            Ok(_) => {
                let ack = Ack {
                    at: Instant::now(),
                    node: position,
                };
                if acks.send(ack).await.is_err() {
                    return;
                }
            }
            Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}

/// One write, over the connection there is or a new one. An error closes the connection.
async fn put(
    connection: &mut Option<Connection>,
    addr: SocketAddr,
    position: usize,
    count: u64,
) -> Result<()> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => Connection::open(addr).await?,
    };
    load::put(&mut open, position, count).await?;
    *connection = Some(open);
    Ok(())
}
