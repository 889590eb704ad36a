//! Open files: a node takes what it may have, and HTTP takes none that the rest needs.

use std::process::Command;
use std::time::Instant;

use rkv_tests::wait::{self, GENEROUS, check};
use rkv_tests::{Cluster, Connection, Process};

/// What the shell allows the node: it starts with fewer than it needs to start at all.
const SOFT: u32 = 40;
const HARD: u32 = 300;

/// HTTP connections that are served at once with so few: half.
const SERVED: usize = 150;

/// More than are served at once, and than there are descriptors for beside those in use.
const SLOW: usize = 400;

/// Those that had begun a head and did not end it had all places for a minute.
#[tokio::test]
async fn a_node_raises_its_limit_and_keeps_descriptors_for_itself() {
    let mut cluster = Cluster::empty(&[]);
    let id = cluster.prepare();
    let spec = cluster.node(id).spec().clone();
    let daemon = spec.command();
    let mut command = Command::new("sh");
    let limited = format!("ulimit -Sn {SOFT} && ulimit -Hn {HARD} && exec \"$0\" \"$@\"");
    command.arg("-c").arg(limited);
    command.arg(daemon.get_program()).args(daemon.get_args());
    let log = cluster.folder().join("limited.log");
    let process = Process::spawn(command, &log).expect("a shell");
    wait::until("the node serves", GENEROUS, async || {
        let log = process.log();
        check(log.contains("\"ready\""), || log.clone())
    })
    .await;
    let warning = format!("so {SERVED} HTTP connections are served at once");
    assert!(process.log().contains(&warning), "{}", process.log());

    let client = cluster.client(id);
    client.put("before", "x").await;
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut connection = Connection::open(spec.http_addr).await;
        // Who had to make room may be closed before it has sent anything.
        let _ = connection.send(b"GET /health HTTP/1.1\r\nhost: slo").await;
        slow.push(connection);
    }
    let before = Instant::now();
    client.put("meanwhile", "x").await;
    assert_eq!(client.value("meanwhile").await.expect("written"), "x");
    println!(
        "served beside {SLOW} slow clients after {:?}",
        before.elapsed()
    );
    drop(slow);
    client.put("after", "x").await;
    let log = process.log();
    for symptom in ["cannot accept", "panicked", "Too many open files"] {
        assert!(!log.contains(symptom), "{log}");
    }
}
