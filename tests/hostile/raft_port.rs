//! The raft port is for members: others are turned away with a reason, and cost members nothing.

use std::net::IpAddr;
use std::sync::OnceLock;

use rkv_tests::wait::GENEROUS;
use rkv_tests::{Greeted, Loopback, RaftHello, RaftLane, RaftSocket, frame};

use crate::shared::{Three, three};
use crate::well::{goes_on, says};

/// The address of all strangers here: of what a node turns away it logs equal lines once, and not too many.
fn stranger() -> IpAddr {
    static STRANGER: OnceLock<IpAddr> = OnceLock::new();
    *STRANGER.get_or_init(elsewhere)
}

/// An address that no node has.
fn elsewhere() -> IpAddr {
    let mut loopback = Loopback::random();
    loopback.free().expect("a port on this address").ip()
}

/// A greeting that this node takes, from a node that nobody knows. A stranger learns the cluster's name
/// from the refusal: it is a name and no secret.
async fn fitting(three: &Three, node: u64) -> RaftHello {
    let address = three.cluster().node(node).spec().raft_addr;
    let mut socket = RaftSocket::open(stranger(), address).await;
    let hello = RaftHello::to(node);
    match socket.greet(&hello, GENEROUS).await.expect("an answer") {
        Greeted::OtherCluster(cluster) => RaftHello { cluster, ..hello },
        other => panic!("a stranger was answered {other:?}"),
    }
}

/// What is sent to a fresh connection, and what the log says of it.
fn first_words(node: u64, fitting: &RaftHello) -> Vec<(Vec<u8>, String)> {
    let hello = RaftHello::to(node);
    let other_version = RaftHello {
        version: 99,
        ..fitting.clone()
    };
    let other_node = RaftHello {
        to: 99,
        ..fitting.clone()
    };
    // A member's id, and not its data directory.
    let impostor = RaftHello {
        from: u8::try_from(node % 3 + 1).expect("a small id"),
        ..fitting.clone()
    };
    let whole = fitting.frame();
    let words = [
        (hello.frame(), "it belongs to cluster"),
        (
            other_version.frame(),
            "it speaks version 99 of the raft protocol",
        ),
        (other_node.frame(), &format!("it is node {node}")),
        (impostor.frame(), "its data directory is not the one"),
        (frame(&[0xa5; 300]), "not an rkv raft connection"),
        (
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            "bytes where 4096 are the most",
        ),
        (vec![0xff; 4096], "a frame of 4294967295 bytes"),
        (frame(&[0; 4097]), "a frame of 4097 bytes"),
        (frame(&whole[4..whole.len() - 1]), "undecodable message"),
        (
            frame(&[&whole[4..], b"more"].concat()),
            "4 bytes behind the message",
        ),
        (whole[..9].to_vec(), "no handshake within 2s"),
        (Vec::new(), "no handshake within 2s"),
    ];
    let owned = |(bytes, reason): (Vec<u8>, &str)| (bytes, reason.to_owned());
    words.into_iter().map(owned).collect()
}

async fn say_first_words(three: &Three, node: u64) {
    let address = three.cluster().node(node).spec().raft_addr;
    let fitting = fitting(three, node).await;
    for (bytes, reason) in first_words(node, &fitting) {
        let mut socket = RaftSocket::open(stranger(), address).await;
        // A node that closes at once may refuse the rest of what is sent.
        let _ = socket.send(&bytes).await;
        let closed = socket.closed(GENEROUS).await;
        closed.unwrap_or_else(|ended| panic!("{reason}: {ended}"));
        says(three, node, &reason).await;
    }
}

#[tokio::test]
async fn who_does_not_belong_is_turned_away_with_a_logged_reason() {
    let three = three().await;
    let [leader, follower] = three.role_ids();
    tokio::join!(
        say_first_words(&three, leader),
        say_first_words(&three, follower)
    );
    goes_on(&three, "after-strangers").await;
}

#[tokio::test]
async fn a_peer_that_sends_garbage_after_its_handshake_is_cut_off_with_a_logged_reason() {
    // Id and session, the vote of a leader of term 0, and nothing else.
    const EMPTY_APPEND: [u8; 9] = [0, 0, 0, 1, 0, 0, 0, 0, 0];
    let three = three().await;
    let [node, _] = three.role_ids();
    let address = three.cluster().node(node).spec().raft_addr;
    let fitting = fitting(&three, node).await;
    let over = |most: u32| (most + 1).to_be_bytes().to_vec();
    let garbage = frame(&[0xff; 64]);
    for (lane, bytes, reason) in [
        (RaftLane::Control, garbage.clone(), "undecodable message"),
        (RaftLane::Append, garbage.clone(), "undecodable message"),
        (RaftLane::Snapshot, garbage.clone(), "undecodable message"),
        (RaftLane::Control, over(1 << 20), "a frame of 1048577 bytes"),
        (
            RaftLane::Append,
            over(64 << 20),
            "a frame of 67108865 bytes",
        ),
        (
            RaftLane::Snapshot,
            over(2 << 20),
            "a frame of 2097153 bytes",
        ),
        (
            RaftLane::Append,
            [frame(&EMPTY_APPEND), garbage.clone()].concat(),
            "undecodable message",
        ),
    ] {
        let mut socket = RaftSocket::open(stranger(), address).await;
        let hello = RaftHello {
            lane,
            ..fitting.clone()
        };
        let greeted = socket.greet(&hello, GENEROUS).await.expect("an answer");
        assert!(matches!(greeted, Greeted::Welcome(_)), "{greeted:?}");
        socket.send(&bytes).await.expect("sent");
        let closed = socket.closed(GENEROUS).await;
        closed.unwrap_or_else(|ended| panic!("{lane:?}, {reason}: {ended}"));
        says(&three, node, reason).await;
    }
    goes_on(&three, "after-garbage").await;
}

/// 512 connections that never said a word had all the places there were, for five seconds each.
#[tokio::test]
async fn silent_connections_keep_no_peer_out() {
    const SILENT: usize = 600;
    let three = three().await;
    let [node, _] = three.role_ids();
    let address = three.cluster().node(node).spec().raft_addr;
    let hello = fitting(&three, node).await;
    let flooding = elsewhere();
    let mut silent = Vec::new();
    for _ in 0..SILENT {
        silent.push(RaftSocket::open(flooding, address).await);
    }
    for source in [stranger(), flooding] {
        let mut peer = RaftSocket::open(source, address).await;
        let greeted = peer.greet(&hello, GENEROUS).await;
        let greeted = greeted.unwrap_or_else(|ended| panic!("a peer from {source}: {ended}"));
        assert!(matches!(greeted, Greeted::Welcome(_)), "{greeted:?}");
    }
    goes_on(&three, "meanwhile-silence").await;
    for socket in &mut silent {
        socket.closed(GENEROUS).await.expect("silence is given up");
    }
}

#[tokio::test]
async fn unknown_nodes_take_no_place_of_a_member() {
    const MANY: usize = 100;
    let three = three().await;
    // Not the node where other tests are such guests.
    let [member, node] = three.role_ids();
    let address = three.cluster().node(node).spec().raft_addr;
    let hello = fitting(&three, node).await;
    let mut unknown = Vec::new();
    let mut refused = 0;
    for _ in 0..MANY {
        let mut socket = RaftSocket::open(stranger(), address).await;
        match socket.greet(&hello, GENEROUS).await.expect("an answer") {
            Greeted::Welcome(_) => unknown.push(socket),
            Greeted::Refused => refused += 1,
            Greeted::OtherCluster(_) => panic!("it was this cluster"),
        }
    }
    assert!(refused > 0, "{} unknown nodes came in", unknown.len());
    says(&three, node, "hold 64 connections already").await;

    let address_of_member = three.cluster().node(member).spec().raft_addr;
    let to_member = RaftHello {
        to: u8::try_from(member).expect("a small id"),
        ..hello.clone()
    };
    let mut socket = RaftSocket::open(stranger(), address_of_member).await;
    let Ok(Greeted::Welcome(instance)) = socket.greet(&to_member, GENEROUS).await else {
        panic!("the other node has no guests yet");
    };
    let as_member = RaftHello {
        from: to_member.to,
        from_instance: instance,
        ..hello
    };
    let mut socket = RaftSocket::open(stranger(), address).await;
    let greeted = socket.greet(&as_member, GENEROUS).await.expect("an answer");
    assert!(matches!(greeted, Greeted::Welcome(_)), "{greeted:?}");
    goes_on(&three, "meanwhile-unknown").await;
}
