//! `rkvd recover`: what to do when a majority is gone for good.

use std::fs;

use rkv_tests::wait::{GENEROUS, check, until};
use rkv_tests::{Cluster, Workload};
use tempfile::TempDir;

use crate::tools::{contents, ended, fill, recover, verify};

/// Ends all nodes in one moment, and destroys all data but that of `survivor`.
fn destroy_others(cluster: &mut Cluster, survivor: u64) {
    let all = cluster.ids();
    cluster.kill_together(&all);
    for id in all.into_iter().filter(|id| *id != survivor) {
        fs::remove_dir_all(cluster.data_dir(id)).expect("its data");
        cluster.forget(id);
    }
}

#[tokio::test]
async fn the_survivor_of_two_destroyed_disks_serves_all_that_it_had_and_fresh_nodes_join() {
    let mut cluster = Cluster::start(3).await;
    let workload = Workload::start(&cluster, "w", 8);
    workload.progress(500).await;
    let history = workload.stop().await;
    cluster.agree().await;
    let survivor = cluster.follower().await;
    let term = cluster.client(survivor).stats().await.term;
    destroy_others(&mut cluster, survivor);
    let data_dir = cluster.data_dir(survivor);

    let before = contents(&data_dir);
    let asked = recover(&data_dir, false, None).await;
    ended(
        &asked,
        2,
        &["[1, 2, 3]", "a voter", "keeps", "loses", "--yes"],
    );
    assert!(contents(&data_dir) == before, "it changed something");

    ended(
        &recover(&data_dir, true, None).await,
        0,
        &["is alone", "next"],
    );
    ended(&recover(&data_dir, true, None).await, 0, &["nothing to do"]);
    ended(&verify(&data_dir).await, 0, &[]);
    cluster.restart(survivor).await;
    history.verify(&cluster.client(survivor)).await;
    assert!(cluster.client(survivor).stats().await.term > term);
    cluster.grow_to(3).await;
    assert_eq!(cluster.ids(), [survivor, 4, 5]);
    cluster.client(survivor).put("later", "x").await;
    history.verify_everywhere(&mut cluster).await;
    cluster.equal_digests().await;
}

#[tokio::test]
async fn entries_that_were_never_known_to_be_committed_count_and_none_is_missing_in_between() {
    let mut cluster = Cluster::start(3).await;
    let workload = Workload::start(&cluster, "w", 8);
    workload.progress(500).await;
    let survivor = cluster.follower().await;
    destroy_others(&mut cluster, survivor);
    workload.stop().await;
    let data_dir = cluster.data_dir(survivor);
    ended(&recover(&data_dir, true, None).await, 0, &["last entry"]);
    cluster.restart(survivor).await;
    let keys = cluster.client(survivor).keys().await;
    for task in 0..8 {
        let prefix = format!("w-{task}-");
        let here = keys.iter().filter_map(|key| key.strip_prefix(&prefix));
        let mut numbers: Vec<usize> = here
            .map(|number| number.parse().expect("a number"))
            .collect();
        numbers.sort_unstable();
        let gap = numbers
            .iter()
            .enumerate()
            .find(|(place, number)| place != *number);
        assert_eq!(gap, None, "writer {task}");
    }
}

#[tokio::test]
async fn a_recovery_that_is_killed_can_be_run_again() {
    for point in ["recover-before-log", "recover-after-log"] {
        let mut cluster = Cluster::start(3).await;
        let leader = cluster.leader().await;
        fill(&cluster.client(leader), "key", 300).await;
        cluster.agree().await;
        destroy_others(&mut cluster, leader);
        let data_dir = cluster.data_dir(leader);
        let exit = recover(&data_dir, true, Some(&format!("{point}=return"))).await;
        assert_eq!(exit.status.code(), None, "{point}: {}", exit.log);
        ended(&recover(&data_dir, true, None).await, 0, &["done"]);
        cluster.restart(leader).await;
        assert_eq!(cluster.client(leader).keys().await.len(), 300, "{point}");
        cluster.grow_to(2).await;
        cluster.agree().await;
    }
}

/// The other two were only thought to be lost. Together they are a majority of what was, and nobody can
/// take that from them; but they reach nobody of the new cluster.
#[tokio::test]
async fn old_peers_that_come_back_neither_disturb_nor_count() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    cluster.client(leader).put("shared", "x").await;
    cluster.agree().await;
    let survivor = cluster.follower().await;
    let all = cluster.ids();
    cluster.kill_together(&all);
    ended(
        &recover(&cluster.data_dir(survivor), true, None).await,
        0,
        &["done"],
    );
    let old: Vec<u64> = all.into_iter().filter(|id| *id != survivor).collect();
    for &id in &old {
        cluster.node_mut(id).start();
    }
    cluster.node_mut(survivor).start();
    let client = cluster.client(survivor);
    until("the survivor leads", GENEROUS, async || {
        let stats = client.try_send(reqwest::Method::GET, "/state", "").await;
        let state = stats.map_err(|error| error.to_string())?;
        check(state.body == "Leader", || state.to_string())
    })
    .await;
    client.put("new", "x").await;
    let term = client.stats().await.term;
    until("the old peers go on without it", GENEROUS, async || {
        let answer = cluster
            .client(old[0])
            .try_follow(reqwest::Method::POST, "/keys/old?val=x", "")
            .await;
        let answer = answer.map_err(|error| error.to_string())?;
        check(answer.status == 200, || answer.to_string())
    })
    .await;
    until("they were turned away", GENEROUS, async || {
        let log = cluster.node(survivor).log();
        check(log.contains("it belongs to cluster"), || log)
    })
    .await;
    client.put("more", "x").await;
    let stats = client.stats().await;
    assert_eq!((stats.term, stats.voters), (term, vec![survivor]));
    client.get("/keys/old").await.problem(404);
    cluster.client(old[0]).get("/keys/new").await.problem(404);
    // Nor are they let in again.
    let spec = cluster.node(old[0]).spec();
    let path = format!("/nodes/{}?addr={}", old[0], spec.raft_addr);
    let refused = client.post(&path, "").await.problem(409);
    assert!(
        refused.detail.contains("removed from this cluster"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_running_node_and_what_is_no_node_are_refused() {
    let mut cluster = Cluster::start(1).await;
    let data_dir = cluster.data_dir(1);
    ended(
        &recover(&data_dir, true, None).await,
        2,
        &["used by another rkvd"],
    );
    ended(&verify(&data_dir).await, 2, &["used by another rkvd"]);
    cluster.client(1).put("still", "here").await;
    let folder = TempDir::new().expect("a folder");
    ended(
        &recover(folder.path(), true, None).await,
        2,
        &["not the data directory of a node"],
    );
    assert!(contents(folder.path()).is_empty());
    // A node that waits to be admitted has nothing of a cluster.
    cluster.node_mut(1).kill9();
    let waiting = cluster.prepare();
    cluster.node_mut(waiting).start();
    let lock = cluster.data_dir(waiting).join("log.wal");
    until("it has a directory", GENEROUS, async || {
        check(lock.exists(), || "no log yet".to_owned())
    })
    .await;
    cluster.node_mut(waiting).kill9();
    let refused = recover(&cluster.data_dir(waiting), true, None).await;
    ended(&refused, 2, &["nothing to recover"]);
}
