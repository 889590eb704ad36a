//! Very many connections at once.

use std::time::Duration;

use rkv_tests::wait::GENEROUS;
use rkv_tests::{Cluster, Connection, raise_open_files};

const IDLE: usize = 10_000;

/// What the tests themselves, the node, and whatever runs beside this one need of the open files.
const OTHERS: usize = 3_000;

/// As many as fit. A node keeps up to half of its open files for other things than HTTP.
fn that_fit(open_files: usize) -> usize {
    let left = open_files.saturating_sub(OTHERS).max(open_files / 4);
    IDLE.min(left)
}

/// Memory of an idle connection. It is about 10 KiB; allocators round up.
const IDLE_BYTES: u64 = 24 << 10;

#[tokio::test]
async fn ten_thousand_idle_connections_keep_no_client_out() {
    let open_files = raise_open_files();
    let count = that_fit(open_files);
    let cluster = Cluster::start(1).await;
    let node = cluster.node(1);
    let address = node.spec().http_addr;
    cluster.client(1).put("before", "x").await;
    let before = node.resident_bytes();
    let request = format!("GET /health HTTP/1.1\r\nhost: {address}\r\n\r\n");
    let mut idle = Vec::with_capacity(count);
    for number in 0..count {
        let mut connection = Connection::open(address).await;
        // Some say nothing at all, the others nothing after their first request.
        if number % 2 == 0 {
            connection.send(request.as_bytes()).await.expect("sent");
            let answer = connection.answer(GENEROUS).await.expect("an answer");
            answer.expect(200);
        }
        idle.push(connection);
    }
    let grown = node.resident_bytes().saturating_sub(before);
    println!(
        "{count} idle connections of {IDLE} (open files: {open_files}): {} KiB each",
        (grown >> 10) / count as u64
    );
    assert!(
        grown < count as u64 * IDLE_BYTES,
        "it grew by {grown} bytes"
    );

    let client = cluster.client(1);
    for round in 0..100 {
        let value = round.to_string();
        client.put("meanwhile", value.clone()).await;
        assert_eq!(client.value("meanwhile").await.expect("written"), value);
    }
    // They were served in between, not turned away: the last one still is.
    let last = idle.last_mut().expect("a connection");
    last.send(request.as_bytes()).await.expect("sent");
    let answer = last.answer(GENEROUS).await.expect("an answer");
    answer.expect(200);
}

/// A length that is announced and never sent reserved that much memory each time.
#[tokio::test]
async fn announced_bodies_take_no_memory() {
    const ANNOUNCED: usize = 500;
    const GROWTH_BYTES: u64 = 64 << 20;
    let cluster = Cluster::start_with(1, &["--body-timeout-ms", "1500"]).await;
    let node = cluster.node(1);
    let address = node.spec().http_addr;
    let (before, virtual_before) = (node.resident_bytes(), node.virtual_bytes());
    let head = format!(
        "POST /fsm/modules HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n\0asm",
        32 << 20
    );
    let mut connections = Vec::new();
    for _ in 0..ANNOUNCED {
        let mut connection = Connection::open(address).await;
        connection.send(head.as_bytes()).await.expect("sent");
        connections.push(connection);
    }
    // The handlers have them by now, or are about to: the node has answered others since.
    cluster.client(1).put("meanwhile", "x").await;
    let grown = node.resident_bytes().saturating_sub(before);
    let promised = node.virtual_bytes().saturating_sub(virtual_before);
    println!(
        "{} KiB resident, {} KiB promised",
        grown >> 10,
        promised >> 10
    );
    assert!(grown < GROWTH_BYTES, "it grew by {grown} bytes");
    assert!(promised < 1 << 30, "it reserved {promised} bytes");
    for connection in &mut connections {
        let answer = connection.answer(Duration::from_secs(60)).await;
        answer.expect("an answer").problem(408);
    }
}
