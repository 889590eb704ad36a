//! What is written about metrics, held against `/metrics`: the list in hack/prometheus/README.md, the
//! alert rules and the board.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use rkv_tests::wait::{GENEROUS, check, until};
use rkv_tests::{Client, Cluster};

use crate::page::Page;

fn read(path: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = root.join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// No metric, but what filters of the log name.
const LOG_TARGET: &str = "rkv_host";

/// The names of metrics in a text, without what histograms put behind them.
fn names(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let words = text.split(|c| !is_name(c));
    let ours = words.filter(|word| word.starts_with("rkv_") || word.starts_with("process_"));
    let ours = ours.filter(|word| *word != LOG_TARGET);
    ours.map(|word| {
        let histogram = ["_bucket", "_sum", "_count"];
        let base = histogram
            .iter()
            .find_map(|suffix| word.strip_suffix(suffix));
        base.unwrap_or(word).to_owned()
    })
    .collect()
}

/// The names of all metrics that the nodes of a cluster tell which has done a bit of everything: has
/// snapshots, purged its log, and replicates.
async fn told() -> BTreeSet<String> {
    let flags = ["--snapshot-entries", "20", "--keep-entries", "5"];
    let mut cluster = Cluster::start_with(3, &flags).await;
    let leader = cluster.leader().await;
    let mut number = 0;
    until("the log is purged", GENEROUS, async || {
        number += 1;
        cluster.client(leader).put(&format!("k{number}"), "x").await;
        let page = Page::of(&cluster.client(leader)).await;
        check(page.value("rkv_raft_purged_index").is_some(), || page.0)
    })
    .await;
    let mut told = BTreeSet::new();
    for id in cluster.ids() {
        told.extend(Page::of(&cluster.client(id)).await.names());
    }
    told
}

#[tokio::test]
async fn every_metric_is_documented_and_none_is_made_up() {
    let told = told().await;
    let documented = names(&read("hack/prometheus/README.md"));
    let missing: Vec<_> = told.difference(&documented).collect();
    assert!(missing.is_empty(), "not in the README: {missing:?}");
    for path in [
        "hack/prometheus/README.md",
        "hack/prometheus/rkv.rules.yml",
        "hack/prometheus/rkv.rules.test.yml",
        "hack/grafana/rkv.json",
    ] {
        let named = names(&read(path));
        assert!(!named.is_empty(), "{path} names no metric");
        let made_up: Vec<_> = named.difference(&told).collect();
        assert!(made_up.is_empty(), "{path}: not in /metrics: {made_up:?}");
    }
}

#[tokio::test]
async fn figures_follow_what_happens() {
    let cluster = Cluster::start(1).await;
    let node: Client = cluster.client(1);
    let posted = r#"rkv_http_requests_total{route="/keys/{key}",method="POST",code="200"}"#;
    let grew = |before: &Page, after: &Page, series: &str| {
        after.value(series).unwrap_or_default() - before.value(series).unwrap_or_default()
    };
    let before = Page::of(&node).await;
    for number in 0..7 {
        node.put(&format!("k{number}"), "x").await;
    }
    node.get("/keys/none").await.expect(404);
    let after = Page::of(&node).await;
    for (series, by) in [
        (posted, 7.0),
        ("rkv_fsm_commands_total", 7.0),
        ("rkv_fsm_queries_total", 1.0),
        (
            r#"rkv_http_request_seconds_count{route="/keys/{key}"}"#,
            8.0,
        ),
        ("rkv_raft_leader_changes_total", 0.0),
        ("rkv_raft_proposals_failed_total", 0.0),
    ] {
        assert_eq!(grew(&before, &after, series), by, "{series}");
    }
    // A checkpoint may have come in between.
    for series in [
        "rkv_log_entries_total",
        "rkv_log_fsync_seconds_count",
        "rkv_log_commit_seconds_count",
        "rkv_fsm_apply_seconds_count",
        "rkv_raft_applied_index",
        "rkv_fsm_fuel_total",
    ] {
        assert!(grew(&before, &after, series) >= 1.0, "{series}");
    }
    assert_eq!(after.value("rkv_raft_is_leader"), Some(1.0));
    assert!(after.value("process_resident_memory_bytes") > Some(1e6));
    assert!(after.value("process_open_fds") < after.value("process_max_fds"));
}
