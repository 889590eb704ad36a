//! A node that computes something else is found, turned away from its clients, and healed.

use rkv_tests::Cluster;
use rkv_tests::wait::{GENEROUS, check, until};

use crate::guests::equal_digests;

/// Checkpoints soon, and few snapshots: what heals is the repair.
const FLAGS: [&str; 4] = [
    "--checkpoint-interval-ms",
    "200",
    "--snapshot-entries",
    "100",
];

/// Restarts a node so that one of its next commands is garbled, on this node only.
async fn garble(cluster: &mut Cluster, id: u64) {
    cluster.node_mut(id).kill9();
    // Not the first ones, which it replays.
    let failpoints = "command-garbled=150*off->1*return->off".to_owned();
    cluster.node_mut(id).spec_mut().failpoints = Some(failpoints);
    cluster.restart(id).await;
}

async fn write(cluster: &mut Cluster, from: u32) {
    for n in from..from + 200 {
        let leader = cluster.leader().await;
        cluster
            .client(leader)
            .put(&format!("key-{n}"), n.to_string())
            .await;
    }
}

async fn healed(cluster: &mut Cluster, id: u64) {
    until("the node has taken another state", GENEROUS, async || {
        let stats = cluster.client(id).stats().await;
        let good = stats.fsm.repairs > 0 && stats.fsm.quarantine.is_none();
        check(good, || format!("{:?}", stats.fsm))
    })
    .await;
    cluster.client(id).get("/health").await.expect(200);
    assert!(cluster.node(id).log().contains("quarantined"));
    equal_digests(cluster).await;
    cluster.agree().await;
}

#[tokio::test]
async fn a_follower_that_differs_is_found_and_healed() {
    let mut cluster = Cluster::start_with(3, &FLAGS).await;
    let follower = cluster.follower().await;
    garble(&mut cluster, follower).await;
    write(&mut cluster, 0).await;
    healed(&mut cluster, follower).await;
}

#[tokio::test]
async fn a_leader_that_differs_hands_over_and_is_healed() {
    let mut cluster = Cluster::start_with(3, &FLAGS).await;
    let odd = cluster.follower().await;
    garble(&mut cluster, odd).await;
    // The others go, one after the other, until it leads.
    while cluster.leader().await != odd {
        let leader = cluster.leader().await;
        cluster.node_mut(leader).terminate();
        cluster.node_mut(leader).exit(GENEROUS).await;
        cluster.restart(leader).await;
    }
    for n in 0..200 {
        // Its own answers are wrong for a moment: a refusal, or somebody else leads by then.
        let leader = cluster.leader().await;
        let path = format!("/keys/key-{n}?val={n}");
        let _ = cluster.client(leader).post(&path, "").await;
    }
    healed(&mut cluster, odd).await;
}
