//! Requests that cost much, many at once.

use rkv_tests::wait::{self, GENEROUS, check};
use rkv_tests::{Answer, Cluster, Connection};
use serde_json::Value;

/// Sends one request on each of many connections, and then reads what they are answered.
async fn all_at_once(cluster: &Cluster, id: u64, count: usize, target: &str) -> Vec<Answer> {
    let address = cluster.node(id).spec().http_addr;
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(Connection::open(address).await);
    }
    let request = format!("{target} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\n\r\n");
    for connection in &mut connections {
        connection.send(request.as_bytes()).await.expect("sent");
    }
    let mut answers = Vec::new();
    for connection in &mut connections {
        answers.push(connection.answer(GENEROUS).await.expect("an answer"));
    }
    answers
}

/// How many were answered 429. The others were served.
fn turned_away(answers: Vec<Answer>) -> usize {
    let mut refused = 0;
    for answer in answers {
        if answer.status != 200 {
            answer.problem(429);
            refused += 1;
        }
    }
    refused
}

/// Each of them takes a connection to each peer. As many as came at once filled all that a peer keeps,
/// and heartbeats had none.
#[tokio::test]
async fn figures_of_the_cluster_leave_room_for_heartbeats() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let silent = cluster.follower().await;
    // So that it is waited for, and all are under way together.
    cluster.node(silent).pause();
    let answers = all_at_once(&cluster, leader, 200, "GET /stats?scope=cluster").await;
    let refused = turned_away(answers);
    assert!(refused > 0, "200 at once were served");
    cluster.client(leader).put("meanwhile", "x").await;
    cluster.node(silent).resume();
    cluster.ready().await;
    for id in cluster.ids() {
        let log = cluster.node(id).log();
        assert!(!log.contains("connections already"), "{log}");
    }
}

/// Fills the store with some mebibytes, which take a moment to copy.
async fn fill(cluster: &Cluster, mebibytes: usize, byte: u8) {
    for number in 0..mebibytes {
        let value = vec![byte; 1 << 20];
        cluster
            .client(1)
            .put(&format!("large-{number}"), value)
            .await;
    }
}

async fn active_module(cluster: &Cluster) -> String {
    let overview = cluster.client(1).get("/fsm").await.expect(200);
    let overview: Value = overview.json();
    let module = overview["active"]["module"].as_str();
    module.expect("a module is active").to_owned()
}

#[tokio::test]
async fn one_dry_run_at_a_time_holds_a_copy_of_the_state() {
    let cluster = Cluster::start(1).await;
    fill(&cluster, 8, b'a').await;
    let target = format!(
        "POST /fsm/modules/{}/dry-run",
        active_module(&cluster).await
    );
    let answers = all_at_once(&cluster, 1, 20, &target).await;
    let count = answers.len();
    let refused = turned_away(answers);
    assert!(
        (1..count).contains(&refused),
        "{refused} of {count} were refused"
    );
}

/// The copy of the state belonged to the request, and nobody gave it back when that was dropped.
#[tokio::test]
async fn clients_that_hang_up_leave_no_copy_of_the_state_behind() {
    const ROUNDS: u8 = 30;
    const MEBIBYTES: usize = 4;
    let cluster = Cluster::start(1).await;
    fill(&cluster, MEBIBYTES, 0).await;
    let module = active_module(&cluster).await;
    let address = cluster.node(1).spec().http_addr;
    let request = format!(
        "POST /fsm/modules/{module}/dry-run HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\n\r\n"
    );
    for round in 1..=ROUNDS {
        let mut connection = Connection::open(address).await;
        connection.send(request.as_bytes()).await.expect("sent");
        // Once this is answered, the dry run is likely to be under way.
        cluster.client(1).get("/health").await.expect(200);
        drop(connection);
        fill(&cluster, MEBIBYTES, round).await;
    }
    let memory = cluster.client(1).stats().await.fsm.memory_bytes;
    println!("{} MiB of memory after {ROUNDS} rounds", memory >> 20);
    assert!(memory < 64 << 20, "the module has {memory} bytes");
}

/// A client that asks and does not read had its answers kept for it as long as it liked.
#[tokio::test]
async fn who_does_not_read_is_given_up() {
    const ASKED: usize = 64;
    let cluster = Cluster::start_with(1, &["--body-timeout-ms", "1500"]).await;
    cluster.client(1).put("large", vec![7; 1 << 20]).await;
    let node = cluster.node(1);
    let address = node.spec().http_addr;
    let before = node.open_files();
    let mut deaf = Vec::new();
    let requests = format!("GET /keys/large HTTP/1.1\r\nhost: {address}\r\n\r\n").repeat(ASKED);
    for _ in 0..20 {
        let mut connection = Connection::open(address).await;
        connection.send(requests.as_bytes()).await.expect("sent");
        deaf.push(connection);
    }
    cluster.client(1).put("meanwhile", "x").await;
    wait::until("the connections are closed", GENEROUS, async || {
        let open = node.open_files();
        check(open <= before + 2, || {
            format!("{open} files, {before} before")
        })
    })
    .await;
    drop(deaf);
}
