//! Snapshots that rot on disk are noticed, and the node comes back equal all the same.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rkv_tests::wait::GENEROUS;
use rkv_tests::{Client, Cluster};

const FLAGS: [&str; 4] = ["--snapshot-entries", "50", "--keep-entries", "10"];

/// Two are kept, and the log behind the older one.
const ENOUGH_SNAPSHOTS: usize = 4;

/// Bounds [`fill`]: far more than that many snapshots take.
const MAX_WRITES: usize = 20_000;

/// The snapshots in a data directory, newest first.
fn snapshots(data_dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data_dir.join("snapshots")).expect("a folder of snapshots");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("a readable entry"))
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".snap"))
        .map(|entry| {
            (
                entry
                    .metadata()
                    .and_then(|meta| meta.modified())
                    .expect("a time"),
                entry.path(),
            )
        })
        .collect();
    files.sort_unstable();
    files.into_iter().rev().map(|(_, path)| path).collect()
}

fn truncate(snapshot: &Path) {
    let file = OpenOptions::new().write(true).open(snapshot).expect("open");
    let length = file.metadata().expect("metadata").len();
    file.set_len(length / 2).expect("truncate");
}

fn flip_a_byte(snapshot: &Path) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(snapshot)
        .expect("open");
    let middle = file.metadata().expect("metadata").len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).expect("read");
    file.write_all_at(&[byte[0] ^ 0x10], middle).expect("write");
}

/// Writes until the node has made so many snapshots that the first entries are gone from its log,
/// and then some. The snapshots are what the node stands on.
async fn fill(node: &Client, data_dir: &Path) {
    let mut seen = BTreeSet::new();
    for n in 0..MAX_WRITES {
        if seen.len() >= ENOUGH_SNAPSHOTS && snapshots(data_dir).len() >= 2 {
            return;
        }
        node.put(&format!("rot-{n:04}"), format!("value {n}")).await;
        seen.extend(snapshots(data_dir));
    }
    panic!("only the snapshots {seen:?} after {MAX_WRITES} writes");
}

async fn survives_alone(damage: fn(&Path)) {
    let mut cluster = Cluster::start_with(1, &FLAGS).await;
    fill(&cluster.client(1), &cluster.data_dir(1)).await;
    let before = cluster.client(1).keys().await;
    cluster.node_mut(1).terminate();
    cluster.node_mut(1).exit(GENEROUS).await;
    damage(&snapshots(&cluster.data_dir(1))[0]);
    cluster.restart(1).await;
    assert_eq!(cluster.client(1).keys().await, before);
    let value = cluster.client(1).value("rot-0007").await;
    assert_eq!(value.expect("written"), "value 7");
}

async fn comes_back_equal(damage: fn(&Path)) {
    let mut cluster = Cluster::start_with(3, &FLAGS).await;
    let victim = cluster.follower().await;
    fill(&cluster.client(victim), &cluster.data_dir(victim)).await;
    cluster.node_mut(victim).kill9();
    damage(&snapshots(&cluster.data_dir(victim))[0]);
    let leader = cluster.leader().await;
    cluster.client(leader).put("meanwhile", "x").await;
    cluster.restart(victim).await;
    cluster.agree().await;
}

#[tokio::test]
async fn a_truncated_snapshot_costs_a_single_node_nothing() {
    survives_alone(truncate).await;
}

#[tokio::test]
async fn a_flipped_byte_in_a_snapshot_costs_a_single_node_nothing() {
    survives_alone(flip_a_byte).await;
}

#[tokio::test]
async fn a_follower_with_a_truncated_snapshot_comes_back_equal() {
    comes_back_equal(truncate).await;
}

#[tokio::test]
async fn a_follower_with_a_flipped_byte_in_its_snapshot_comes_back_equal() {
    comes_back_equal(flip_a_byte).await;
}

#[tokio::test]
async fn a_single_node_never_serves_without_what_its_damaged_snapshots_held() {
    let mut cluster = Cluster::start_with(1, &FLAGS).await;
    fill(&cluster.client(1), &cluster.data_dir(1)).await;
    cluster.node_mut(1).terminate();
    cluster.node_mut(1).exit(GENEROUS).await;
    for snapshot in snapshots(&cluster.data_dir(1)) {
        flip_a_byte(&snapshot);
    }
    cluster.node_mut(1).start();
    let exit = cluster.node_mut(1).exit(GENEROUS).await;
    assert!(exit.refusal().contains("snapshot"), "{}", exit.refusal());
}
