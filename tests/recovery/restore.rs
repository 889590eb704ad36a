//! `rkvd restore`: a new cluster from a backup, or nothing.

use std::fs;
use std::path::{Path, PathBuf};

use rkv_tests::{Client, Cluster};
use tempfile::TempDir;

use crate::tools::{contents, download, ended, fill, flip, restore, restore_with, restored, run};

/// A backup of a cluster of one, and up to which entry it goes.
async fn backup(folder: &Path, keys: usize) -> (PathBuf, u64) {
    let cluster = Cluster::start(1).await;
    fill(&cluster.client(1), "key", keys).await;
    let file = folder.join("backup.rkv");
    let index = download(&cluster.client(1), &file).await;
    (file, index)
}

async fn cluster_id(client: &Client) -> String {
    let backup = client.get("/backup").await.expect(200);
    let name = backup.header("content-disposition");
    let id = name.split('-').nth(1).map(str::to_owned);
    id.unwrap_or_else(|| panic!("no cluster in '{name}'"))
}

#[tokio::test]
async fn nodes_join_a_restored_cluster_and_its_indexes_go_on() {
    let folder = TempDir::new().expect("a folder");
    let mut old = Cluster::start(3).await;
    let leader = old.leader().await;
    fill(&old.client(leader), "key", 1_000).await;
    let file = folder.path().join("backup.rkv");
    let index = download(&old.client(leader), &file).await;
    let keys = old.client(leader).keys().await;

    let mut new = restored(&file).await;
    new.grow_to(3).await;
    new.agree().await;
    new.equal_digests().await;
    let leader = new.leader().await;
    assert_eq!(new.client(leader).keys().await, keys);
    let stats = new.client(leader).stats().await;
    assert!(
        stats.applied_index > Some(index),
        "{stats:?} behind {index}"
    );
    new.client(leader).put("later", "x").await;
    for id in new.ids() {
        new.node_mut(id).kill9();
        new.restart(id).await;
    }
    new.agree().await;
    let ids = [
        cluster_id(&old.client(1)).await,
        cluster_id(&new.client(1)).await,
    ];
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_backup_that_is_cut_off_or_changed_is_refused_and_nothing_is_written() {
    let folder = TempDir::new().expect("a folder");
    let (file, _) = backup(folder.path(), 2_000).await;
    let good = fs::read(&file).expect("read");
    let length = good.len() as u64;
    let data_dir = folder.path().join("new");
    for cut in [0, 10, length / 2, length - 1] {
        fs::write(&file, &good[..cut as usize]).expect("write");
        ended(
            &restore(&file, &data_dir, 1).await,
            2,
            &["nothing was written"],
        );
    }
    for place in [3, 30, length / 3, length / 2, length - 50, length - 3] {
        fs::write(&file, &good).expect("write");
        flip(&file, place);
        ended(
            &restore(&file, &data_dir, 1).await,
            2,
            &["nothing was written"],
        );
    }
    assert!(!data_dir.exists());
    let missing = folder.path().join("missing.rkv");
    ended(&restore(&missing, &data_dir, 1).await, 2, &["missing.rkv"]);
    assert!(!data_dir.exists());
    fs::write(&file, &good).expect("write");
    ended(&restore(&file, &data_dir, 1).await, 0, &["up to entry"]);
}

#[tokio::test]
async fn a_directory_that_has_something_in_it_is_refused_and_left_alone() {
    let folder = TempDir::new().expect("a folder");
    let (file, _) = backup(folder.path(), 10).await;
    let mut cluster = Cluster::start(1).await;
    let data_dir = cluster.data_dir(1);
    ended(&restore(&file, &data_dir, 2).await, 2, &["not empty"]);
    cluster.client(1).put("still", "here").await;
    cluster.node_mut(1).kill9();
    let before = contents(&data_dir);
    ended(&restore(&file, &data_dir, 1).await, 2, &["not empty"]);
    assert!(contents(&data_dir) == before, "it was changed");
    cluster.restart(1).await;
}

#[tokio::test]
async fn a_restore_that_is_killed_leaves_no_node_and_can_be_run_again() {
    let folder = TempDir::new().expect("a folder");
    let (file, _) = backup(folder.path(), 500).await;
    for point in [
        "restore-before-snapshot",
        "snapshot-before-publish",
        "snapshot-after-publish",
        "restore-before-log",
        "restore-before-name",
    ] {
        let mut cluster = Cluster::empty(&[]);
        let id = cluster.prepare();
        let data_dir = cluster.data_dir(id);
        let failpoints = format!("{point}=return");
        let exit = restore_with(&file, &data_dir, id, Some(&failpoints)).await;
        assert_eq!(exit.status.code(), None, "{point}: {}", exit.log);
        if point != "restore-before-snapshot" {
            let spec = cluster.node(id).spec().arguments();
            let arguments: Vec<_> = spec.iter().map(AsRef::as_ref).collect();
            ended(&run(&arguments).await, 1, &["not finished", "once more"]);
        }
        ended(&restore(&file, &data_dir, id).await, 0, &["next"]);
        cluster.restart(id).await;
        assert_eq!(cluster.client(id).keys().await.len(), 500, "{point}");
    }
}
