//! The components that these tests load, built on first use into a folder that stays.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use rkv_tests::wait::{GENEROUS, check, until};
use rkv_tests::{Client, Cluster};
use serde::Deserialize;

use crate::guest_build;

fn build(package: &str) -> Bytes {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest");
    let built = guest_build::build(workspace.expect("the workspace"), package, &target_dir);
    built.unwrap_or_else(|error| panic!("{error}")).into()
}

/// `fsm-guest/kv-v2`: reads the state of the bundled store, and the bundled store reads its.
pub(crate) fn kv_v2() -> Bytes {
    static MODULE: OnceLock<Bytes> = OnceLock::new();
    MODULE.get_or_init(|| build("rkv-kv-v2")).clone()
}

/// `fsm-guest/examples/ledger`: no key-value store, and reads no state but its own.
pub(crate) fn ledger() -> Bytes {
    static MODULE: OnceLock<Bytes> = OnceLock::new();
    MODULE.get_or_init(|| build("rkv-example-ledger")).clone()
}

/// `fsm-guest/examples/lock`: leases, which emit what becomes of them.
pub(crate) fn lock() -> Bytes {
    static MODULE: OnceLock<Bytes> = OnceLock::new();
    MODULE.get_or_init(|| build("rkv-example-lock")).clone()
}

/// `fsm-guest/faulty`: fails as it is told.
pub(crate) fn faulty() -> Bytes {
    static MODULE: OnceLock<Bytes> = OnceLock::new();
    MODULE.get_or_init(|| build("rkv-faulty")).clone()
}

#[derive(Debug, Deserialize)]
pub(crate) struct ModuleView {
    pub(crate) module: String,
    pub(crate) size: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ActiveView {
    pub(crate) module: String,
    pub(crate) name: String,
    pub(crate) schema: u32,
    pub(crate) since: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PreviousView {
    pub(crate) module: String,
    pub(crate) commands_since: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct NodeView {
    pub(crate) id: u64,
    pub(crate) ready: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Fsm {
    pub(crate) active: ActiveView,
    pub(crate) history: Vec<ActiveView>,
    pub(crate) previous: Option<PreviousView>,
    pub(crate) nodes: Vec<NodeView>,
}

pub(crate) async fn fsm(client: &Client) -> Fsm {
    client.get("/fsm").await.expect(200).json()
}

/// Uploads a module to the leader and waits until every running node has it ready.
pub(crate) async fn upload(cluster: &mut Cluster, bytes: Bytes) -> ModuleView {
    let leader = cluster.leader().await;
    let size = bytes.len() as u64;
    let answer = cluster.client(leader).post("/fsm/modules", bytes).await;
    let view: ModuleView = answer.expect(201).json();
    assert_eq!(view.size, size);
    ready(cluster, &view.module, GENEROUS).await;
    view
}

/// Waits until every running node has a module ready.
pub(crate) async fn ready(cluster: &mut Cluster, module: &String, deadline: Duration) {
    let leader = cluster.leader().await;
    let running = cluster.running();
    until("every node has the module ready", deadline, async || {
        let fsm = fsm(&cluster.client(leader)).await;
        let is_ready = |id: &u64| {
            fsm.nodes
                .iter()
                .any(|node| node.id == *id && node.ready.contains(module))
        };
        check(running.iter().all(is_ready), || format!("{:?}", fsm.nodes))
    })
    .await;
}
