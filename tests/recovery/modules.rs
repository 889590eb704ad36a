//! A backup has the state machine too, and the state of the one before it.

use std::path::Path;

use rkv_tests::Cluster;
use rkv_tests::wait::{GENEROUS, check, until};
use serde_json::Value;
use tempfile::TempDir;

use crate::guest_build;
use crate::tools::{download, restored};

fn ledger() -> Vec<u8> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest");
    let workspace = workspace.expect("the workspace");
    let built = guest_build::build(workspace, "rkv-example-ledger", &target_dir);
    built.unwrap_or_else(|error| panic!("{error}"))
}

async fn balance(cluster: &Cluster, id: u64) -> String {
    let query = r#"{"balance":{"account":"alice"}}"#;
    let answer = cluster.client(id).post("/fsm/query", query).await;
    answer.expect(200).text().to_owned()
}

#[tokio::test]
async fn a_restored_cluster_runs_the_same_module_and_can_go_back_to_the_one_before() {
    let folder = TempDir::new().expect("a folder");
    let mut old = Cluster::start(1).await;
    let client = old.client(1);
    client.put("kept", "from before").await;
    let uploaded = client.post("/fsm/modules", ledger()).await;
    let uploaded: Value = uploaded.expect(201).json();
    let module = uploaded["module"].as_str().expect("its name").to_owned();
    let target = format!("/fsm/activate?module={module}&state=reset");
    until("the ledger is active", GENEROUS, async || {
        let answer = client.act(&target, "").await;
        check(answer.status == 200, || answer.to_string())
    })
    .await;
    for command in [
        r#"{"open":{"account":"alice"}}"#,
        r#"{"deposit":{"account":"alice","amount":100}}"#,
    ] {
        client.act("/fsm/apply", command).await.expect(200);
    }
    let expected = balance(&old, 1).await;
    let file = folder.path().join("ledger.rkv");
    download(&client, &file).await;
    old.node_mut(1).kill9();

    let mut new = restored(&file).await;
    assert_eq!(balance(&new, 1).await, expected);
    new.grow_to(3).await;
    for id in new.ids() {
        assert_eq!(balance(&new, id).await, expected, "node {id}");
        let fsm: Value = new.client(id).get("/fsm").await.expect(200).json();
        assert_eq!(fsm["active"]["module"], module.as_str());
        assert_eq!(fsm["history"][0]["name"], "kv");
    }
    let leader = new.leader().await;
    let back = "/fsm/rollback?state=previous";
    until("the store is active", GENEROUS, async || {
        let answer = new.client(leader).act(back, "").await;
        check(answer.status == 200, || answer.to_string())
    })
    .await;
    for id in new.ids() {
        let value = new.client(id).value("kept").await;
        assert_eq!(value.expect("kept"), "from before", "node {id}");
    }
}
