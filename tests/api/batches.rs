//! `POST /keys`: up to a hundred keys in one atomic log entry.

use reqwest::Method;
use rkv_tests::{Client, Cluster};
use serde_json::{Map, Value, json};

use crate::shared::three;

/// The documented bound.
const MAX_ENTRIES: usize = 100;

fn entries(prefix: &str, count: usize) -> String {
    let entries: Map<String, Value> = (0..count)
        .map(|n| (format!("{prefix}-{n:03}"), json!(format!("v{n}"))))
        .collect();
    Value::Object(entries).to_string()
}

async fn listed(node: &Client, prefix: &str) -> usize {
    node.keys()
        .await
        .iter()
        .filter(|key| key.starts_with(prefix))
        .count()
}

#[tokio::test]
async fn a_batch_of_a_hundred_is_written_as_a_whole() {
    let three = three().await;
    for (node, prefix) in three.roles().into_iter().zip(["hundred-l", "hundred-f"]) {
        let body = entries(prefix, MAX_ENTRIES);
        node.follow(Method::POST, "/keys", body).await.expect(200);
        assert_eq!(listed(&node, prefix).await, MAX_ENTRIES);
        assert_eq!(
            node.value(&format!("{prefix}-042")).await.expect("written"),
            "v42"
        );
    }
}

#[tokio::test]
async fn a_batch_is_one_entry_of_the_log() {
    let mut cluster = Cluster::start(1).await;
    let leader = cluster.leader().await;
    let node = cluster.client(leader);
    node.put("before", "x").await;
    let before = node.stats().await.last_log_index.expect("a log");
    node.post("/keys", entries("one-entry", MAX_ENTRIES))
        .await
        .expect(200);
    assert_eq!(node.stats().await.last_log_index, Some(before + 1));
}

#[tokio::test]
async fn a_batch_of_more_than_a_hundred_is_refused_with_the_limit() {
    let three = three().await;
    for node in three.roles() {
        let body = entries("too-many", MAX_ENTRIES + 1);
        let problem = node.follow(Method::POST, "/keys", body).await.problem(413);
        assert_eq!(problem.limit, Some(MAX_ENTRIES as u64));
        assert_eq!(listed(&node, "too-many").await, 0);
    }
}

#[tokio::test]
async fn what_is_not_an_object_of_strings_is_refused_and_nothing_written() {
    let three = three().await;
    let bad = [
        "",
        "not json",
        r#"{"bad-json":"x""#,
        r#"["bad-json"]"#,
        r#""bad-json""#,
        "null",
        r#"{"bad-json":"x","bad-json-2":1}"#,
        r#"{"bad-json":"x","bad-json-2":null}"#,
        r#"{"bad-json":"x","bad-json-2":{"a":"b"}}"#,
        r#"{"bad-json":"x"} trailing"#,
    ];
    for node in three.roles() {
        for body in bad {
            node.follow(Method::POST, "/keys", body).await.problem(400);
        }
        assert_eq!(listed(&node, "bad-json").await, 0);
    }
}

#[tokio::test]
async fn one_bad_key_refuses_the_whole_batch() {
    let three = three().await;
    let long = "k".repeat(4097);
    let batches = [
        (json!({"atomic-a": "x", "": "y", "atomic-b": "z"}), 400),
        (json!({"atomic-a": "x", long: "y", "atomic-b": "z"}), 413),
        (
            json!({"atomic-a": "x", "atomic-c": "v".repeat((1 << 20) + 1)}),
            413,
        ),
    ];
    for node in three.roles() {
        for (batch, status) in &batches {
            node.follow(Method::POST, "/keys", batch.to_string())
                .await
                .problem(*status);
            assert_eq!(listed(&node, "atomic-").await, 0);
        }
    }
}

#[tokio::test]
async fn a_batch_replaces_and_adds() {
    let three = three().await;
    let node = three.leader();
    node.put("mixed-old", "old").await;
    let batch = json!({"mixed-old": "new", "mixed/é": "also"}).to_string();
    node.post("/keys", batch).await.expect(200);
    assert_eq!(node.value("mixed-old").await.expect("there"), "new");
    assert_eq!(node.value("mixed/é").await.expect("there"), "also");
}
