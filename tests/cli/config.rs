//! The configuration file, and `rkvd config`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use reqwest::Method;
use rkv_tests::wait::{GENEROUS, check, until};
use rkv_tests::{Client, Cluster, Exit, NodeSpec, Process};

use crate::{described, rkvd};

/// What a program returns that was told nonsense; the unit of systemd relies on it.
const REFUSED: Option<i32> = Some(2);

fn write(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("rkvd.toml");
    fs::write(&path, text).expect("write");
    path
}

/// The settings of a file, without the sources that stand behind them.
fn values(text: &str) -> BTreeMap<&str, &str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let setting = line.rsplit_once(" # ").map_or(line, |(setting, _)| setting);
            setting.split_once(" = ").expect("a setting")
        })
        .collect()
}

#[tokio::test]
async fn a_node_runs_with_its_file_where_no_flag_and_no_variable_says_otherwise() {
    let mut cluster = Cluster::empty(&[]);
    let id = cluster.prepare();
    let spec = cluster.node(id).spec();
    let file = write(
        cluster.folder(),
        &format!(
            "id = 42\ndata-dir = {:?}\nraft-addr = \"{}\"\nserver-addr = \"{}\"\n\
             max-key-bytes = 1\nmax-value-bytes = 1\nmax-body-bytes = 8\n",
            spec.data_dir, spec.raft_addr, spec.http_addr
        ),
    );
    let mut command = NodeSpec::bare_command();
    command
        .env("RKV_CONFIG", &file)
        .env("RKV_MAX_KEY_BYTES", "3")
        .env("RKV_MAX_VALUE_BYTES", "2")
        .args(["--max-value-bytes", "4"]);
    let log = cluster.folder().join("file.log");
    let process = Process::spawn(command, &log).expect("the daemon starts");
    let node = Client::new(spec.http_addr);
    until("the node serves", GENEROUS, async || {
        let written = node.try_send(Method::POST, "/keys/key?val=four", "").await;
        let written = written.map_err(|error| format!("{error}\n{}", process.log()))?;
        check(written.status == 200, || written.to_string())
    })
    .await;
    assert_eq!(node.stats().await.id, 42);
    let refused = node.post("/keys/long?val=x", "").await.problem(413);
    assert_eq!(refused.limit, Some(3), "the variable's");
    let refused = node.post("/keys/key?val=fives", "").await.problem(413);
    assert_eq!(refused.limit, Some(4), "the flag's");
    let refused = node.post("/keys", "{\"key\":\"four\"}").await.problem(413);
    assert_eq!(refused.limit, Some(8), "the file's");
    assert!(spec.data_dir.is_dir());
}

#[tokio::test]
async fn what_is_in_force_is_printed_as_a_file_that_means_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = write(
        folder.path(),
        "id = 7\njoin = ['a:1', 'b:2']\nkeep-entries = 5\n",
    );
    let exit = rkvd(
        &["config", "--log", "debug"],
        &[
            ("RKV_CONFIG", file.as_ref()),
            ("RKV_KEEP_ENTRIES", "6".as_ref()),
        ],
    )
    .await;
    let first = exit.log;
    for line in [
        format!("id = 7 # file {file:?}, line 1"),
        format!("join = [\"a:1\", \"b:2\"] # file {file:?}, line 2"),
        "keep-entries = 6 # environment variable RKV_KEEP_ENTRIES".to_owned(),
        "log = \"debug\" # flag".to_owned(),
        "data-dir = \"rkv-data/7\" # default, from id".to_owned(),
        "raft-advertise-addr = \"127.0.0.1:10001\" # default, from raft-addr".to_owned(),
        "heartbeat-ms = 100 # default".to_owned(),
    ] {
        assert!(
            first.lines().any(|it| it == line),
            "no '{line}' in:\n{first}"
        );
    }
    let again = described(&write(folder.path(), &first)).await;
    assert_eq!(values(&again), values(&first));
    assert_eq!(again.matches(" # file ").count(), values(&first).len());
}

async fn refused(file: &Path, words: &[&str]) {
    let data_dir = file.with_file_name("data");
    let node: [&OsStr; 4] = [
        "--config".as_ref(),
        file.as_ref(),
        "--data-dir".as_ref(),
        data_dir.as_ref(),
    ];
    let mut config: Vec<&OsStr> = vec!["config".as_ref()];
    config.extend(node);
    for arguments in [&node[..], &config] {
        let exit = rkvd(arguments, &[]).await;
        assert_eq!(exit.status.code(), REFUSED, "{}", exit.log);
        assert_eq!(exit.log.lines().count(), 1, "{}", exit.log);
        for word in words {
            assert!(exit.refusal().contains(word), "no '{word}' in {}", exit.log);
        }
        assert!(!data_dir.exists(), "something was started");
    }
}

#[tokio::test]
async fn a_file_that_is_wrong_is_refused_by_its_line_and_nothing_is_started() {
    let folder = tempfile::tempdir().expect("a folder");
    for (text, words) in [
        ("id = 1\nport = 7", ["rkvd.toml:2: ", "'port'"]),
        ("id = 1\nraft-addr = 7", ["rkvd.toml:2: ", "takes a string"]),
        ("id = 1\nkeep-entries = -1", ["rkvd.toml:2: ", "below 0"]),
        (
            "id = 1\n\nlog-format = 'x'",
            ["rkvd.toml:3: ", "auto, human, json"],
        ),
        ("id = 1\nid", ["rkvd.toml:2: ", "not TOML"]),
        ("id = 0", ["--id 0", "rkvd.toml\", line 1"]),
        (
            "id = 1\nheartbeat-ms = 400",
            ["a fifth", "rkvd.toml\", line 2"],
        ),
        (
            "id = 1\nraft-addr = '[::]:7'",
            ["--raft-advertise-addr", "line 2"],
        ),
    ] {
        refused(&write(folder.path(), text), &words).await;
    }
    let missing = folder.path().join("missing.toml");
    refused(&missing, &["missing.toml", "No such file"]).await;
}

#[tokio::test]
async fn tools_find_what_they_share_with_a_node_in_its_file() {
    let cluster = Cluster::start(1).await;
    let spec = cluster.node(1).spec();
    let text = format!(
        "id = 1\ndata-dir = {:?}\nserver-addr = \"{}\"\nsnapshot-entries = 7\n",
        spec.data_dir, spec.http_addr
    );
    let file = write(cluster.folder(), &text);
    let run = async |tool: &str| -> Exit { rkvd(&[tool], &[("RKV_CONFIG", file.as_ref())]).await };
    let health = run("health").await;
    assert!(health.status.success(), "{}", health.log);
    // The node is running there.
    for tool in ["verify", "recover"] {
        let exit = run(tool).await;
        assert_eq!(exit.status.code(), Some(2), "{}", exit.log);
        let folder = spec.data_dir.display().to_string();
        assert!(exit.log.contains(&folder), "{}", exit.log);
    }
    // One that shares nothing does not look at it.
    fs::write(&file, "nonsense").expect("write");
    let module = cluster.folder().join("module.wasm");
    let arguments: [&OsStr; 3] = ["fsm".as_ref(), "check".as_ref(), module.as_ref()];
    let exit = rkvd(&arguments, &[("RKV_CONFIG", file.as_ref())]).await;
    assert!(exit.log.contains("module.wasm"), "{}", exit.log);
    assert!(run("health").await.log.contains("rkvd.toml:1: "));
}
