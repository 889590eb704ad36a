//! Ways out of a switch that went wrong: the state from before, and the newest snapshot.

use rkv_tests::Cluster;
use rkv_tests::wait::{GENEROUS, check, until};
use serde_json::Value;

use crate::guests::{faulty, fsm, kv_v2, ledger, upload};

#[tokio::test]
async fn a_rollback_to_the_previous_state_says_how_many_writes_it_drops() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let client = cluster.client(leader);
    client.put("a", "old").await;
    let bundled = fsm(&client).await.active.module;
    let module = upload(&mut cluster, kv_v2()).await.module;
    let target = format!("/fsm/activate?module={module}");
    client.act(&target, "").await.expect(200);
    client.put("a", "new").await;
    client.put("b", "new").await;
    let previous = fsm(&client).await.previous.expect("it was kept");
    assert_eq!((previous.module, previous.commands_since), (bundled, 2));

    let path = "/fsm/rollback?state=previous";
    let switched: Value = client.act(path, "").await.expect(200).json();
    assert_eq!(switched["dropped_commands"], 2, "{switched}");
    for id in cluster.ids() {
        let client = cluster.client(id);
        assert_eq!(client.value("a").await.expect("kept"), "old");
        client.get("/keys/b").await.problem(404);
    }

    // What was dropped is now the previous state, also on a node that was not there.
    cluster.grow_to(4).await;
    let leader = cluster.leader().await;
    let switched: Value = cluster
        .client(leader)
        .act(path, "")
        .await
        .expect(200)
        .json();
    assert_eq!(switched["dropped_commands"], 0, "{switched}");
    for id in cluster.ids() {
        let client = cluster.client(id);
        assert_eq!(client.value("b").await.expect("back"), "new", "node {id}");
    }
    cluster.equal_digests().await;
}

#[tokio::test]
async fn the_previous_state_outlives_snapshots_and_restarts_until_it_is_dropped() {
    let mut cluster =
        Cluster::start_with(3, &["--snapshot-entries", "50", "--keep-entries", "5"]).await;
    let leader = cluster.leader().await;
    cluster.client(leader).put("kept", "1").await;
    let module = upload(&mut cluster, ledger()).await.module;
    let target = format!("/fsm/activate?module={module}&state=reset");
    let activated = cluster.client(leader).act(&target, "").await;
    let index = activated.expect(200).json::<Value>()["index"].as_u64();
    for _ in 0..120 {
        // The ledger refuses it, and that is an entry too.
        cluster
            .client(leader)
            .act("/fsm/apply", "no command")
            .await
            .problem(422);
    }
    until(
        "the log begins behind the activation",
        GENEROUS,
        async || {
            let stats = cluster.client(leader).stats().await;
            check(index.is_some() && stats.purged_index > index, || {
                format!("{stats:?}")
            })
        },
    )
    .await;
    for id in cluster.ids() {
        cluster.node_mut(id).kill9();
    }
    for id in cluster.ids() {
        cluster.node_mut(id).start();
    }
    cluster.leader().await;
    // Its state comes with a snapshot.
    cluster.grow_to(4).await;
    let leader = cluster.leader().await;
    let switched = cluster
        .client(leader)
        .act("/fsm/rollback?state=previous", "")
        .await;
    assert_eq!(
        switched.expect(200).json::<Value>()["dropped_commands"],
        120
    );
    for id in cluster.ids() {
        let client = cluster.client(id);
        assert_eq!(client.value("kept").await.expect("back"), "1", "node {id}");
    }
    let client = cluster.client(leader);
    client.delete("/fsm/previous").await.expect(200);
    assert!(fsm(&client).await.previous.is_none());
    let gone = client.act("/fsm/rollback?state=previous", "").await;
    assert!(gone.problem(409).detail.contains("no state was kept"));
    client
        .act("/fsm/rollback?state=half", "")
        .await
        .problem(400);
}

#[tokio::test]
async fn a_module_started_from_a_snapshot_has_every_write_and_does_not_ask_the_old_one() {
    let mut cluster = Cluster::start_with(3, &["--snapshot-entries", "60"]).await;
    let leader = cluster.leader().await;
    let client = cluster.client(leader);
    for n in 0..150 {
        client.put(&format!("key-{}", n % 40), n.to_string()).await;
    }
    let module = upload(&mut cluster, kv_v2()).await.module;
    let target = format!("/fsm/activate?module={module}&from=snapshot");
    client
        .act(&format!("{target}&state=reset"), "")
        .await
        .problem(400);
    until("every node has a snapshot", GENEROUS, async || {
        let answer = client.act(&target, "").await;
        check(answer.status == 200, || format!("{answer:?}"))
    })
    .await;
    client.put("after", "it").await;
    for id in cluster.ids() {
        let client = cluster.client(id);
        assert_eq!(client.value("key-39").await.expect("there"), "119");
        assert_eq!(client.value("key-29").await.expect("there"), "149");
        assert_eq!(fsm(&client).await.active.module, module);
    }
    cluster.equal_digests().await;
    cluster.agree().await;
    // A node that replays it comes to the same state.
    let follower = cluster.follower().await;
    cluster.node_mut(follower).kill9();
    cluster.restart(follower).await;
    cluster.equal_digests().await;
    cluster.agree().await;
}

#[tokio::test]
async fn commands_that_trapped_stay_failed_when_the_log_is_run_again() {
    let mut cluster = Cluster::start_with(3, &["--snapshot-entries", "40"]).await;
    let module = upload(&mut cluster, faulty()).await.module;
    let leader = cluster.leader().await;
    let client = cluster.client(leader);
    let reset = format!("/fsm/activate?module={module}&state=reset&fuel=50000000");
    client.act(&reset, "").await.expect(200);
    for n in 1..=70 {
        let answer = client.act("/fsm/apply", "add").await.expect(200);
        assert_eq!(answer.text(), n.to_string());
        if n % 30 == 0 {
            client.act("/fsm/apply", "panic").await.problem(422);
        }
    }
    until("every node has a snapshot", GENEROUS, async || {
        let target = format!("/fsm/activate?module={module}&from=snapshot");
        let answer = client.act(&target, "").await;
        check(answer.status == 200, || format!("{answer:?}"))
    })
    .await;
    for id in cluster.ids() {
        let answer = cluster.client(id).post("/fsm/query", "get").await;
        assert_eq!(answer.expect(200).text(), "70", "node {id}");
    }
    cluster.equal_digests().await;
}

#[tokio::test]
async fn limits_that_the_state_does_not_fit_into_are_refused_and_nothing_changes() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let client = cluster.client(leader);
    let value = "v".repeat(500_000);
    for n in 0..8 {
        client.put(&format!("large-{n}"), value.clone()).await;
    }
    let before = fsm(&client).await.active;
    let module = upload(&mut cluster, kv_v2()).await.module;
    for memory_mb in [1, 3] {
        let target = format!("/fsm/activate?module={module}&memory_mb={memory_mb}");
        let refused = client.act(&target, "").await.problem(422);
        assert!(refused.detail.contains("memory"), "{}", refused.detail);
    }
    for id in cluster.ids() {
        let client = cluster.client(id);
        client.get("/health").await.expect(200);
        assert_eq!(client.value("large-7").await.expect("there"), value);
        assert_eq!(fsm(&client).await.active.since, before.since);
    }
    cluster.equal_digests().await;
}
