//! What is too large is refused with the limit, and what is just not is taken.

use reqwest::Method;
use rkv_tests::{Cluster, key_path};
use serde_json::json;

use crate::shared::three;

const MAX_KEY_BYTES: usize = 4 << 10;
const MAX_VALUE_BYTES: usize = 1 << 20;
const MAX_BODY_BYTES: usize = 8 << 20;

#[tokio::test]
async fn a_key_may_have_4_kib_and_no_byte_more() {
    let three = three().await;
    for node in three.roles() {
        let longest = "k".repeat(MAX_KEY_BYTES);
        node.put(&longest, "x").await;
        assert_eq!(node.value(&longest).await.expect("written"), "x");
        node.remove(&longest).await;

        let path = key_path(&"k".repeat(MAX_KEY_BYTES + 1));
        let problem = node.follow(Method::POST, &path, "x").await.problem(413);
        assert_eq!(problem.limit, Some(MAX_KEY_BYTES as u64));
    }
}

#[tokio::test]
async fn the_limit_of_a_key_counts_bytes_and_not_characters() {
    let three = three().await;
    let fits = "é".repeat(MAX_KEY_BYTES / 2);
    three.leader().put(&fits, "x").await;
    three.leader().remove(&fits).await;
    let path = key_path(&format!("{fits}é"));
    three.leader().post(&path, "x").await.problem(413);
}

#[tokio::test]
async fn a_value_may_have_1_mib_and_no_byte_more() {
    let three = three().await;
    for node in three.roles() {
        let largest = vec![7; MAX_VALUE_BYTES];
        node.put("value-limit", largest.clone()).await;
        assert!(node.value("value-limit").await.expect("written") == largest);
        node.remove("value-limit").await;

        let over = vec![7; MAX_VALUE_BYTES + 1];
        let problem = node
            .follow(Method::POST, "/keys/value-limit", over)
            .await
            .problem(413);
        assert_eq!(problem.limit, Some(MAX_VALUE_BYTES as u64));
        assert_eq!(node.value("value-limit").await, None);
    }
}

#[tokio::test]
async fn a_batch_may_fill_a_body_of_8_mib_but_not_more() {
    let three = three().await;
    let value = "v".repeat(MAX_VALUE_BYTES);
    let seven: serde_json::Map<_, _> = (0..7)
        .map(|n| (format!("body-limit-{n}"), json!(value)))
        .collect();
    let fits = json!(seven).to_string();
    let over = format!("{fits}{}", " ".repeat(MAX_BODY_BYTES + 1 - fits.len()));

    let node = three.leader();
    assert_eq!(
        node.post("/keys", over).await.problem(413).limit,
        Some(MAX_BODY_BYTES as u64)
    );
    assert_eq!(node.value("body-limit-0").await, None);
    node.post("/keys", fits).await.expect(200);
    for key in seven.keys() {
        assert_eq!(
            node.value(key).await.expect("written").len(),
            MAX_VALUE_BYTES
        );
        node.remove(key).await;
    }
}

#[tokio::test]
async fn the_limits_are_flags() {
    let flags = [
        "--max-key-bytes",
        "8",
        "--max-value-bytes",
        "16",
        "--max-body-bytes",
        "64",
    ];
    let mut cluster = Cluster::start_with(1, &flags).await;
    let leader = cluster.leader().await;
    let node = cluster.client(leader);
    node.put("12345678", "0123456789abcdef").await;
    assert_eq!(
        node.post("/keys/123456789", "x").await.problem(413).limit,
        Some(8)
    );
    assert_eq!(
        node.post("/keys/a", "0123456789abcdefg")
            .await
            .problem(413)
            .limit,
        Some(16)
    );
    let batch = json!({"a": "0123456789abcde", "b": "0123456789abcde", "c": "0123456789abcde"});
    let batch = batch.to_string();
    assert!(batch.len() > 64, "the batch is meant to be too large");
    assert_eq!(node.post("/keys", batch).await.problem(413).limit, Some(64));
    assert_eq!(node.keys().await, ["12345678"]);
}
