//! Nodes that are removed, and ids that are retired.

use reqwest::Method;
use rkv_tests::wait::{GENEROUS, check, until};
use rkv_tests::{Client, Cluster};

fn target(cluster: &Cluster, route: &str, id: u64) -> String {
    format!("/{route}/{id}?addr={}", cluster.node(id).spec().raft_addr)
}

async fn remove(cluster: &Cluster, through: &Client, id: u64) {
    through
        .follow(Method::DELETE, &target(cluster, "nodes", id), "")
        .await
        .expect(200);
}

async fn assert_members(node: &Client, expected: &[u64]) {
    until(
        &format!("the members are {expected:?}"),
        GENEROUS,
        async || {
            let mut ids: Vec<_> = node
                .servers()
                .await
                .iter()
                .map(|server| server.id)
                .collect();
            ids.sort_unstable();
            check(ids == expected, || format!("{ids:?}"))
        },
    )
    .await;
}

#[tokio::test]
async fn a_removed_follower_is_no_member_and_the_others_go_on() {
    for route in ["nodes", "node", "join"] {
        let mut cluster = Cluster::start(3).await;
        let gone = cluster.follower().await;
        let leader = cluster.leader().await;
        let path = target(&cluster, route, gone);
        cluster.client(leader).delete(&path).await.expect(200);
        cluster.forget(gone);
        for id in cluster.ids() {
            let rest = cluster.ids();
            assert_members(&cluster.client(id), &rest).await;
            cluster.client(id).put("after-removal", "x").await;
        }
        cluster.agree().await;
    }
}

#[tokio::test]
async fn a_removed_leader_is_succeeded() {
    let mut cluster = Cluster::start(3).await;
    let old = cluster.leader().await;
    cluster.client(old).put("before", "x").await;
    remove(&cluster, &cluster.client(old), old).await;
    cluster.forget(old);
    let new = cluster.leader().await;
    let rest = cluster.ids();
    assert_members(&cluster.client(new), &rest).await;
    cluster.client(new).put("after", "x").await;
    assert_eq!(cluster.client(new).keys().await, ["after", "before"]);
}

#[tokio::test]
async fn a_dead_node_can_be_removed_and_the_quorum_shrinks() {
    let mut cluster = Cluster::start(3).await;
    let dead = cluster.follower().await;
    cluster.node_mut(dead).kill9();
    let leader = cluster.leader().await;
    remove(&cluster, &cluster.client(leader), dead).await;
    cluster.forget(dead);
    // Of two, both must agree: with the third still counted, one more death would be bearable.
    let other = cluster.follower().await;
    remove(&cluster, &cluster.client(leader), other).await;
    cluster.forget(other);
    cluster.client(leader).put("alone-again", "x").await;
    assert_eq!(cluster.client(leader).stats().await.voters, [leader]);
}

#[tokio::test]
async fn the_last_voter_is_not_removed() {
    let cluster = Cluster::start(1).await;
    let path = target(&cluster, "nodes", 1);
    cluster.client(1).delete(&path).await.problem(409);
    cluster.client(1).put("still-here", "x").await;
}

#[tokio::test]
async fn a_retired_id_does_not_come_back_and_a_new_one_does() {
    let mut cluster = Cluster::start(3).await;
    let retired = cluster.follower().await;
    let leader = cluster.leader().await;
    remove(&cluster, &cluster.client(leader), retired).await;
    cluster.node_mut(retired).kill9();

    std::fs::remove_dir_all(cluster.data_dir(retired)).expect("the data directory is there");
    let members = cluster.ids().into_iter().filter(|&id| id != retired);
    let members: Vec<_> = members
        .map(|id| cluster.node(id).spec().http_addr)
        .collect();
    cluster.node_mut(retired).spec_mut().join = members.clone();
    cluster.node_mut(retired).start();
    let exit = cluster.node_mut(retired).exit(GENEROUS).await;
    let line = exit.refusal();
    assert!(
        line.contains(&retired.to_string()),
        "the line names the id: {line}"
    );
    assert!(
        line.contains("new --id"),
        "the line names the remedy: {line}"
    );

    let fresh = cluster.prepare();
    cluster.node_mut(fresh).spec_mut().join = members;
    cluster.forget(retired);
    cluster.node_mut(fresh).start();
    cluster.ready().await;
    cluster.agree().await;
}
