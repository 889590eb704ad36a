//! `GET /backup`: the state at one point of the log, from any node, while writes go on.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use rkv_tests::wait::{GENEROUS, check, until};
use rkv_tests::{Cluster, Connection, Workload};
use tempfile::TempDir;

use crate::tools::{download, fill, restored};

#[tokio::test]
async fn a_backup_at_rest_is_the_listing_at_its_index_from_every_node() {
    let mut cluster = Cluster::start(3).await;
    let folder = TempDir::new().expect("a folder");
    let leader = cluster.leader().await;
    fill(&cluster.client(leader), "rest", 2_000).await;
    cluster.client(leader).remove("rest-000007").await;
    cluster.agree().await;
    let keys = cluster.client(leader).keys().await;
    let value = cluster.client(leader).value("rest-001234").await;
    for id in cluster.ids() {
        let file = folder.path().join(format!("{id}.rkv"));
        let index = download(&cluster.client(id), &file).await;
        let last = cluster.client(leader).stats().await.last_log_index;
        assert!(Some(index) <= last, "{index} of {last:?}");
        let copy = restored(&file).await;
        assert_eq!(copy.client(1).keys().await, keys, "of node {id}");
        assert_eq!(copy.client(1).value("rest-001234").await, value);
        copy.client(1).get("/keys/rest-000007").await.problem(404);
    }
}

/// Each writer waits for one key before it writes the next, so at any point of the log its keys are the
/// first so many, and those that were acknowledged before the backup was asked for are there.
#[tokio::test]
async fn a_backup_under_load_is_the_state_at_one_point_behind_all_acknowledged_writes() {
    let mut cluster = Cluster::start(3).await;
    let folder = TempDir::new().expect("a folder");
    let leader = cluster.leader().await;
    fill(&cluster.client(leader), "base", 5_000).await;
    let follower = cluster.follower().await;
    let workload = Workload::start(&cluster, "load", 8);
    for (n, id) in [leader, follower].into_iter().enumerate() {
        workload.progress(200).await;
        let marker = format!("before-{n}");
        cluster.client(leader).put(&marker, "x").await;
        let file = folder.path().join(format!("{n}.rkv"));
        download(&cluster.client(id), &file).await;
        let copy = restored(&file).await;
        let keys = copy.client(1).keys().await;
        assert!(keys.contains(&marker), "no {marker}");
        let base = keys.iter().filter(|key| key.starts_with("base-")).count();
        assert_eq!(base, 5_000);
        let mut writers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for key in keys.iter().filter_map(|key| key.strip_prefix("load-")) {
            let (task, number) = key.split_once('-').expect("a task and a number");
            let numbers = writers.entry(task.parse().expect("a task")).or_default();
            numbers.push(number.parse().expect("a number"));
        }
        assert_eq!(writers.len(), 8);
        for (task, mut numbers) in writers {
            numbers.sort_unstable();
            let gap = numbers
                .iter()
                .enumerate()
                .find(|(place, number)| place != *number);
            assert_eq!(gap, None, "writer {task} of backup {n}");
        }
    }
    workload.stop().await.verify_everywhere(&mut cluster).await;
}

#[tokio::test]
async fn a_second_backup_waits_until_the_first_is_read_or_its_client_is_gone() {
    let cluster = Cluster::start(1).await;
    // More than what the sockets' buffers hold.
    let value = vec![7; 1 << 20];
    for n in 0..24 {
        cluster
            .client(1)
            .put(&format!("large-{n}"), value.clone())
            .await;
    }
    let address = cluster.node(1).spec().http_addr;
    let (slow, second) = until("a slow backup is under way", GENEROUS, async || {
        // It may come second itself: then the next one is the slow one.
        let mut slow = Connection::open(address).await;
        let asked = slow.send(b"GET /backup HTTP/1.1\r\nhost: x\r\n\r\n");
        asked.await.map_err(|ended| ended.to_string())?;
        let answer = cluster.client(1).send(Method::GET, "/backup", "").await;
        check(answer.status == 429, || format!("{}", answer.status)).map(|()| (slow, answer))
    })
    .await;
    let problem = second.problem(429);
    assert!(problem.retryable && problem.limit == Some(1), "{problem:?}");
    assert_eq!(second.header("retry-after"), "1");
    // Writes do not wait for it.
    cluster.client(1).put("meanwhile", "x").await;
    drop(slow);
    until(
        "the client is given up",
        Duration::from_secs(60),
        async || {
            let answer = cluster.client(1).get("/backup").await;
            check(answer.status == 200, || format!("{}", answer.status))
        },
    )
    .await;
}

#[tokio::test]
async fn without_a_quorum_there_is_a_backup_of_the_nodes_own_state_only() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    fill(&cluster.client(leader), "left", 100).await;
    cluster.agree().await;
    let others: Vec<u64> = cluster
        .ids()
        .into_iter()
        .filter(|id| *id != leader)
        .collect();
    cluster.kill_together(&others);
    let client = cluster.client(leader);
    assert!(client.get("/backup").await.problem(503).retryable);
    client.get("/backup?consistency=stale").await.expect(200);
    client.get("/backup?consistency=no").await.problem(400);
}
