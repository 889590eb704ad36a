//! The daemon's tools for data directories, and what they leave behind.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rkv_tests::wait::GENEROUS;
use rkv_tests::{Answer, Client, Cluster, Exit, NodeSpec, Process};
use tempfile::TempDir;

/// Runs `rkvd` with these arguments to its end.
pub(crate) async fn run(arguments: &[&OsStr]) -> Exit {
    run_with(arguments, None).await
}

/// [`run`], with failpoints.
pub(crate) async fn run_with(arguments: &[&OsStr], failpoints: Option<&str>) -> Exit {
    let folder = TempDir::new().expect("a folder");
    let mut command = NodeSpec::bare_command_with(failpoints);
    command.args(arguments);
    let log = folder.path().join("output");
    let mut process = Process::spawn(command, &log).expect("the daemon starts");
    process.exit(GENEROUS).await
}

pub(crate) async fn restore(file: &Path, data_dir: &Path, id: u64) -> Exit {
    restore_with(file, data_dir, id, None).await
}

pub(crate) async fn restore_with(
    file: &Path,
    data_dir: &Path,
    id: u64,
    failpoints: Option<&str>,
) -> Exit {
    let id = id.to_string();
    let arguments: [&OsStr; 6] = [
        "restore".as_ref(),
        file.as_ref(),
        "--data-dir".as_ref(),
        data_dir.as_ref(),
        "--id".as_ref(),
        id.as_ref(),
    ];
    run_with(&arguments, failpoints).await
}

pub(crate) async fn recover(data_dir: &Path, yes: bool, failpoints: Option<&str>) -> Exit {
    let mut arguments: Vec<&OsStr> = vec!["recover".as_ref(), "--data-dir".as_ref()];
    arguments.push(data_dir.as_ref());
    if yes {
        arguments.push("--yes".as_ref());
    }
    run_with(&arguments, failpoints).await
}

pub(crate) async fn verify(data_dir: &Path) -> Exit {
    run(&["verify".as_ref(), "--data-dir".as_ref(), data_dir.as_ref()]).await
}

/// Holds an end to its exit code, and to what it printed.
#[track_caller]
pub(crate) fn ended(exit: &Exit, code: i32, words: &[&str]) {
    assert_eq!(exit.status.code(), Some(code), "{}", exit.log);
    for word in words {
        assert!(exit.log.contains(word), "no '{word}' in:\n{}", exit.log);
    }
}

/// What an answer of `/backup` says it holds: up to which entry, and the bytes.
pub(crate) fn index_of(backup: &Answer) -> u64 {
    let name = backup.header("content-disposition");
    let stem = name.strip_suffix(".rkv\"");
    let index = stem.and_then(|stem| stem.rsplit('-').next()?.parse().ok());
    index.unwrap_or_else(|| panic!("no index in '{name}'"))
}

/// Downloads a backup into a file.
pub(crate) async fn download(client: &Client, path: &Path) -> u64 {
    let backup = client.get("/backup").await.expect(200);
    assert_eq!(
        backup.header("content-length"),
        backup.body.len().to_string()
    );
    fs::write(path, &backup.body).expect("write");
    index_of(&backup)
}

/// A cluster of one with the state of a backup, running.
pub(crate) async fn restored(file: &Path) -> Cluster {
    let mut cluster = Cluster::empty(&[]);
    let id = cluster.prepare();
    let exit = restore(file, &cluster.data_dir(id), id).await;
    ended(&exit, 0, &["next", "--data-dir"]);
    cluster.restart(id).await;
    cluster
}

/// Writes that many keys, in batches.
pub(crate) async fn fill(client: &Client, name: &str, keys: usize) {
    for batch in (0..keys).collect::<Vec<_>>().chunks(100) {
        let pairs: BTreeMap<String, String> = batch
            .iter()
            .map(|n| (format!("{name}-{n:06}"), format!("value {n}")))
            .collect();
        let body = serde_json::to_vec(&pairs).expect("plain data");
        client.act("/keys", body).await.expect(200);
    }
}

/// Changes one byte in the middle of a file.
pub(crate) fn flip(path: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path);
    let file = file.expect("open");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 0x10], at).expect("write");
}

/// Every file below a folder, with its content.
pub(crate) fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).expect("a file"));
        }
    }
    found
}

/// Copies a folder with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    for (path, content) in contents(from) {
        let target = to.join(path.strip_prefix(from).expect("below it"));
        fs::create_dir_all(target.parent().expect("a folder")).expect("create");
        fs::write(target, content).expect("write");
    }
}

/// The files of a folder that end so.
pub(crate) fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = contents(folder).into_keys().collect();
    found.retain(|path| path.extension() == Some(OsStr::new(extension)));
    found
}
