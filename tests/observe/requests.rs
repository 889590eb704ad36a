//! The id of a request, from its answer to the logs.

use reqwest::Method;
use rkv_tests::wait::{GENEROUS, check, until};
use rkv_tests::{Client, Cluster};
use serde_json::Value;

const DEBUG: &[&str] = &["--log", "info,rkv_host=debug"];

/// The lines of a node's log that are JSON and pass.
fn lines(cluster: &Cluster, id: u64, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let log = cluster.node(id).log();
    let parsed = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    parsed.filter(wanted).collect()
}

fn http() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client")
}

async fn named(cluster: &Cluster, id: u64, path: &str, name: &str) -> reqwest::Response {
    let url = format!("http://{}{path}", cluster.node(id).spec().http_addr);
    let request = http().post(url).header("X-Request-Id", name);
    request.send().await.expect("an answer")
}

fn id_of(response: &reqwest::Response) -> String {
    let id = response.headers().get("x-request-id").expect("an id");
    id.to_str().expect("text").to_owned()
}

#[tokio::test]
async fn a_request_that_its_client_named_is_found_on_every_node() {
    let mut cluster = Cluster::start_with(3, DEBUG).await;
    let leader = cluster.leader().await;
    let answer = named(&cluster, leader, "/keys/followed?val=x", "order-66").await;
    assert_eq!(
        (answer.status().as_u16(), id_of(&answer).as_str()),
        (200, "order-66")
    );
    for id in cluster.ids() {
        until("the command is in the log", GENEROUS, async || {
            let applied = lines(&cluster, id, |line| {
                line["request_id"] == "order-66" && line["message"] == "applied a command"
            });
            check(applied.len() == 1, || format!("node {id}: {applied:?}"))
        })
        .await;
    }
    let answered = lines(&cluster, leader, |line| {
        line["request_id"] == "order-66" && line["message"] == "answered"
    });
    assert_eq!(answered[0]["route"], "/keys/{key}", "{answered:?}");
    assert_eq!(answered[0]["status"], 200, "{answered:?}");
    // What was written is no business of the log.
    assert!(!cluster.node(leader).log().contains("/keys/followed"));
}

#[tokio::test]
async fn a_request_without_a_name_gets_one_and_is_followed_by_its_index() {
    let mut cluster = Cluster::start_with(3, DEBUG).await;
    let leader = cluster.leader().await;
    let client: Client = cluster.client(leader);
    let answer = client
        .send(Method::POST, "/keys/made?val=x", "")
        .await
        .expect(200);
    let made = answer.header("x-request-id").to_owned();
    let proposed = lines(&cluster, leader, |line| {
        line["request_id"] == made && line["index"].is_u64()
    });
    let index = proposed[0]["index"].clone();
    for id in cluster.ids() {
        until("the command is in the log", GENEROUS, async || {
            let applied = lines(&cluster, id, |line| {
                line["index"] == index && line["message"] == "applied a command"
            });
            check(applied.len() == 1, || format!("node {id}: {applied:?}"))
        })
        .await;
    }
    let again = client
        .send(Method::POST, "/keys/made?val=y", "")
        .await
        .expect(200);
    assert_ne!(again.header("x-request-id"), made);
}

#[tokio::test]
async fn a_problem_tells_the_id_and_one_that_is_unfit_is_replaced() {
    let cluster = Cluster::start(1).await;
    let long = "x".repeat(65);
    for (given, kept) in [("a-b.c/d", true), (long.as_str(), false), ("a b", false)] {
        let answer = named(&cluster, 1, "/keys/both?val=x&consistency", given).await;
        assert_eq!(id_of(&answer) == given, kept);
        let answer = named(&cluster, 1, "/nowhere", given).await;
        let id = id_of(&answer);
        let problem: Value = serde_json::from_slice(&answer.bytes().await.expect("a body"))
            .expect("a problem document");
        assert_eq!(problem["request_id"], id.as_str(), "{problem}");
        assert_eq!(id == given, kept);
    }
}

/// For people where somebody asks for that, although the output is a file here.
#[tokio::test]
async fn logs_are_json_in_a_file_unless_they_are_asked_to_be_for_people() {
    let json = Cluster::start(1).await;
    let log = json.node(1).log();
    let lines = log.lines().map(serde_json::from_str::<Value>);
    assert!(lines.clone().count() > 0);
    assert!(lines.into_iter().all(|line| line.is_ok()), "{log}");
    let human = Cluster::start_with(1, &["--log-format", "human"]).await;
    let log = human.node(1).log();
    assert!(
        log.contains(" INFO rkv_host::node::running: ready"),
        "{log}"
    );
    assert!(!log.contains('\u{1b}'), "{log}");
}
