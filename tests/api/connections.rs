//! Clients that are slow, endless or confused cost nobody else anything.

use std::time::Duration;

use rkv_tests::wait::GENEROUS;
use rkv_tests::{Cluster, Connection, Ended};

use crate::shared::three;

/// Far below what an unbounded reader would take. Above what the daemon reads and throws away so
/// that its answer arrives, and what the buffers of both sides hold.
const MUCH: usize = 256 << 20;

#[tokio::test]
async fn a_body_that_announces_too_much_is_refused_before_it_is_sent() {
    let three = three().await;
    for id in three.role_ids() {
        let address = three.cluster().node(id).spec().http_addr;
        let mut connection = Connection::open(address).await;
        let head = format!(
            "POST /keys/announced HTTP/1.1\r\nhost: {address}\r\ncontent-length: 1000000000\r\n\r\n"
        );
        connection.send(head.as_bytes()).await.expect("sent");
        let answer = connection
            .answer(GENEROUS)
            .await
            .expect("an answer without the body");
        // A follower may as well point at the leader without looking at the body.
        if answer.status != 307 {
            answer.problem(413);
        }
    }
    assert_eq!(three.leader().value("announced").await, None);
}

#[tokio::test]
async fn a_body_without_an_end_is_cut_off() {
    let three = three().await;
    let [leader, _] = three.role_ids();
    let address = three.cluster().node(leader).spec().http_addr;
    let mut connection = Connection::open(address).await;
    let head = format!(
        "POST /keys/endless HTTP/1.1\r\nhost: {address}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    connection.send(head.as_bytes()).await.expect("sent");
    let chunk = [
        format!("{:x}\r\n", 1 << 16).as_bytes(),
        &[b'x'; 1 << 16],
        b"\r\n",
    ]
    .concat();
    let mut sent = 0;
    let answer = loop {
        if let Some(answer) = connection.answered() {
            break Some(answer);
        }
        match connection.send(&chunk).await {
            Ok(()) => sent += chunk.len(),
            Err(_) => break connection.answered(),
        }
        assert!(
            sent < MUCH,
            "the node took {sent} bytes of a value of at most 1 MiB"
        );
    };
    // A reset may overtake the answer; when it arrives, it is the right one.
    if let Some(answer) = answer {
        answer.problem(413);
    }
    assert_eq!(three.leader().value("endless").await, None);
}

#[tokio::test]
async fn a_body_that_stops_half_way_is_given_up() {
    let mut cluster = Cluster::start(1).await;
    let leader = cluster.leader().await;
    let address = cluster.node(leader).spec().http_addr;
    let mut connection = Connection::open(address).await;
    let head =
        format!("POST /keys/half HTTP/1.1\r\nhost: {address}\r\ncontent-length: 9\r\n\r\nhalf");
    connection.send(head.as_bytes()).await.expect("sent");
    match connection.answer(GENEROUS).await {
        Ok(answer) => {
            assert!((400..600).contains(&answer.status), "{answer}");
            answer.problem(answer.status);
        }
        Err(Ended::Closed) => {}
        Err(Ended::StillOpen) => panic!("a body that does not come is waited for without end"),
    }
    assert_eq!(cluster.client(leader).value("half").await, None);
}

#[tokio::test]
async fn a_slow_header_is_given_up_and_delays_nobody() {
    let cluster = Cluster::start(1).await;
    let address = cluster.node(1).spec().http_addr;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut connection = Connection::open(address).await;
        connection
            .send(b"GET /health HTTP/1.1\r\nhost: slo")
            .await
            .expect("sent");
        slow.push(connection);
    }
    cluster.client(1).put("meanwhile", "x").await;
    assert_eq!(
        cluster.client(1).value("meanwhile").await.expect("written"),
        "x"
    );
    for connection in &mut slow {
        match connection.answer(Duration::from_secs(90)).await {
            Ok(answer) => assert!((400..500).contains(&answer.status), "{answer}"),
            Err(Ended::Closed) => {}
            Err(Ended::StillOpen) => panic!("half a header is waited for without end"),
        }
    }
}

#[tokio::test]
async fn what_is_not_http_is_closed_and_delays_nobody() {
    let three = three().await;
    let [leader, _] = three.role_ids();
    let spec = three.cluster().node(leader).spec();
    for address in [spec.http_addr, spec.raft_addr] {
        for noise in [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
            b"\r\n\r\n\0\0",
            &[0xff; 4096],
        ] {
            let mut connection = Connection::open(address).await;
            // A node that closes at once may refuse the rest of what is sent.
            let _ = connection.send(noise).await;
        }
    }
    three.leader().put("after-noise", "x").await;
    assert_eq!(
        three
            .follower()
            .value("after-noise")
            .await
            .expect("written"),
        "x"
    );
}

#[tokio::test]
async fn requests_follow_one_another_on_one_connection() {
    let three = three().await;
    let [leader, _] = three.role_ids();
    let address = three.cluster().node(leader).spec().http_addr;
    let mut connection = Connection::open(address).await;
    let request = format!("GET /health HTTP/1.1\r\nhost: {address}\r\n\r\n");
    for _ in 0..3 {
        connection.send(request.as_bytes()).await.expect("sent");
        connection
            .answer(GENEROUS)
            .await
            .expect("an answer")
            .expect(200);
    }
}
