//! A data directory belongs to one process, one node and one cluster.

use std::fs;
use std::path::Path;

use rkv_tests::wait::GENEROUS;
use rkv_tests::{Cluster, NodeProcess};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a new folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("a readable entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// Starts a node that must refuse to; returns the one line that it says.
async fn refusal(node: &mut NodeProcess) -> String {
    node.start();
    node.exit(GENEROUS).await.refusal().to_owned()
}

#[tokio::test]
async fn a_directory_in_use_is_refused_and_its_owner_goes_on() {
    let mut cluster = Cluster::start(1).await;
    let second = cluster.prepare();
    let spec = cluster.node_mut(second).spec_mut();
    (spec.id, spec.join) = (1, Vec::new());
    let directory = cluster.data_dir(1);
    cluster.node_mut(second).spec_mut().data_dir = directory.clone();
    let line = refusal(cluster.node_mut(second)).await;
    assert!(line.contains(&directory.display().to_string()), "{line}");
    cluster.client(1).put("undisturbed", "x").await;
    assert_eq!(
        cluster
            .client(1)
            .value("undisturbed")
            .await
            .expect("written"),
        "x"
    );
}

#[tokio::test]
async fn a_directory_of_another_node_is_refused_with_both_ids() {
    let mut cluster = Cluster::start(1).await;
    cluster.node_mut(1).kill9();
    cluster.node_mut(1).spec_mut().id = 77;
    let line = refusal(cluster.node_mut(1)).await;
    assert!(line.contains("77") && line.contains("node 1"), "{line}");
    assert!(
        line.contains(&cluster.data_dir(1).display().to_string()),
        "{line}"
    );

    cluster.node_mut(1).spec_mut().id = 1;
    cluster.restart(1).await;
    cluster.client(1).put("unharmed", "x").await;
}

#[tokio::test]
async fn a_member_with_the_directory_of_another_cluster_is_refused() {
    let mut ours = Cluster::start(3).await;
    let mut theirs = Cluster::start(3).await;
    ours.client(1).put("whose", "ours").await;
    theirs.client(1).put("whose", "theirs").await;
    let swapped = ours.follower().await;
    ours.node_mut(swapped).kill9();
    theirs.node_mut(swapped).kill9();

    let directory = ours.data_dir(swapped);
    fs::remove_dir_all(&directory).expect("the data directory is there");
    copy(&theirs.data_dir(swapped), &directory);
    let members = ours.ids().into_iter().filter(|&id| id != swapped);
    let members: Vec<_> = members.map(|id| ours.node(id).spec().http_addr).collect();
    ours.node_mut(swapped).spec_mut().join = members;
    let line = refusal(ours.node_mut(swapped)).await;
    assert!(line.contains("cluster"), "{line}");

    let leader = ours.leader().await;
    assert_eq!(
        ours.client(leader).value("whose").await.expect("written"),
        "ours"
    );
    let leader = theirs.leader().await;
    assert_eq!(
        theirs.client(leader).value("whose").await.expect("written"),
        "theirs"
    );
}

#[tokio::test]
async fn a_directory_that_is_a_file_is_refused() {
    let mut cluster = Cluster::empty(&[]);
    let id = cluster.prepare();
    let path = cluster.data_dir(id);
    fs::write(&path, "not a folder").expect("write");
    let line = refusal(cluster.node_mut(id)).await;
    assert!(line.contains(&path.display().to_string()), "{line}");
}

#[tokio::test]
async fn a_log_that_is_garbage_is_refused_and_left_alone() {
    let mut cluster = Cluster::start(1).await;
    cluster.node_mut(1).terminate();
    cluster.node_mut(1).exit(GENEROUS).await;
    for name in ["log.wal", "node.redb"] {
        let path = cluster.data_dir(1).join(name);
        let good = fs::read(&path).expect("a file");
        let garbage = vec![0x5a; good.len()];
        fs::write(&path, &garbage).expect("write");
        let line = refusal(cluster.node_mut(1)).await;
        assert!(line.contains(&path.display().to_string()), "{line}");
        assert!(
            fs::read(&path).expect("a file") == garbage,
            "the evidence was overwritten"
        );
        fs::write(&path, &good).expect("write");
    }
}

#[tokio::test]
async fn a_directory_whose_log_is_gone_is_not_taken_for_an_empty_one() {
    let mut cluster = Cluster::start_with(1, &["--snapshot-entries", "20"]).await;
    for n in 0..50 {
        cluster.client(1).put(&format!("gone-{n}"), "x").await;
    }
    let stats = async || cluster.client(1).stats().await.snapshot_index;
    rkv_tests::wait::until("a snapshot is there", GENEROUS, async || {
        stats().await.ok_or_else(|| "none".to_owned())
    })
    .await;
    cluster.node_mut(1).terminate();
    cluster.node_mut(1).exit(GENEROUS).await;
    for name in ["log.wal", "node.redb"] {
        let path = cluster.data_dir(1).join(name);
        let good = fs::read(&path).expect("a file");
        fs::remove_file(&path).expect("a file");
        let line = refusal(cluster.node_mut(1)).await;
        assert!(line.contains("forgotten its votes"), "{line}");
        fs::write(&path, &good).expect("write");
    }
}
