//! Nodes that join.

use rkv_tests::Cluster;
use rkv_tests::wait::{GENEROUS, check, until};

#[tokio::test]
async fn a_node_without_a_join_is_a_cluster_of_its_own() {
    let mut cluster = Cluster::start(1).await;
    assert_eq!(cluster.leader().await, 1);
    cluster.client(1).put("alone", "x").await;
    assert_eq!(
        cluster.client(1).value("alone").await.expect("written"),
        "x"
    );
}

#[tokio::test]
async fn a_node_that_joins_gets_all_that_was_written_before() {
    let mut cluster = Cluster::start(1).await;
    for n in 0..50 {
        cluster
            .client(1)
            .put(&format!("before-{n}"), format!("value {n}"))
            .await;
    }
    cluster.grow_to(3).await;
    cluster.agree().await;
    assert_eq!(cluster.client(3).stale_keys().await.len(), 50);
}

#[tokio::test]
async fn a_node_may_join_through_a_follower() {
    let mut cluster = Cluster::start(2).await;
    let follower = cluster.follower().await;
    let through = cluster.node(follower).spec().http_addr;
    let id = cluster.prepare();
    cluster.node_mut(id).spec_mut().join = vec![through];
    cluster.node_mut(id).start();
    cluster.ready().await;
    cluster.client(id).put("joined", "x").await;
    cluster.agree().await;
}

#[tokio::test]
async fn nodes_that_join_at_the_same_time_all_become_voters() {
    let mut cluster = Cluster::start(1).await;
    for _ in 0..4 {
        let id = cluster.prepare();
        let founder = cluster.node(1).spec().http_addr;
        cluster.node_mut(id).spec_mut().join = vec![founder];
        cluster.node_mut(id).start();
    }
    until("five voters", GENEROUS, async || {
        let voters = cluster.client(1).stats().await.voters.len();
        check(voters == 5, || format!("{voters}"))
    })
    .await;
    cluster.ready().await;
    cluster.client(5).put("all-here", "x").await;
    cluster.agree().await;
}

#[tokio::test]
async fn nodes_join_while_writes_go_on_and_lose_none() {
    let mut cluster = Cluster::start(1).await;
    let workload = rkv_tests::Workload::start(&cluster, "joining", 2);
    workload.progress(20).await;
    cluster.grow_to(3).await;
    workload.progress(20).await;
    let history = workload.stop().await;
    for id in cluster.ids() {
        history.verify(&cluster.client(id)).await;
    }
}

#[tokio::test]
async fn a_join_list_with_a_dead_address_uses_the_next_one() {
    let mut cluster = Cluster::start(1).await;
    let dead = rkv_tests::Loopback::random().free().expect("a port");
    let id = cluster.prepare();
    cluster.node_mut(id).spec_mut().join.insert(0, dead);
    cluster.node_mut(id).start();
    cluster.ready().await;
}
