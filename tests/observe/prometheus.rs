//! A real Prometheus, and its tool. Skipped where they are not installed: `hack/setup.sh --metrics`.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use reqwest::Method;
use rkv_tests::wait::{GENEROUS, check, until};
use rkv_tests::{Client, Cluster, Loopback, Process};
use serde_json::Value;

use crate::page::Page;

/// The path of a program, unless it is not there, which is printed.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path);
    let found = folders.find_map(|folder| {
        let program = folder.join(name);
        program.is_file().then_some(program)
    });
    if found.is_none() {
        eprintln!("SKIPPED: {name} is not installed: hack/setup.sh --metrics");
    }
    found
}

fn hack(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../hack")
        .join(folder)
}

fn run<I: AsRef<OsStr>>(program: &Path, arguments: &[I], input: &str) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_the_text() {
    let Some(promtool) = find("promtool") else {
        return;
    };
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    cluster.client(leader).put("checked", "x").await;
    for id in cluster.ids() {
        let page = Page::of(&cluster.client(id)).await;
        let checked = run(&promtool, &["check", "metrics"], &page.0);
        assert!(checked.status.success(), "{checked:?}\n{}", page.0);
        assert!(checked.stderr.is_empty(), "{checked:?}");
    }
}

#[test]
fn the_rules_are_sound_and_do_what_their_examples_say() {
    let Some(promtool) = find("promtool") else {
        return;
    };
    let folder = hack("prometheus");
    for arguments in [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "rkv.rules.yml"],
        ["test", "rules", "rkv.rules.test.yml"],
    ] {
        let mut command = Command::new(&promtool);
        let done = command.args(arguments).current_dir(&folder).output();
        let done = done.expect("promtool runs");
        assert!(done.status.success(), "{arguments:?}: {done:?}");
    }
}

/// A Prometheus of the test's own.
struct Server {
    // Before the folder: the process ends first.
    process: Process,
    client: Client,
    _folder: tempfile::TempDir,
}

impl Server {
    async fn start(program: &Path, cluster: &Cluster) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut loopback = Loopback::random();
        let addr = loopback.free().expect("a port");
        let targets: Vec<String> = cluster
            .ids()
            .into_iter()
            .map(|id| format!("'{}'", cluster.node(id).spec().http_addr))
            .collect();
        let config = folder.path().join("prometheus.yml");
        let rules = hack("prometheus/rkv.rules.yml");
        let text = format!(
            "global:\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\n  evaluation_interval: 200ms\n\
             rule_files: ['{}']\n\
             scrape_configs:\n  - job_name: rkv\n    static_configs:\n      - targets: [{}]\n",
            rules.display(),
            targets.join(", ")
        );
        fs::write(&config, text).expect("a file");
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={addr}"));
        let log = folder.path().join("prometheus.log");
        let process = Process::spawn(command, &log).expect("prometheus starts");
        let mut server = Self {
            process,
            client: Client::new(addr),
            _folder: folder,
        };
        until("prometheus is ready", GENEROUS, async || {
            assert!(server.process.is_running(), "{}", server.process.log());
            let answer = server.client.try_send(Method::GET, "/-/ready", "").await;
            let answer = answer.map_err(|error| error.to_string())?;
            check(answer.status == 200, || answer.to_string())
        })
        .await;
        server
    }

    async fn ask(&self, path: &str) -> Value {
        self.client.get(path).await.expect(200).json()
    }

    /// The values of a query, by instance.
    async fn query(&self, query: &str) -> Vec<(String, f64)> {
        let answer = self.ask(&format!("/api/v1/query?query={query}")).await;
        let rows = answer["data"]["result"].as_array().expect("rows").clone();
        let value = |row: &Value| row["value"][1].as_str()?.parse::<f64>().ok();
        let instance = |row: &Value| row["metric"]["instance"].as_str().unwrap_or("").to_owned();
        rows.iter()
            .map(|row| (instance(row), value(row).expect("a number")))
            .collect()
    }
}

#[tokio::test]
async fn prometheus_scrapes_three_nodes_and_has_nothing_to_alert() {
    let Some(prometheus) = find("prometheus") else {
        return;
    };
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    for number in 0..20 {
        cluster.client(leader).put(&format!("k{number}"), "x").await;
    }
    cluster.agree().await;
    let server = Server::start(&prometheus, &cluster).await;
    until("all three are up", GENEROUS, async || {
        let up = server.query("up").await;
        let all = up.len() == 3 && up.iter().all(|(_, up)| *up == 1.0);
        check(all, || format!("{up:?}\n{}", server.process.log()))
    })
    .await;
    let leads = server.query("rkv_raft_is_leader==1").await;
    let addr = cluster.node(leader).spec().http_addr.to_string();
    assert_eq!(leads, [(addr.clone(), 1.0)]);
    let commands = server.query("rkv_fsm_commands_total").await;
    assert_eq!(commands.len(), 3, "{commands:?}");
    assert!(
        commands.iter().all(|(_, count)| *count >= 20.0),
        "{commands:?}"
    );
    let trips = server
        .query("rkv_raft_peer_round_trip_seconds_count>0")
        .await;
    assert_eq!(trips.len(), 2, "{trips:?}");
    assert!(trips.iter().all(|(from, _)| *from == addr), "{trips:?}");

    // All rules once more, now that everything was scraped.
    let rules = async || server.ask("/api/v1/rules").await["data"]["groups"][0].clone();
    let before = rules().await["lastEvaluation"].clone();
    until("the rules were evaluated", GENEROUS, async || {
        let group = rules().await;
        let rules = group["rules"].as_array().cloned().unwrap_or_default();
        let done = !rules.is_empty() && rules.iter().all(|rule| rule["health"] == "ok");
        check(done && group["lastEvaluation"] != before, || {
            group.to_string()
        })
    })
    .await;
    let alerts = server.ask("/api/v1/alerts").await;
    assert_eq!(alerts["data"]["alerts"], Value::Array(Vec::new()));
}
