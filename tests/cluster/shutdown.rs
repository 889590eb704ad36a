//! SIGTERM: hand over, finish, exit 0.

use std::time::Instant;

use rkv_tests::wait::GENEROUS;
use rkv_tests::{Cluster, StreamEnd, Workload};

async fn terminate(cluster: &mut Cluster, id: u64) {
    cluster.node_mut(id).terminate();
    let exit = cluster.node_mut(id).exit(GENEROUS).await;
    assert_eq!(
        exit.status.code(),
        Some(0),
        "node {id}: {}\n{}",
        exit.status,
        exit.log
    );
    assert!(
        !exit.log.contains("panicked at"),
        "node {id}:\n{}",
        exit.log
    );
}

#[tokio::test]
async fn every_node_of_a_cluster_exits_0_one_after_the_other() {
    let mut cluster = Cluster::start(3).await;
    cluster.client(1).put("stopped", "x").await;
    for id in cluster.ids() {
        terminate(&mut cluster, id).await;
    }
    for id in cluster.ids() {
        cluster.node_mut(id).start();
    }
    cluster.ready().await;
    assert_eq!(cluster.client(3).value("stopped").await.expect("kept"), "x");
}

#[tokio::test]
async fn a_leader_that_stops_hands_over() {
    let mut cluster = Cluster::start(3).await;
    let old = cluster.leader().await;
    cluster.client(old).put("before", "x").await;
    let rest: Vec<_> = cluster.ids().into_iter().filter(|&id| id != old).collect();
    terminate(&mut cluster, old).await;
    let gone = Instant::now();
    let new = cluster.leader().await;
    cluster.client(new).put("after", "x").await;
    eprintln!(
        "the first write after the leader's exit took {:?}",
        gone.elapsed()
    );
    assert!(rest.contains(&new));
    assert_eq!(cluster.client(new).keys().await, ["after", "before"]);
}

#[tokio::test]
async fn a_rolling_restart_under_load_loses_no_acknowledged_write() {
    let mut cluster = Cluster::start(3).await;
    let workload = Workload::start(&cluster, "rolling", 4);
    for id in cluster.ids() {
        workload.progress(50).await;
        terminate(&mut cluster, id).await;
        workload.progress(20).await;
        cluster.restart(id).await;
    }
    let history = workload.stop().await;
    history.verify_everywhere(&mut cluster).await;
}

#[tokio::test]
async fn a_node_without_a_quorum_still_stops() {
    let mut cluster = Cluster::start(3).await;
    let last = cluster.leader().await;
    for id in cluster.ids() {
        if id != last {
            cluster.node_mut(id).kill9();
        }
    }
    terminate(&mut cluster, last).await;
}

#[tokio::test]
async fn clients_that_listen_to_events_do_not_hold_up_the_exit() {
    let mut cluster = Cluster::start(1).await;
    let client = cluster.client(1);
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = client.listen("/fsm/events", None).await.expect("served");
        stream.next_block().await.expect("an id to go on from");
        streams.push(stream);
    }
    cluster.node_mut(1).terminate();
    let exit = cluster.node_mut(1).exit(GENEROUS).await;
    assert_eq!(exit.status.code(), Some(0), "{}", exit.log);
    // What the node says when it has waited for the whole time that it gives to requests.
    assert!(!exit.log.contains("still under way"), "{}", exit.log);
    for stream in streams {
        assert_eq!(stream.end().await, StreamEnd::Complete);
    }
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_exit() {
    let mut cluster = Cluster::start(1).await;
    let address = cluster.node(1).spec().http_addr;
    let mut idle = rkv_tests::Connection::open(address).await;
    idle.send(b"GET /health HTTP/1.1\r\nhost: idle\r\n\r\n")
        .await
        .expect("sent");
    idle.answer(GENEROUS).await.expect("an answer").expect(200);
    let mut half = rkv_tests::Connection::open(address).await;
    half.send(b"POST /keys/half HTTP/1.1\r\nhost: half\r\ncontent-le")
        .await
        .expect("sent");
    terminate(&mut cluster, 1).await;
}
