//! What makes a start fail, and where flags come from.

use std::net::TcpListener;

use rkv_tests::wait::{GENEROUS, check, until};
use rkv_tests::{Client, Cluster, NodeSpec, Process};

#[tokio::test]
async fn a_port_in_use_is_refused_by_its_address() {
    let mut cluster = Cluster::empty(&[]);
    let id = cluster.prepare();
    let spec = cluster.node(id).spec().clone();
    for address in [spec.raft_addr, spec.http_addr] {
        let _taken = TcpListener::bind(address).expect("free until now");
        cluster.node_mut(id).start();
        let exit = cluster.node_mut(id).exit(GENEROUS).await;
        assert!(
            exit.refusal().contains(&address.to_string()),
            "{}",
            exit.refusal()
        );
    }
    cluster.node_mut(id).start();
    cluster.ready().await;
}

#[tokio::test]
async fn a_state_machine_that_cannot_be_loaded_is_refused_by_its_path() {
    let mut cluster = Cluster::empty(&[]);
    let id = cluster.prepare();
    let file = cluster.folder().join("machine.wasm");
    let path = file.display().to_string();
    cluster.node_mut(id).spec_mut().flags = vec!["--fsm".to_owned(), path.clone()];

    cluster.node_mut(id).start();
    let exit = cluster.node_mut(id).exit(GENEROUS).await;
    assert!(
        exit.refusal().contains(&path),
        "missing: {}",
        exit.refusal()
    );

    std::fs::write(&file, "not a component").expect("write");
    cluster.node_mut(id).start();
    let exit = cluster.node_mut(id).exit(GENEROUS).await;
    assert!(
        exit.refusal().contains(&path),
        "garbage: {}",
        exit.refusal()
    );
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_refused() {
    let contradictions = [
        [
            "--election-timeout-min-ms",
            "500",
            "--election-timeout-max-ms",
            "400",
        ],
        ["--election-timeout-min-ms", "500", "--heartbeat-ms", "600"],
    ];
    for flags in contradictions {
        let mut cluster = Cluster::empty(&flags);
        let id = cluster.prepare();
        cluster.node_mut(id).start();
        let exit = cluster.node_mut(id).exit(GENEROUS).await;
        exit.refusal();
    }
}

#[tokio::test]
async fn flags_may_come_from_the_environment() {
    let mut cluster = Cluster::empty(&[]);
    let id = cluster.prepare();
    let spec = cluster.node(id).spec();
    let mut command = NodeSpec::bare_command();
    command
        .env("RKV_ID", "42")
        .env("RKV_DATA_DIR", &spec.data_dir)
        .env("RKV_RAFT_ADDR", spec.raft_addr.to_string())
        .env("RKV_SERVER_ADDR", spec.http_addr.to_string())
        .env("RKV_MAX_VALUE_BYTES", "4");
    let log = cluster.folder().join("environment.log");
    let process = Process::spawn(command, &log).expect("the daemon starts");
    let node = Client::new(spec.http_addr);
    until("the node serves", GENEROUS, async || {
        let written = node
            .try_send(reqwest::Method::POST, "/keys/env?val=four", "")
            .await;
        let written = written.map_err(|error| format!("{error}\n{}", process.log()))?;
        check(written.status == 200, || written.to_string())
    })
    .await;
    assert_eq!(node.stats().await.id, 42);
    assert_eq!(
        node.post("/keys/env?val=fives", "")
            .await
            .problem(413)
            .limit,
        Some(4)
    );
    assert!(spec.data_dir.is_dir());
}

#[tokio::test]
async fn the_data_directory_is_named_by_the_id_in_the_current_folder() {
    let mut cluster = Cluster::empty(&[]);
    let id = cluster.prepare();
    let spec = cluster.node(id).spec();
    let mut command = NodeSpec::bare_command();
    command.current_dir(cluster.folder()).args(["--id", "7"]);
    command.args(["--raft-addr", &spec.raft_addr.to_string()]);
    command.args(["--server-addr", &spec.http_addr.to_string()]);
    let log = cluster.folder().join("default.log");
    let process = Process::spawn(command, &log).expect("the daemon starts");
    let directory = cluster.folder().join("rkv-data/7");
    until("the data directory is there", GENEROUS, async || {
        check(directory.is_dir(), || process.log())
    })
    .await;
}
