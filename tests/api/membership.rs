//! `/nodes/{id}`: requests that are refused, and those that change nothing.

use reqwest::Method;
use rkv_tests::Loopback;

use crate::shared::{Three, three};

async fn assert_unchanged(three: &Three) {
    let mut voters = three.leader().stats().await.voters;
    voters.sort_unstable();
    assert_eq!(voters, [1, 2, 3]);
}

#[tokio::test]
async fn adding_a_member_again_changes_nothing() {
    let three = three().await;
    let [_, member] = three.role_ids();
    let address = three.cluster().node(member).spec().raft_addr;
    for node in three.roles() {
        for path in ["nodes", "node"] {
            let target = format!("/{path}/{member}?addr={address}");
            node.follow(Method::POST, &target, "").await.expect(200);
        }
    }
    assert_unchanged(&three).await;
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_not_added() {
    let three = three().await;
    let nobody = Loopback::random().free().expect("a port");
    for node in three.roles() {
        let target = format!("/nodes/9?addr={nobody}");
        let problem = node.follow(Method::POST, &target, "").await.problem(409);
        assert!(problem.detail.contains(&nobody.to_string()), "{problem:?}");
    }
    assert_unchanged(&three).await;
}

#[tokio::test]
async fn an_address_of_another_node_is_not_added() {
    let three = three().await;
    let [leader, follower] = three.role_ids();
    for id in [leader, follower] {
        let address = three.cluster().node(id).spec().raft_addr;
        let target = format!("/nodes/9?addr={address}");
        three.leader().post(&target, "").await.problem(409);
    }
    assert_unchanged(&three).await;
}

#[tokio::test]
async fn a_member_is_not_removed_under_a_wrong_address() {
    let three = three().await;
    let [leader, follower] = three.role_ids();
    let wrong = three.cluster().node(leader).spec().raft_addr;
    for path in ["nodes", "node", "join"] {
        let target = format!("/{path}/{follower}?addr={wrong}");
        for node in three.roles() {
            node.follow(Method::DELETE, &target, "").await.problem(409);
        }
    }
    assert_unchanged(&three).await;
}

#[tokio::test]
async fn requests_without_a_usable_id_or_address_are_refused() {
    let three = three().await;
    let unusable = [
        "/nodes/9",
        "/nodes/9?addr=",
        "/nodes/nine?addr=127.0.0.1:1",
        "/nodes/-1?addr=127.0.0.1:1",
    ];
    for node in three.roles() {
        for method in [Method::POST, Method::DELETE] {
            for target in unusable {
                node.follow(method.clone(), target, "").await.problem(400);
            }
        }
    }
    assert_unchanged(&three).await;
}

#[tokio::test]
async fn a_node_that_cannot_lead_is_refused_leadership() {
    let three = three().await;
    for node in three.roles() {
        for target in ["/leader", "/leader?id=", "/leader?id=one", "/leader?id=-1"] {
            node.post(target, "").await.problem(400);
        }
        let unknown = node.follow(Method::POST, "/leader?id=99", "").await;
        assert_eq!(unknown.problem(404).code, "no_such_node");
    }
    assert_unchanged(&three).await;
}

#[tokio::test]
async fn an_address_that_cannot_be_dialled_is_a_bad_request() {
    let three = three().await;
    for address in ["no-port", "127.0.0.1:99999", "http://127.0.0.1:1"] {
        let target = format!("/nodes/9?addr={address}");
        three.leader().post(&target, "").await.problem(400);
    }
    assert_unchanged(&three).await;
}
