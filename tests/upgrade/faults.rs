//! A module that misbehaves costs the request that made it, and nothing else.

use rkv_tests::Cluster;

use crate::guests::{faulty, upload};

/// A cluster that runs the faulty module, and its leader.
async fn start(flags: &[&str]) -> (Cluster, u64) {
    let mut cluster = Cluster::start_with(3, flags).await;
    let module = upload(&mut cluster, faulty()).await.module;
    let leader = cluster.leader().await;
    // Little fuel, so that what never ends is soon at its end.
    let target = format!("/fsm/activate?module={module}&state=reset&fuel=50000000");
    cluster.client(leader).post(&target, "").await.expect(200);
    (cluster, leader)
}

#[tokio::test]
async fn a_command_that_traps_is_undone_and_the_next_one_works() {
    let (cluster, leader) = start(&[]).await;
    let client = cluster.client(leader);
    assert_eq!(
        client.post("/fsm/apply", "add").await.expect(200).text(),
        "1"
    );
    for bad in ["panic", "spin", "recurse"] {
        let problem = client.post("/fsm/apply", bad).await.problem(422);
        assert_eq!(problem.code, "trapped", "{bad}");
    }
    client.post("/fsm/apply", "refuse").await.problem(422);
    assert_eq!(
        client.post("/fsm/apply", "add").await.expect(200).text(),
        "2"
    );
    for id in cluster.ids() {
        let answer = cluster.client(id).post("/fsm/query", "get").await;
        assert_eq!(answer.expect(200).text(), "2", "node {id}");
    }
}

#[tokio::test]
async fn a_query_that_traps_costs_nobodys_state() {
    let (cluster, leader) = start(&[]).await;
    let client = cluster.client(leader);
    client.post("/fsm/apply", "add").await.expect(200);
    for bad in ["panic", "spin", "recurse"] {
        client.post("/fsm/query", bad).await.problem(422);
    }
    assert_eq!(
        client.post("/fsm/query", "get").await.expect(200).text(),
        "1"
    );
}

#[tokio::test]
async fn a_snapshot_that_traps_stops_no_node() {
    let (cluster, leader) = start(&["--snapshot-entries", "40"]).await;
    let client = cluster.client(leader);
    client
        .post("/fsm/apply", "break-snapshot")
        .await
        .expect(200);
    for n in 1..=200 {
        let answer = client.post("/fsm/apply", "add").await.expect(200);
        assert_eq!(answer.text(), n.to_string());
    }
    for id in cluster.ids() {
        let client = cluster.client(id);
        client.get("/health").await.expect(200);
        assert_eq!(
            client.post("/fsm/query", "get").await.expect(200).text(),
            "200"
        );
    }
}
