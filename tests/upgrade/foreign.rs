//! State machines in other languages than Rust, in a cluster. What they do with each command is
//! checked in `host/tests/counters`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::Method;
use rkv_guest_tools::{Language, counter};
use rkv_tests::wait::{GENEROUS, check, until};
use rkv_tests::{Client, Cluster};

use crate::guests::{ModuleView, fsm, ready, upload};

/// A module in Python has 18 MB: compiling it takes many seconds on an idle machine.
const PATIENT: Duration = Duration::from_secs(600);

async fn add(client: &Client, name: &str, amount: i64) -> String {
    let command = format!("add {name} {amount}");
    client
        .post("/fsm/apply", command)
        .await
        .expect(200)
        .text()
        .to_owned()
}

async fn list(client: &Client) -> String {
    client
        .post("/fsm/query", "list")
        .await
        .expect(200)
        .text()
        .to_owned()
}

async fn activate(client: &Client, module: &str, parameters: &str) {
    let target = format!("/fsm/activate?module={module}{parameters}");
    client.post(&target, "").await.expect(200);
}

/// Uploads a module that takes longer to compile than a client waits for an answer: the node goes
/// on with it, and an upload that is repeated finds it done.
async fn upload_large(cluster: &mut Cluster, bytes: Bytes) -> ModuleView {
    let leader = cluster.leader().await;
    let client = cluster.client(leader);
    let view: ModuleView = until("the module is uploaded", PATIENT, async || {
        let sent = client.try_send(Method::POST, "/fsm/modules", bytes.clone());
        let answer = sent.await.map_err(|error| error.to_string())?;
        check([200, 201].contains(&answer.status), || answer.to_string())?;
        Ok(answer.json())
    })
    .await;
    ready(cluster, &view.module, PATIENT).await;
    view
}

#[tokio::test]
async fn a_module_in_c_survives_restarts_and_reaches_new_nodes_by_snapshot() {
    let Some(module) = counter(Language::C) else {
        return;
    };
    let flags = ["--snapshot-entries", "50", "--keep-entries", "5"];
    let mut cluster = Cluster::start_with(3, &flags).await;
    let module = upload(&mut cluster, module.into()).await.module;
    let leader = cluster.leader().await;
    let client = cluster.client(leader);
    activate(&client, &module, "&state=reset").await;
    let since = fsm(&client).await.active.since;

    assert_eq!(add(&client, "hits", 5).await, "5");
    assert_eq!(add(&client, "hits", -7).await, "-2");
    let refused = client.post("/fsm/apply", "add hits lots").await;
    let refused = refused.problem(422);
    assert!(refused.detail.contains("code 1"), "{}", refused.detail);
    for n in 1..=120 {
        assert_eq!(add(&client, "laps", 1).await, n.to_string());
    }
    until(
        "a snapshot of the counters is there",
        GENEROUS,
        async || {
            let snapshot = client.stats().await.snapshot_index;
            check(snapshot > Some(since), || format!("{snapshot:?}"))
        },
    )
    .await;

    let restarted = cluster.follower().await;
    cluster.node_mut(restarted).kill9();
    assert_eq!(add(&client, "missed", 1).await, "1");
    cluster.restart(restarted).await;
    cluster.grow_to(4).await;
    for id in cluster.ids() {
        let client = cluster.client(id);
        assert_eq!(fsm(&client).await.active.module, module, "node {id}");
        assert_eq!(
            list(&client).await,
            "hits -2\nlaps 120\nmissed 1\n",
            "node {id}"
        );
    }
    cluster.equal_digests().await;
}

/// On one node, as each of them compiles the module in Python.
#[tokio::test]
async fn a_module_in_python_takes_over_the_state_of_the_one_in_c_and_gives_it_back() {
    let (Some(c), Some(python)) = (counter(Language::C), counter(Language::Python)) else {
        return;
    };
    let mut cluster = Cluster::start(1).await;
    let c = upload(&mut cluster, c.into()).await.module;
    let began = Instant::now();
    let python = upload_large(&mut cluster, python.into()).await.module;
    println!(
        "the module in Python is ready after {:.1?}",
        began.elapsed()
    );
    let client = cluster.client(1);

    activate(&client, &c, "&state=reset").await;
    assert_eq!(add(&client, "kept", 5).await, "5");
    activate(&client, &python, &format!("&expect={c}")).await;
    assert_eq!(add(&client, "kept", 2).await, "7");
    let refused = client.post("/fsm/apply", "remove lost").await.problem(422);
    assert!(refused.detail.contains("code 10"), "{}", refused.detail);

    cluster.node_mut(1).kill9();
    cluster.restart(1).await;
    assert_eq!(fsm(&client).await.active.module, python);
    assert_eq!(add(&client, "after", 1).await, "1");
    client.post("/fsm/rollback", "").await.expect(200);
    assert_eq!(fsm(&client).await.active.module, c);
    assert_eq!(list(&client).await, "after 1\nkept 7\n");
}
