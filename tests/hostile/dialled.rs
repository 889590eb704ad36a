//! Whom a node calls may be as hostile as who calls it: an operator can mistype an address.

use std::net::SocketAddr;

use rkv_tests::{Cluster, Loopback, frame};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::shared::three;
use crate::well::{goes_on, says};

/// Listens, and says the same to everybody who calls, whatever they say. `None`: hangs up at once.
async fn listen(says: Option<Vec<u8>>, listeners: &mut JoinSet<()>) -> SocketAddr {
    let address = Loopback::random().free().expect("a port on this address");
    let listener = TcpListener::bind(address).await.expect("a free port");
    listeners.spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let Some(says) = &says else { continue };
            // Who hangs up hears nothing.
            let _ = stream.write_all(says).await;
            open.push(stream);
        }
    });
    address
}

#[tokio::test]
async fn what_is_no_node_is_not_added_and_costs_nothing() {
    let three = three().await;
    let before = three.leader().stats().await;
    let members = (before.voters, before.learners);
    let mut listeners = JoinSet::new();
    for (what, says) in [
        ("hangs up", None),
        ("says nothing", Some(Vec::new())),
        (
            "speaks HTTP",
            Some(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ),
        ("sends garbage", Some(frame(&[0xa5; 100]))),
        ("claims a huge frame", Some(vec![0xff; 8])),
        ("speaks another version", Some(frame(b"rkvR\x63"))),
        ("is cut off", Some(frame(b"rkvR\x01\0\x09"))),
    ] {
        let address = listen(says, &mut listeners).await;
        let answer = three
            .leader()
            .post(&format!("/nodes/99?addr={address}"), "")
            .await;
        assert!((400..600).contains(&answer.status), "{what}: {answer}");
        let status = answer.status;
        let problem = answer.problem(status);
        assert!(!problem.detail.is_empty(), "{what}: {problem:?}");
    }
    let after = three.leader().stats().await;
    assert_eq!((after.voters, after.learners), members);
    goes_on(&three, "after-dialling").await;
}

#[tokio::test]
async fn a_node_of_another_cluster_is_turned_away_on_both_sides() {
    let three = three().await;
    // The other cluster has a node 1 of its own.
    let node = three.role_ids().into_iter().find(|id| *id != 1);
    let node = node.expect("two different nodes");
    let address = three.cluster().node(node).spec().raft_addr;
    let other = Cluster::start(1).await;
    let path = format!("/nodes/{node}?addr={address}");
    let problem = other.client(1).post(&path, "").await.problem(409);
    assert!(
        problem.detail.contains("it belongs to cluster"),
        "{problem:?}"
    );
    says(&three, node, "it belongs to cluster").await;
    goes_on(&three, "after-another-cluster").await;
    let written = other.client(1);
    written.put("there", "x").await;
    assert_eq!(written.value("there").await.expect("written"), "x");
}
