//! Snapshots: taken by themselves, purging the log, and sent to whom the log cannot help any more.

use rkv_tests::wait::{GENEROUS, check, until};
use rkv_tests::{Client, Cluster};

const FLAGS: [&str; 4] = ["--snapshot-entries", "100", "--keep-entries", "10"];

async fn fill(node: &Client, name: &str, count: usize) {
    for n in 0..count {
        node.put(&format!("{name}-{n}"), format!("value {n}")).await;
    }
}

#[tokio::test]
async fn a_snapshot_is_taken_after_so_many_entries_and_the_log_behind_it_goes() {
    let cluster = Cluster::start_with(1, &FLAGS).await;
    let node = cluster.client(1);
    fill(&node, "counted", 350).await;
    until("the log is purged", GENEROUS, async || {
        let stats = node.stats().await;
        let done = stats.snapshot_index >= Some(100) && stats.purged_index >= Some(50);
        check(done, || format!("{stats:?}"))
    })
    .await;
    let stats = node.stats().await;
    assert!(
        stats.purged_index < stats.snapshot_index,
        "some entries stay behind: {stats:?}"
    );
}

#[tokio::test]
async fn a_snapshot_is_taken_after_so_many_bytes() {
    let flags = [
        "--snapshot-entries",
        "1000000",
        "--snapshot-bytes",
        "1000000",
    ];
    let cluster = Cluster::start_with(1, &flags).await;
    let node = cluster.client(1);
    for n in 0..20 {
        node.put(&format!("big-{n}"), vec![b'x'; 100_000]).await;
    }
    until("a snapshot is there", GENEROUS, async || {
        let stats = node.stats().await;
        check(stats.snapshot_index >= Some(10), || format!("{stats:?}"))
    })
    .await;
}

#[tokio::test]
async fn a_node_that_restarts_has_what_is_in_the_snapshot_and_what_came_after() {
    let mut cluster = Cluster::start_with(1, &FLAGS).await;
    fill(&cluster.client(1), "both", 250).await;
    cluster.client(1).remove("both-0").await;
    cluster.node_mut(1).kill9();
    cluster.restart(1).await;
    let node = cluster.client(1);
    assert_eq!(node.keys().await.len(), 249);
    assert_eq!(node.value("both-0").await, None);
    assert_eq!(node.value("both-249").await.expect("written"), "value 249");
}

#[tokio::test]
async fn a_follower_that_is_far_behind_gets_a_snapshot() {
    let mut cluster = Cluster::start_with(3, &FLAGS).await;
    let behind = cluster.follower().await;
    let last = cluster.client(behind).stats().await.last_log_index;
    cluster.node_mut(behind).kill9();
    let leader = cluster.leader().await;
    let node = cluster.client(leader);
    fill(&node, "missed", 400).await;
    until(
        "the leader no longer has what the follower needs",
        GENEROUS,
        async || {
            let stats = node.stats().await;
            check(stats.purged_index > last, || {
                format!("{stats:?}, the follower is at {last:?}")
            })
        },
    )
    .await;
    cluster.restart(behind).await;
    cluster.agree().await;
    let snapshot = cluster.client(behind).stats().await.snapshot_index;
    assert!(
        snapshot > last,
        "snapshot {snapshot:?} is newer than what it had, {last:?}"
    );

    // It came over the network, and holds on this disk, too.
    cluster.node_mut(behind).kill9();
    cluster.restart(behind).await;
    cluster.agree().await;
}

#[tokio::test]
async fn a_node_that_joins_late_gets_a_snapshot() {
    let mut cluster = Cluster::start_with(1, &FLAGS).await;
    let node = cluster.client(1);
    fill(&node, "old", 350).await;
    until("the first entries are gone", GENEROUS, async || {
        let stats = node.stats().await;
        check(stats.purged_index >= Some(50), || format!("{stats:?}"))
    })
    .await;
    cluster.grow_to(2).await;
    cluster.agree().await;
    assert_eq!(cluster.client(2).stale_keys().await.len(), 350);
}

#[tokio::test]
async fn a_snapshot_larger_than_any_message_arrives() {
    let mut cluster = Cluster::start_with(1, &FLAGS).await;
    let node = cluster.client(1);
    for n in 0..24 {
        node.put(&format!("large-{n}"), vec![n; 1 << 20]).await;
    }
    fill(&node, "small", 250).await;
    until("the first entries are gone", GENEROUS, async || {
        let stats = node.stats().await;
        check(stats.purged_index >= Some(50), || format!("{stats:?}"))
    })
    .await;
    cluster.grow_to(2).await;
    cluster.agree().await;
}
