//! `rkvd verify`: damage of every kind is named, and what is sound is called so.

use std::fs;
use std::path::{Path, PathBuf};

use rkv_tests::Cluster;
use rkv_tests::wait::{GENEROUS, check, until};
use tempfile::TempDir;

use crate::tools::{contents, copy, ended, files, fill, flip, verify};

const FLAGS: [&str; 4] = ["--snapshot-entries", "60", "--keep-entries", "10"];

/// The data directory of a node that was killed, with all that a node can have.
async fn data_dir(folder: &TempDir) -> PathBuf {
    let mut cluster = Cluster::start_with(1, &FLAGS).await;
    until(
        "two snapshots are there, and a log behind",
        GENEROUS,
        async || {
            fill(&cluster.client(1), "key", 2_000).await;
            let stats = cluster.client(1).stats().await;
            // By then the log's beginning has gone, as snapshots before these covered it.
            let later = stats.fsm.snapshots.first() > Some(&200);
            let enough = later && stats.fsm.snapshots.len() == 2;
            check(enough, || format!("{stats:?}"))
        },
    )
    .await;
    cluster.node_mut(1).kill9();
    let kept = folder.path().join("good");
    copy(&cluster.data_dir(1), &kept);
    kept
}

fn middle(path: &Path) -> u64 {
    fs::metadata(path).expect("a file").len() / 2
}

/// Where in the log the first extent begins, and a place within the first commit there.
const FIRST_EXTENT: u64 = 4096;
const FIRST_FRAME: u64 = FIRST_EXTENT + 512 + 40;

#[tokio::test]
async fn a_sound_directory_is_called_so_and_damage_of_each_kind_is_named() {
    let folder = TempDir::new().expect("a folder");
    let good = data_dir(&folder).await;
    let before = contents(&good);
    let exit = verify(&good).await;
    ended(
        &exit,
        0,
        &[
            "node.redb: node 1",
            "log.wal: entries",
            "snapshots/",
            "modules/",
        ],
    );
    assert!(!exit.log.contains("DAMAGED"), "{}", exit.log);
    assert!(
        !exit.log.contains('\u{1b}'),
        "a progress bar in a file: {}",
        exit.log
    );
    assert!(contents(&good) == before, "it changed something");

    let snapshot = files(&good.join("snapshots"), "snap")
        .pop()
        .expect("a snapshot");
    let module = files(&good.join("modules"), "wasm")
        .pop()
        .expect("a module");
    let log = good.join("log.wal");
    let database = good.join("node.redb");
    let cases = [
        (&snapshot, middle(&snapshot), "DAMAGED snapshots/"),
        (&snapshot, 4, "DAMAGED snapshots/"),
        (&module, middle(&module), "DAMAGED modules/"),
        (&log, 20, "DAMAGED log.wal"),
        (&log, FIRST_FRAME, "DAMAGED log.wal"),
    ];
    for (path, at, named) in cases {
        let bad = folder.path().join("bad");
        copy(&good, &bad);
        flip(&bad.join(path.strip_prefix(&good).expect("below it")), at);
        ended(&verify(&bad).await, 1, &[named]);
        fs::remove_dir_all(&bad).expect("remove");
    }
    for path in [&snapshot, &module, &log, &database] {
        let bad = folder.path().join("bad");
        copy(&good, &bad);
        let cut = bad.join(path.strip_prefix(&good).expect("below it"));
        let file = fs::OpenOptions::new().write(true).open(&cut).expect("open");
        file.set_len(middle(path)).expect("cut");
        ended(&verify(&bad).await, 1, &["DAMAGED"]);
        fs::remove_dir_all(&bad).expect("remove");
    }
    let bad = folder.path().join("bad");
    copy(&good, &bad);
    let file = fs::OpenOptions::new().write(true).open(bad.join("log.wal"));
    file.expect("open").set_len(FIRST_EXTENT).expect("cut");
    ended(&verify(&bad).await, 1, &["DAMAGED log.wal", "empty"]);
    fs::remove_dir_all(&bad).expect("remove");
    for path in [&log, &database] {
        let bad = folder.path().join("bad");
        copy(&good, &bad);
        fs::remove_file(bad.join(path.strip_prefix(&good).expect("below it"))).expect("remove");
        ended(&verify(&bad).await, 1, &["DAMAGED", "it is gone"]);
        fs::remove_dir_all(&bad).expect("remove");
    }
    for path in files(&good.join("snapshots"), "snap") {
        fs::remove_file(path).expect("remove");
    }
    ended(
        &verify(&good).await,
        1,
        &["DAMAGED snapshots", "begins behind"],
    );
}

#[tokio::test]
async fn what_is_no_data_directory_was_not_checked() {
    let folder = TempDir::new().expect("a folder");
    ended(&verify(folder.path()).await, 2, &["not the data directory"]);
    ended(
        &verify(&folder.path().join("missing")).await,
        2,
        &["not the data directory"],
    );
    assert!(contents(folder.path()).is_empty());
}
