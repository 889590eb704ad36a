//! `/livez`, `/readyz` and `rkvd health`.

use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};

use rkv_tests::wait::{GENEROUS, check, until};
use rkv_tests::{Client, Cluster, NodeSpec};

/// `rkvd health` of one node.
fn health(addr: SocketAddr, flags: &[&str]) -> Command {
    let mut command = NodeSpec::bare_command();
    command
        .args(["health", "--server-addr", &addr.to_string()])
        .args(flags)
        .stdin(Stdio::null());
    command
}

async fn run(mut command: Command) -> Output {
    let done = tokio::task::spawn_blocking(move || command.output()).await;
    done.expect("no panic").expect("rkvd runs")
}

/// The names in a verbose answer, in their order, and whether each is well.
fn checks(text: &str) -> Vec<(&str, bool)> {
    let named = |line: &'_ str| {
        let (mark, rest) = line.split_at_checked(3)?;
        let well = match mark {
            "[+]" => true,
            "[-]" => false,
            _ => return None,
        };
        Some((rest.find(' ')?, well))
    };
    text.lines()
        .filter_map(|line| named(line).map(|(length, well)| (&line[3..3 + length], well)))
        .collect()
}

#[tokio::test]
async fn a_node_that_is_well_passes_every_check() {
    let cluster = Cluster::start(3).await;
    for id in cluster.ids() {
        let node = cluster.client(id);
        for path in ["/livez", "/readyz"] {
            assert_eq!(node.get(path).await.expect(200).text(), "ok\n");
        }
        let verbose = node.get("/readyz?verbose").await.expect(200);
        let names = [
            "running",
            "fsm_thread",
            "log_writer",
            "leader",
            "quorum",
            "applied",
            "disk",
            "module",
            "digest",
            "voter",
        ];
        assert_eq!(checks(verbose.text()), names.map(|name| (name, true)));
        let verbose = node.get("/livez?verbose").await.expect(200);
        let live = ["running", "fsm_thread", "log_writer"];
        assert_eq!(checks(verbose.text()), live.map(|name| (name, true)));
    }
}

#[tokio::test]
async fn a_check_that_does_not_exist_is_refused_with_those_that_do() {
    let cluster = Cluster::start(1).await;
    let node = cluster.client(1);
    let problem = node
        .get("/readyz?exclude=quorum&exclude=disc")
        .await
        .problem(400);
    assert!(problem.detail.contains("`disc`"), "{problem:?}");
    assert!(problem.detail.contains("disk"), "{problem:?}");
    node.get("/livez?exclude=quorum").await.problem(400);
    let excluded = node.get("/readyz?exclude=quorum&verbose").await.expect(200);
    assert!(
        excluded.text().contains("[+]quorum excluded: ok\n"),
        "{excluded}"
    );
}

async fn failing(node: &Client, wanted: &[&str]) {
    until("the checks fail that should", GENEROUS, async || {
        let answer = node.get("/readyz?verbose").await;
        let failing: Vec<&str> = checks(answer.text())
            .into_iter()
            .filter_map(|(name, well)| (!well).then_some(name))
            .collect();
        check(answer.status == 503 && failing == wanted, || {
            answer.to_string()
        })
    })
    .await;
}

/// A restart would not bring the others back, so the node is alive all the same.
#[tokio::test]
async fn a_node_without_its_quorum_is_not_ready_and_says_why() {
    let mut cluster = Cluster::start(3).await;
    let survivor = cluster.leader().await;
    let addr = cluster.node(survivor).spec().http_addr;
    let ready = run(health(addr, &[])).await;
    assert_eq!(ready.status.code(), Some(0), "{ready:?}");
    let said = String::from_utf8_lossy(&ready.stdout).into_owned();
    assert_eq!(said, format!("{addr} is ready\n"));

    let others: Vec<u64> = cluster
        .ids()
        .into_iter()
        .filter(|&id| id != survivor)
        .collect();
    cluster.kill_together(&others);
    let node = cluster.client(survivor);
    until("the node is not ready", GENEROUS, async || {
        let answer = node.get("/readyz").await;
        let named = answer.text().contains("[-]quorum failed: ");
        check(answer.status == 503 && named, || answer.to_string())
    })
    .await;
    assert_eq!(node.get("/livez").await.expect(200).text(), "ok\n");
    let rest = "/readyz?exclude=leader&exclude=quorum";
    assert_eq!(node.get(rest).await.expect(200).text(), "ok\n");
    let unready = run(health(addr, &[])).await;
    assert_eq!(unready.status.code(), Some(1), "{unready:?}");
    let said = String::from_utf8_lossy(&unready.stderr).into_owned();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("quorum failed"), "{said}");
    let alive = run(health(addr, &["--live"])).await;
    assert_eq!(alive.status.code(), Some(0), "{alive:?}");

    for id in others {
        cluster.node_mut(id).start();
    }
    cluster.ready().await;
    assert_eq!(node.get("/readyz").await.expect(200).text(), "ok\n");
}

/// Also when whoever accepts the connection never answers: the node is stopped in its tracks.
#[tokio::test]
async fn a_health_check_of_a_node_that_hangs_ends_in_time() {
    let cluster = Cluster::start(1).await;
    let addr = cluster.node(1).spec().http_addr;
    cluster.node(1).pause();
    let hung = run(health(addr, &["--timeout-ms", "300"])).await;
    cluster.node(1).resume();
    assert_eq!(hung.status.code(), Some(1), "{hung:?}");
    let said = String::from_utf8_lossy(&hung.stderr).into_owned();
    assert!(said.contains("nothing within 300ms"), "{said}");
}

/// The log cannot be written any more, and that a restart may mend.
#[tokio::test]
async fn a_node_that_cannot_write_is_neither_ready_nor_alive() {
    let mut cluster = Cluster::start(2).await;
    let failing_id = {
        let id = cluster.prepare();
        let node = cluster.node_mut(id);
        // It joins, catches up, and is a voter before its disk fails.
        node.spec_mut().failpoints = Some("log-write-fails=60*off->return".to_owned());
        node.start();
        id
    };
    cluster.ready().await;
    let writer = cluster.client(1);
    let node = cluster.client(failing_id);
    let mut number = 0;
    until("its log has failed", GENEROUS, async || {
        number += 1;
        let path = format!("/keys/k{number}?val=x");
        let _ = writer.try_follow(reqwest::Method::POST, &path, "").await;
        let answer = node.get("/livez").await;
        check(answer.status == 503, || answer.to_string())
    })
    .await;
    let answer = node.get("/livez").await.expect(503);
    assert!(answer.text().contains("[-]running failed: "), "{answer}");
    let answer = node.get("/readyz").await.expect(503);
    assert!(answer.text().contains("[-]disk failed: "), "{answer}");
}

/// A member that has not been promoted answers for no quorum: `voter` tells it from the others.
#[tokio::test]
async fn a_node_that_nobody_took_in_is_not_ready() {
    let mut cluster = Cluster::start(1).await;
    let id = cluster.prepare();
    let nobody = cluster.node(id).spec().raft_addr;
    cluster.node_mut(id).spec_mut().join = vec![nobody];
    cluster.node_mut(id).start();
    let node = cluster.client(id);
    until("it answers", GENEROUS, async || {
        let answer = node.try_send(reqwest::Method::GET, "/livez", "").await;
        answer.map(|_| ()).map_err(|error| error.to_string())
    })
    .await;
    failing(&node, &["leader", "quorum", "module", "voter"]).await;
    assert_eq!(node.get("/livez").await.expect(200).text(), "ok\n");
}
