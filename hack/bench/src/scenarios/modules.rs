//! Switching the state machine, as an operator does.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::client::{Connection, Response};
use crate::guest_build;
use crate::node::Node;
use crate::wait;

/// A module that is not compiled everywhere by then never will be.
const COMPILED: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct ModuleView {
    module: String,
}

/// The part of `GET /fsm` that matters here.
#[derive(Deserialize)]
struct Overview {
    active: ModuleView,
    nodes: Vec<NodeView>,
}

#[derive(Deserialize)]
struct NodeView {
    ready: Vec<String>,
}

/// Builds the next version of the bundled store, an upgrade that can be taken back.
pub(crate) fn build_kv_v2(target_dir: &Path) -> Result<Vec<u8>> {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = bench.ancestors().nth(2).context("no workspace")?;
    guest_build::build(workspace, "rkv-kv-v2", &target_dir.join("bench-guest"))
        .map_err(anyhow::Error::msg)
}

/// The same component under another sha256: with a custom section more, which nothing reads.
pub(crate) fn variant(component: &[u8], number: u64) -> Vec<u8> {
    const NAME: &[u8] = b"rkv-bench";
    let content = number.to_le_bytes();
    // Lengths below 128 are one byte of LEB128.
    let size = (1 + NAME.len() + content.len()) as u8;
    [component, &[0, size, NAME.len() as u8], NAME, &content].concat()
}

/// Uploads a module and waits until every node has compiled it; its sha256.
pub(crate) async fn upload(leader: &Node, bytes: &[u8]) -> Result<String> {
    let mut connection = leader.connect().await?;
    let response = connection.post("/fsm/modules", bytes).await?;
    let uploaded: ModuleView = json("POST /fsm/modules", 201, &response)?;
    wait::until("every node has the module ready", COMPILED, async || {
        let nodes = overview(&mut connection).await?.nodes;
        let ready = |node: &NodeView| node.ready.contains(&uploaded.module);
        Ok(nodes.iter().all(ready).then_some(()))
    })
    .await?;
    Ok(uploaded.module)
}

/// The module that is the state machine now.
pub(crate) async fn active(leader: &Node) -> Result<String> {
    Ok(overview(&mut leader.connect().await?).await?.active.module)
}

/// A switch of the state machine: how long until it is answered.
pub(crate) async fn switch(leader: &Node, target: &str) -> Result<Duration> {
    let mut connection = leader.connect().await?;
    let start = Instant::now();
    let response = connection.post(target, b"").await?;
    let took = start.elapsed();
    let _: ModuleView = json(target, 200, &response)?;
    Ok(took)
}

async fn overview(connection: &mut Connection) -> Result<Overview> {
    json("GET /fsm", 200, &connection.get("/fsm").await?)
}

fn json<T: for<'de> Deserialize<'de>>(what: &str, status: u16, response: &Response) -> Result<T> {
    ensure!(
        response.status == status,
        "{what} answered {}",
        response.summary()
    );
    serde_json::from_slice(&response.body).with_context(|| format!("{what} is not as expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_has_one_section_more() {
        let one = variant(b"component", 1);
        assert!(one.starts_with(b"component\0\x12\x09rkv-bench\x01\0"));
        assert_eq!(one.len(), "component".len() + 2 + 0x12);
        assert_ne!(one, variant(b"component", 2));
    }
}
