//! A node whose disk was wiped forgot what it promised: it may not come back as what it was.

use std::fs;

use rkv_tests::Cluster;
use rkv_tests::wait::{GENEROUS, until};

async fn wipe(cluster: &mut Cluster, id: u64) {
    cluster.node_mut(id).kill9();
    fs::remove_dir_all(cluster.data_dir(id)).expect("the data directory is there");
    let others = cluster.ids().into_iter().filter(|&other| other != id);
    let join = others
        .map(|other| cluster.node(other).spec().http_addr)
        .collect();
    cluster.node_mut(id).spec_mut().join = join;
}

#[tokio::test]
async fn a_wiped_node_is_refused_under_its_old_id_and_served_under_a_new_one() {
    let mut cluster = Cluster::start(3).await;
    let wiped = cluster.follower().await;
    let leader = cluster.leader().await;
    cluster.client(leader).put("kept", "x").await;
    wipe(&mut cluster, wiped).await;

    cluster.node_mut(wiped).start();
    let exit = cluster.node_mut(wiped).exit(GENEROUS).await;
    let line = exit.refusal();
    assert!(
        line.contains(&wiped.to_string()),
        "the line names the id: {line}"
    );
    assert!(
        line.contains("new --id"),
        "the line names the remedy: {line}"
    );
    let mut voters = cluster.client(leader).stats().await.voters;
    voters.sort_unstable();
    assert_eq!(voters, [1, 2, 3], "a refusal changes nothing");

    let fresh = cluster.prepare();
    let join = cluster.node(wiped).spec().join.clone();
    cluster.node_mut(fresh).spec_mut().join = join;
    cluster.node_mut(fresh).start();
    cluster.ready().await;
    assert_eq!(
        cluster
            .client(fresh)
            .value("kept")
            .await
            .expect("replicated"),
        "x"
    );
}

#[tokio::test]
async fn a_wiped_founder_that_founds_again_draws_nobody_away() {
    let mut cluster = Cluster::start(3).await;
    cluster.client(1).put("kept", "x").await;
    wipe(&mut cluster, 1).await;
    // As an operator's unit file would: the founder never had a `--join`.
    cluster.node_mut(1).spec_mut().join.clear();
    cluster.node_mut(1).start();
    let others = cluster
        .ids()
        .into_iter()
        .filter(|&id| id != 1)
        .collect::<Vec<_>>();
    until("the other two elect one of them", GENEROUS, async || {
        let stats = cluster.client(others[0]).stats().await;
        let leader = stats.leader.filter(|leader| others.contains(leader));
        leader.ok_or_else(|| format!("{stats:?}"))
    })
    .await;
    cluster
        .client(others[0])
        .put("without-the-founder", "x")
        .await;
    for &id in &others {
        assert_eq!(
            cluster.client(id).keys().await,
            ["kept", "without-the-founder"]
        );
    }
}
