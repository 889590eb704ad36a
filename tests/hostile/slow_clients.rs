//! Clients that send byte by byte, or without an end.

use std::time::Duration;

use rkv_tests::wait::GENEROUS;
use rkv_tests::{Answer, Cluster, Connection, Ended};
use tokio::task::JoinSet;

/// How long the nodes of these tests wait for a head or a body.
const PATIENCE: [&str; 4] = ["--head-timeout-ms", "2000", "--body-timeout-ms", "2000"];

/// How long a slow client waits before its next byte.
const DRIP: Duration = Duration::from_millis(50);

const SLOW_CLIENTS: usize = 50;

/// What the node may grow by while bodies without an end arrive: what its allocator keeps, and no body.
const GROWTH_BYTES: u64 = 64 << 20;

/// Far below what an unbounded reader would take. Above what the daemon reads and throws away so
/// that its answer arrives, and what the buffers of both sides hold.
const MUCH: usize = 256 << 20;

/// Sends `bytes` one by one, again and again, until the node has enough.
async fn drip(connection: &mut Connection, bytes: &[u8]) -> Option<Answer> {
    for byte in bytes.iter().cycle() {
        if connection.send(&[*byte]).await.is_err() {
            break;
        }
        match connection.answer(DRIP).await {
            Ok(answer) => return Some(answer),
            Err(Ended::Closed) => return None,
            Err(Ended::StillOpen) => {}
        }
    }
    connection.answered()
}

/// Starts slow clients that send `first` at once, runs `meanwhile`, and returns what they were answered.
async fn beside_slow_clients(
    cluster: &Cluster,
    first: &'static str,
    then: &'static [u8],
) -> Vec<Option<Answer>> {
    let address = cluster.node(1).spec().http_addr;
    let mut clients = JoinSet::new();
    for _ in 0..SLOW_CLIENTS {
        let mut connection = Connection::open(address).await;
        connection.send(first.as_bytes()).await.expect("sent");
        clients.spawn(async move {
            let dripping = drip(&mut connection, then);
            let given_up = tokio::time::timeout(GENEROUS, dripping).await;
            given_up.expect("a slow client is given up")
        });
    }
    for round in 0..20 {
        let value = format!("{round}");
        cluster.client(1).put("meanwhile", value.clone()).await;
        let read = cluster.client(1).value("meanwhile").await;
        assert_eq!(read.expect("written"), value);
    }
    clients.join_all().await
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_given_up_and_delays_nobody() {
    let cluster = Cluster::start_with(1, &PATIENCE).await;
    let head = "GET /health HTTP/1.1\r\nhost: slow\r\nx-slow: ";
    for answer in beside_slow_clients(&cluster, head, b"slow").await {
        let told = answer.is_none_or(|answer| (400..500).contains(&answer.status));
        assert!(told, "half a head was answered");
    }
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_is_given_up_and_delays_nobody() {
    let cluster = Cluster::start_with(1, &PATIENCE).await;
    let head = "POST /keys/slow HTTP/1.1\r\nhost: slow\r\ncontent-length: 100000\r\n\r\n";
    for answer in beside_slow_clients(&cluster, head, b"slow").await {
        let problem = answer.expect("an answer").problem(408);
        assert_eq!(
            (problem.code.as_str(), problem.retryable),
            ("slow_body", true)
        );
        assert_eq!(problem.outcome.as_deref(), Some("not_applied"));
    }
    assert_eq!(cluster.client(1).value("slow").await, None);
}

#[tokio::test]
async fn a_body_that_stops_half_way_is_given_up() {
    let cluster = Cluster::start_with(1, &PATIENCE).await;
    let address = cluster.node(1).spec().http_addr;
    let mut connection = Connection::open(address).await;
    let head =
        format!("POST /keys/half HTTP/1.1\r\nhost: {address}\r\ncontent-length: 9\r\n\r\nhalf");
    connection.send(head.as_bytes()).await.expect("sent");
    let answer = connection.answer(GENEROUS).await.expect("an answer");
    answer.problem(408);
    assert_eq!(cluster.client(1).value("half").await, None);
}

#[tokio::test]
async fn a_connection_that_is_silent_between_requests_is_closed() {
    let cluster = Cluster::start_with(1, &PATIENCE).await;
    let address = cluster.node(1).spec().http_addr;
    let mut connection = Connection::open(address).await;
    let request = format!("GET /health HTTP/1.1\r\nhost: {address}\r\n\r\n");
    connection.send(request.as_bytes()).await.expect("sent");
    let answer = connection.answer(GENEROUS).await.expect("an answer");
    answer.expect(200);
    let ended = connection.answer(GENEROUS).await.expect_err("no request");
    assert!(matches!(ended, Ended::Closed), "{ended}");
}

/// Sends chunks until the node answers or takes no more; returns its answer.
async fn send_without_end(mut connection: Connection) -> Option<Answer> {
    let chunk = [
        format!("{:x}\r\n", 1 << 16).as_bytes(),
        &[b'x'; 1 << 16],
        b"\r\n",
    ]
    .concat();
    let mut sent = 0;
    loop {
        if let Some(answer) = connection.answered() {
            return Some(answer);
        }
        if connection.send(&chunk).await.is_err() {
            return connection.answered();
        }
        sent += chunk.len();
        assert!(sent < MUCH, "the node took {sent} bytes of a small body");
    }
}

#[tokio::test]
async fn bodies_without_an_end_are_too_large_and_take_no_memory() {
    let cluster = Cluster::start(1).await;
    let node = cluster.node(1);
    let address = node.spec().http_addr;
    let before = node.resident_bytes();
    let mut clients = JoinSet::new();
    for path in ["/keys/endless", "/keys", "/fsm/apply", "/fsm/query"] {
        let mut connection = Connection::open(address).await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        connection.send(head.as_bytes()).await.expect("sent");
        clients.spawn(send_without_end(connection));
    }
    // A reset may overtake the answer; when it arrives, it is the right one.
    for answer in clients.join_all().await.into_iter().flatten() {
        answer.problem(413);
    }
    let grown = node.resident_bytes().saturating_sub(before);
    println!("grown by {} KiB", grown >> 10);
    assert!(grown < GROWTH_BYTES, "it grew by {grown} bytes");
    assert_eq!(cluster.client(1).value("endless").await, None);
}
