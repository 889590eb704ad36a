//! Restarts in good order and out of it, without load.

use rkv_tests::Cluster;

async fn fill(cluster: &Cluster, name: &str, count: usize) {
    let node = cluster.client(1);
    for n in 0..count {
        node.put(&format!("{name}-{n}"), format!("value {n}")).await;
    }
}

#[tokio::test]
async fn a_single_node_has_everything_after_a_kill() {
    let mut cluster = Cluster::start(1).await;
    fill(&cluster, "single", 30).await;
    let before = cluster.client(1).keys().await;
    for _ in 0..3 {
        cluster.node_mut(1).kill9();
        cluster.restart(1).await;
        assert_eq!(cluster.client(1).keys().await, before);
    }
    assert_eq!(
        cluster.client(1).value("single-7").await.expect("written"),
        "value 7"
    );
}

#[tokio::test]
async fn each_node_in_turn_restarts_and_gets_what_it_missed() {
    let mut cluster = Cluster::start(3).await;
    fill(&cluster, "all-up", 20).await;
    for id in cluster.ids() {
        cluster.node_mut(id).kill9();
        let leader = cluster.leader().await;
        let key = format!("without-{id}");
        cluster.client(leader).put(&key, "x").await;
        cluster.restart(id).await;
        assert_eq!(
            cluster.client(id).value(&key).await.expect("caught up"),
            "x"
        );
    }
    cluster.agree().await;
}

#[tokio::test]
async fn a_cluster_that_was_stopped_comes_back_with_its_members_and_keys() {
    let mut cluster = Cluster::start(3).await;
    fill(&cluster, "stopped", 20).await;
    let (leader, before) = (cluster.leader().await, cluster.client(1).keys().await);
    let mut servers = cluster.client(leader).servers().await;
    for id in cluster.ids() {
        cluster.node_mut(id).kill9();
    }
    for id in cluster.ids() {
        cluster.node_mut(id).start();
    }
    cluster.ready().await;
    for id in cluster.ids() {
        assert_eq!(cluster.client(id).keys().await, before);
    }
    let mut again = cluster.client(1).servers().await;
    for list in [&mut servers, &mut again] {
        list.sort_by_key(|server| server.id);
        // Whoever leads is fine.
        list.iter_mut().for_each(|server| server.leader = false);
    }
    assert_eq!(again, servers);
}

#[tokio::test]
async fn a_member_that_is_started_without_its_join_flag_just_starts() {
    let mut cluster = Cluster::start(3).await;
    cluster.client(1).put("member", "x").await;
    cluster.node_mut(3).kill9();
    cluster.node_mut(3).spec_mut().join.clear();
    cluster.restart(3).await;
    assert_eq!(
        cluster.client(3).value("member").await.expect("replicated"),
        "x"
    );
}

#[tokio::test]
async fn terms_and_indexes_never_go_back() {
    let mut cluster = Cluster::start(1).await;
    fill(&cluster, "forward", 10).await;
    let before = cluster.client(1).stats().await;
    cluster.node_mut(1).kill9();
    cluster.restart(1).await;
    let after = cluster.client(1).stats().await;
    assert!(after.term >= before.term, "{before:?} {after:?}");
    assert!(
        after.last_log_index >= before.last_log_index,
        "{before:?} {after:?}"
    );
    assert!(
        after.applied_index >= before.applied_index,
        "{before:?} {after:?}"
    );
}
