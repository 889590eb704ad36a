//! `/health`, `/state`, `/servers` and `/stats`.

use rkv_tests::wait::{GENEROUS, check, until};

use crate::shared::three;

#[tokio::test]
async fn health_says_health() {
    let three = three().await;
    for node in three.roles() {
        assert_eq!(node.get("/health").await.expect(200).text(), "health");
    }
}

#[tokio::test]
async fn state_is_the_role_as_plain_text() {
    let three = three().await;
    for (node, role) in three.roles().into_iter().zip(["Leader", "Follower"]) {
        let answer = node.get("/state").await.expect(200);
        assert_eq!(answer.text(), role);
        assert!(
            answer.header("content-type").starts_with("text/plain"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn servers_lists_every_node_with_both_addresses() {
    let three = three().await;
    let [leader, _] = three.role_ids();
    for node in three.roles() {
        let mut servers = node.servers().await;
        servers.sort_by_key(|server| server.id);
        assert_eq!(servers.len(), 3, "{servers:?}");
        for server in servers {
            let spec = three.cluster().node(server.id).spec();
            assert_eq!(server.addr, spec.raft_addr.to_string());
            assert_eq!(server.http_addr, spec.http_addr.to_string());
            assert_eq!(server.role, "voter");
            assert_eq!(server.leader, server.id == leader);
        }
    }
}

#[tokio::test]
async fn stats_are_this_nodes_figures() {
    let three = three().await;
    three.leader().put("stats", "x").await;
    let [leader, _] = three.role_ids();
    for ((node, id), state) in three
        .roles()
        .iter()
        .zip(three.role_ids())
        .zip(["Leader", "Follower"])
    {
        let stats = node.stats().await;
        assert_eq!(
            (stats.id, stats.state.as_str(), stats.leader),
            (id, state, Some(leader))
        );
        assert!(stats.term >= 1, "{stats:?}");
        assert!(stats.applied_index <= stats.committed_index, "{stats:?}");
        assert!(stats.committed_index <= stats.last_log_index, "{stats:?}");
        let mut voters = stats.voters;
        voters.sort_unstable();
        assert_eq!((voters, stats.learners), (vec![1, 2, 3], vec![]));
    }
}

#[tokio::test]
async fn the_applied_index_reaches_every_write() {
    let three = three().await;
    let before = three.leader().stats().await.applied_index;
    three.leader().put("applied", "x").await;
    for node in three.roles() {
        until("the write is applied", GENEROUS, async || {
            let applied = node.stats().await.applied_index;
            check(applied > before, || {
                format!("{applied:?}, {before:?} before the write")
            })
        })
        .await;
    }
}

#[tokio::test]
async fn cluster_stats_hold_those_of_every_node() {
    let three = three().await;
    for node in three.roles() {
        let mut nodes = node.cluster_stats().await.nodes;
        nodes.sort_by_key(|node| node.id);
        assert_eq!(
            nodes.iter().map(|node| node.id).collect::<Vec<_>>(),
            [1, 2, 3]
        );
        for node in nodes {
            assert!(node.reachable, "{node:?}");
            assert_eq!(node.stats.map(|stats| stats.id), Some(node.id));
        }
    }
}
