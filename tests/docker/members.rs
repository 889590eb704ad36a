//! Containers that are confined, join, and leave.

use reqwest::Method;

use crate::containers::Containers;
use crate::engine::assert_confined;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_needs_no_root_no_capability_and_no_file_system_but_its_volume() {
    let Some(cluster) = Containers::start(1).await else {
        return;
    };
    assert_confined(&cluster.host(1));
    cluster.client(1).put("kept", "x").await;
    assert_eq!(cluster.stop(1), 0);
    cluster.start_again(1);
    cluster.ready().await;
    let kept = cluster.client(1).value("kept").await;
    assert_eq!(kept.expect("written before"), "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fourth_container_joins_through_a_follower_by_name_and_the_first_one_leaves() {
    let Some(mut cluster) = Containers::start(3).await else {
        return;
    };
    let leader = cluster.leader(&cluster.ids()).await;
    let follower = cluster.others(leader)[0];
    let sent_on = cluster
        .client(follower)
        .post("/keys/before?val=x", "")
        .await;
    let expected = format!("http://{}/keys/before?val=x", cluster.http_addr(leader));
    assert_eq!(sent_on.expect(307).location(), expected);
    cluster.client(follower).put("before", "x").await;

    cluster.add(4, &[follower]);
    cluster.ready().await;
    let seen = cluster.client(4).value("before").await;
    assert_eq!(seen.expect("written before"), "x");

    let path = format!("/nodes/1?addr={}", cluster.raft_addr(1));
    let removed = cluster.client(4).follow(Method::DELETE, &path, "").await;
    removed.expect(200);
    cluster.forget(1);
    cluster.ready().await;
    for id in cluster.ids() {
        cluster.client(id).put(&format!("after-{id}"), "x").await;
    }
}
