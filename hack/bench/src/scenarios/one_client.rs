//! One client's PUTs at three nodes each: rkv by REST, etcd by gRPC and by its JSON gateway.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::blocks::{Blocks, time_for};
use super::{load, store};
use crate::client::Connection;
use crate::cluster::{Cluster, Launch};
use crate::compare::Etcd;
use crate::grpc::GrpcConnection;
use crate::table::{Table, verdict};

const NODES: u64 = 3;
/// The systems take turns this often.
const BLOCKS: u32 = 10;
/// Keys that are written in turn, as many as rkv's.
const KEYS: u64 = 1000;
/// PUTs before the first that counts.
const WARM_UP: Duration = Duration::from_millis(300);
/// A PUT may take this many times etcd's by gRPC.
const BAR: f64 = 1.0;

/// Measures for `duration`, a third of it each.
pub(crate) async fn one_client(launch: &Launch, duration: Duration) -> Result<Table> {
    let cluster = Cluster::start(launch, NODES, &[]).await?;
    let mut rest = cluster.nodes()[cluster.leader().await?].connect().await?;
    let etcd = Etcd::start(launch, NODES).await?;
    let leader = etcd.leader().await?;
    let mut gateway = Connection::open(leader).await?;
    let mut grpc = GrpcConnection::open(leader).await?;

    let block = duration / (3 * BLOCKS);
    let [mut by_rest, mut by_grpc, mut by_gateway] = <[Blocks; 3]>::default();
    time_for(WARM_UP, async |count| {
        load::put(&mut rest, 0, count).await.map(drop)
    })
    .await?;
    time_for(WARM_UP, async |count| {
        grpc.put(&key(count), load::VALUE).await
    })
    .await?;
    time_for(WARM_UP, async |count| {
        by_json(&mut gateway, &key(count)).await
    })
    .await?;
    for _ in 0..BLOCKS {
        by_rest.push(
            &time_for(block, async |count| {
                load::put(&mut rest, 0, count).await.map(drop)
            })
            .await?,
        );
        by_grpc.push(
            &time_for(block, async |count| {
                grpc.put(&key(count), load::VALUE).await
            })
            .await?,
        );
        by_gateway.push(
            &time_for(block, async |count| {
                by_json(&mut gateway, &key(count)).await
            })
            .await?,
        );
    }
    ensure!(etcd.leader().await? == leader, "etcd changed its leader");

    let mut table = Table::new(
        format!(
            "one-client: {NODES} nodes each, one connection, values of {} bytes",
            load::VALUE.len()
        ),
        &["", "p50", "p99", "operations"],
    );
    table.row(&by_rest.cells("rkv, REST"));
    table.row(&by_grpc.cells("etcd, gRPC"));
    table.row(&by_gateway.cells("etcd, JSON gateway"));
    for (name, theirs, bar) in [
        ("rkv over gRPC", &by_grpc, Some(BAR)),
        ("rkv over the gateway", &by_gateway, None),
    ] {
        let [p50, p99] = by_rest.ratios(theirs);
        let bar = bar.map_or(String::new(), |bar| {
            verdict(&format!("p50 <= {bar}"), p50 <= bar)
        });
        table.row(&[name, &format!("{p50:.2}"), &format!("{p99:.2}"), &bar]);
    }
    Ok(table)
}

async fn by_json(gateway: &mut Connection, key: &str) -> Result<()> {
    let body = Etcd::put_body(key, load::VALUE);
    let answer = gateway.post("/v3/kv/put", body.as_bytes()).await?;
    ensure!(answer.status == 200, "etcd answered {}", answer.summary());
    Ok(())
}

fn key(count: u64) -> String {
    store::key(count % KEYS)
}
