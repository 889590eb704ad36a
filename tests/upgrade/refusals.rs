//! What is refused, and in which words.

use rkv_tests::Cluster;

use crate::guests::{fsm, kv_v2, upload};

const UNKNOWN: &str = "00000000000000000000000000000000000000000000000000000000000000ff";

#[tokio::test]
async fn what_is_no_state_machine_is_refused_with_what_to_mend() {
    let mut cluster = Cluster::start_with(1, &["--max-module-bytes", "524288"]).await;
    let leader = cluster.leader().await;
    let client = cluster.client(leader);
    let cases: [(&[u8], &str); 3] = [
        (b"hello", "not a WebAssembly binary"),
        (b"\0asm\x01\0\0\0", "wasm-tools component new"),
        (b"\0asm\x0d\0\x01\0", "does not export"),
    ];
    for (bytes, words) in cases {
        let problem = client.post("/fsm/modules", bytes).await.problem(422);
        assert!(problem.detail.contains(words), "{}", problem.detail);
    }
    let limit = client.post("/fsm/modules", vec![0; 1 << 20]).await;
    assert_eq!(limit.problem(413).limit, Some(1 << 19));
    let modules: Vec<serde_json::Value> = client.get("/fsm/modules").await.expect(200).json();
    assert_eq!(modules.len(), 1, "only the bundled store: {modules:?}");
}

#[tokio::test]
async fn modules_are_listed_inspected_and_removed_unless_needed() {
    let mut cluster = Cluster::start(1).await;
    let leader = cluster.leader().await;
    let client = cluster.client(leader);
    let bundled = fsm(&client).await.active.module;
    let module = upload(&mut cluster, kv_v2()).await.module;
    client.post("/fsm/modules", kv_v2()).await.expect(200);

    let path = format!("/fsm/modules/{module}");
    let info: serde_json::Value = client.get(&path).await.expect(200).json();
    assert_eq!(info["description"]["schema"], 2);
    client.delete(&path).await.expect(200);
    client.get(&path).await.problem(404);
    client.delete(&path).await.problem(404);
    client
        .delete(&format!("/fsm/modules/{bundled}"))
        .await
        .problem(409);
    client.get("/fsm/modules/short").await.problem(400);
}

#[tokio::test]
async fn activation_of_what_is_not_there_or_not_expected_changes_nothing() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.follower().await;
    let module = upload(&mut cluster, kv_v2()).await.module;
    let client = cluster.client(leader);
    let before = fsm(&client).await.active;

    client.post("/fsm/activate", "").await.problem(400);
    client
        .post(&format!("/fsm/activate?module={UNKNOWN}"), "")
        .await
        .problem(404);
    let target = format!("/fsm/activate?module={module}");
    client
        .post(&format!("{target}&state=half"), "")
        .await
        .problem(400);
    client
        .post(&format!("{target}&memory_mb=5000"), "")
        .await
        .problem(400);
    let conflict = client
        .post(&format!("{target}&expect={UNKNOWN}"), "")
        .await
        .problem(409);
    assert!(
        conflict.detail.contains(&before.module),
        "{}",
        conflict.detail
    );
    client.post("/fsm/rollback", "").await.problem(409);
    let redirected = cluster.client(follower).post(&target, "").await;
    assert!(redirected.expect(307).location().ends_with(&target));

    let after = fsm(&client).await.active;
    assert_eq!((after.module, after.since), (before.module, before.since));
}
