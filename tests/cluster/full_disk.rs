//! A disk without room: the node on it stops, the cluster goes on, and room brings it back.
//!
//! Needs to mount a small tmpfs, which only root may; skipped with a printed reason otherwise.

use std::path::{Path, PathBuf};

use reqwest::Method;
use rkv_tests::wait::{GENEROUS, check, until};
use rkv_tests::{Client, Cluster, SmallDisk};

/// Room for a node at rest and some megabytes of log.
const DISK_MIB: u32 = 64;

/// What one write adds to the log: some dozens fill what a storage engine has reserved.
const VALUE_BYTES: usize = 256 << 10;

async fn is_healthy(node: &Client) -> bool {
    node.try_send(Method::GET, "/health", "")
        .await
        .is_ok_and(|answer| answer.status == 200)
}

/// Starts three nodes with number `on_small_disk` on one, fills the disk, and returns the cluster
/// with the file that fills it once that node is out of service.
async fn with_a_full_disk(disk: &SmallDisk, mut cluster: Cluster, node: u64) -> (Cluster, PathBuf) {
    cluster.grow_to(3).await;
    cluster.client(1).put("before", "x").await;
    cluster.agree().await;
    let filler = disk.fill();
    let others: Vec<_> = cluster.ids().into_iter().filter(|&id| id != node).collect();
    let victim = cluster.client(node);
    let mut number = 0;
    until(
        "the node on the full disk is out of service",
        GENEROUS,
        async || {
            // Through any node: if the one with the full disk leads, the write fails there.
            let through = cluster.client(others[number % others.len()]);
            number += 1;
            let path = format!("/keys/filling-{number}");
            let _ = through
                .try_follow(Method::POST, &path, vec![b'x'; VALUE_BYTES])
                .await;
            check(!is_healthy(&victim).await, || {
                format!("healthy after {number} writes")
            })
        },
    )
    .await;
    until("the others serve on", GENEROUS, async || {
        let through = cluster.client(others[0]);
        let answer = through
            .try_follow(Method::POST, "/keys/during?val=x", "")
            .await;
        let answer = answer.map_err(|error| error.to_string())?;
        check(answer.status == 200, || answer.to_string())
    })
    .await;
    let stats = cluster.client(others[0]).stats().await;
    assert!(
        stats.leader.is_some_and(|leader| others.contains(&leader)),
        "{stats:?}"
    );
    // What the node answers now, if anything, is no acknowledgement of its own.
    if let Ok(answer) = victim
        .try_send(Method::POST, "/keys/on-full-disk?val=x", "")
        .await
    {
        assert_ne!(answer.status, 200, "{answer}");
    }
    (cluster, filler)
}

async fn comes_back_equal(mut cluster: Cluster, node: u64, filler: &Path) {
    cluster.node_mut(node).kill9();
    std::fs::remove_file(filler).expect("the filler is there");
    cluster.restart(node).await;
    let during = cluster.client(node).value("during").await;
    assert_eq!(during.expect("caught up"), "x");
    cluster.agree().await;
}

#[tokio::test]
async fn a_follower_with_a_full_disk_stops_and_the_cluster_goes_on() {
    let cluster = Cluster::empty(&[]);
    let Some(disk) = SmallDisk::mount(&cluster.data_dir(3), DISK_MIB) else {
        return;
    };
    let (cluster, filler) = with_a_full_disk(&disk, cluster, 3).await;
    comes_back_equal(cluster, 3, &filler).await;
}

#[tokio::test]
async fn a_leader_with_a_full_disk_gives_way_and_the_cluster_goes_on() {
    let cluster = Cluster::empty(&[]);
    // The founder leads.
    let Some(disk) = SmallDisk::mount(&cluster.data_dir(1), DISK_MIB) else {
        return;
    };
    let (cluster, filler) = with_a_full_disk(&disk, cluster, 1).await;
    comes_back_equal(cluster, 1, &filler).await;
}
