//! A node that computes something else is found, turned away from its clients, and healed.

use reqwest::Method;
use rkv_tests::Cluster;
use rkv_tests::wait::{GENEROUS, check, until};

use crate::guests::{kv_v2, upload};

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
    cluster.equal_digests().await;
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

#[tokio::test]
async fn a_node_with_another_engine_applies_nothing_and_says_why() {
    let mut cluster = Cluster::start_with(3, &FLAGS).await;
    let module = upload(&mut cluster, kv_v2()).await.module;
    let odd = cluster.follower().await;
    cluster.node_mut(odd).kill9();
    cluster.node_mut(odd).spec_mut().failpoints = Some("other-engine=return".to_owned());
    cluster.node_mut(odd).start();
    until("the node says why", GENEROUS, async || {
        let answer = cluster
            .client(odd)
            .try_send(Method::GET, "/health", "")
            .await;
        let answer = answer.map_err(|error| error.to_string())?;
        check(answer.status == 503, || answer.to_string())?;
        let detail = answer.problem(503).detail;
        check(detail.contains("another engine"), || detail)
    })
    .await;
    // It counts for the quorum, but the cluster waits for it with a switch.
    let third = cluster.ids().into_iter().find(|id| *id != odd);
    let client = cluster.client(third.expect("another node"));
    for n in 0..250 {
        let path = format!("/keys/key-{n}?val={n}");
        let answer = client.try_follow(Method::POST, &path, "").await;
        answer.expect("an answer").expect(200);
    }
    let target = format!("/fsm/activate?module={module}");
    let refused = client.try_follow(Method::POST, &target, "").await;
    let detail = refused.expect("an answer").problem(409).detail;
    assert!(detail.contains(&odd.to_string()), "{detail}");

    cluster.node_mut(odd).kill9();
    cluster.node_mut(odd).spec_mut().failpoints = None;
    cluster.restart(odd).await;
    cluster.equal_digests().await;
    cluster.agree().await;
}

/// Nobody repairs it here: only the activation does, and so it must come to what the others have.
#[tokio::test]
async fn a_node_without_a_state_goes_on_with_a_module_that_starts_from_a_snapshot() {
    let flags = [
        "--checkpoint-interval-ms",
        "3600000",
        "--snapshot-entries",
        "60",
    ];
    let mut cluster = Cluster::start_with(3, &flags).await;
    let module = upload(&mut cluster, kv_v2()).await.module;
    write(&mut cluster, 0).await;
    let odd = cluster.follower().await;
    cluster.node_mut(odd).kill9();
    let failpoints = "apply-fails=30*off->1*return->off".to_owned();
    cluster.node_mut(odd).spec_mut().failpoints = Some(failpoints);
    cluster.restart(odd).await;
    let third = cluster.ids().into_iter().find(|id| *id != odd);
    let client = cluster.client(third.expect("another node"));
    until("the node has lost its state", GENEROUS, async || {
        client.act("/keys/more?val=x", "").await.expect(200);
        let stats = cluster.client(odd).stats().await;
        check(stats.fsm.quarantine.is_some(), || format!("{stats:?}"))
    })
    .await;
    let target = format!("/fsm/activate?module={module}&from=snapshot");
    client.act(&target, "").await.expect(200);
    cluster.equal_digests().await;
    assert_eq!(cluster.client(odd).stats().await.fsm.repairs, 0);
    cluster.agree().await;
}
