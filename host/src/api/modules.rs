//! `/fsm` and `/fsm/modules`: which module is the state machine, and which others there are.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde::Serialize;

use super::ApiState;
use super::problem::Problem;
use super::redirect::Failed;
use super::routes::Routes;
use crate::raft::{DryRun, ModuleInfo};
use crate::types::{Description, Limits, LogIndex, ModuleId, NodeId};

const WASM: &str = "application/wasm";

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/fsm", get(overview))
        .route("/fsm/modules", get(list).post(upload))
        .route("/fsm/modules/{id}", get(inspect).delete(remove))
        .route("/fsm/modules/{id}/dry-run", post(dry_run))
        .route("/fsm/previous", delete(drop_previous))
}

/// One state machine of the cluster's, past or present.
#[derive(Serialize)]
struct ActiveView {
    module: ModuleId,
    since: LogIndex,
    limits: Limits,
    #[serde(flatten)]
    description: Description,
}

/// The state that a rollback with `state=previous` goes back to.
#[derive(Serialize)]
struct PreviousView {
    module: ModuleId,
    until: LogIndex,
    bytes: u64,
    commands_since: u64,
}

#[derive(Serialize)]
struct NodeView {
    id: NodeId,
    reachable: bool,
    ready: Vec<ModuleId>,
    memory_bytes: u64,
    traps: u64,
    quarantine: Option<String>,
}

#[derive(Serialize)]
struct Overview {
    active: Option<ActiveView>,
    history: Vec<ActiveView>,
    previous: Option<PreviousView>,
    engine_fingerprint: ModuleId,
    nodes: Vec<NodeView>,
}

async fn overview(State(api): State<Arc<ApiState>>) -> Result<Json<Overview>, Failed> {
    let (active, history) = api.consensus.active_and_history();
    let view = |active: crate::raft::ActiveModule| ActiveView {
        module: active.module,
        since: active.since,
        limits: active.limits,
        description: active.description,
    };
    let nodes = api.cluster_status().await?.into_iter();
    let node = |node: crate::raft::ClusterStatus| {
        let fsm = node.stats.map(|stats| stats.fsm);
        NodeView {
            id: node.id,
            reachable: node.reachable,
            memory_bytes: fsm.as_ref().map_or(0, |fsm| fsm.memory_bytes),
            traps: fsm.as_ref().map_or(0, |fsm| fsm.traps),
            quarantine: fsm.as_ref().and_then(|fsm| fsm.quarantine.clone()),
            ready: fsm.map_or(Vec::new(), |fsm| fsm.ready),
        }
    };
    let commands = api.consensus.commands_so_far();
    let previous = |previous: crate::raft::Previous| PreviousView {
        module: previous.active.module,
        until: previous.until,
        bytes: previous.bytes,
        commands_since: commands.saturating_sub(previous.commands),
    };
    Ok(Json(Overview {
        active: active.map(view),
        history: history.into_iter().map(view).collect(),
        previous: api.consensus.previous().map(previous),
        engine_fingerprint: ModuleId(api.consensus.fingerprint()),
        nodes: nodes.map(node).collect(),
    }))
}

async fn list(State(api): State<Arc<ApiState>>) -> Json<Vec<ModuleInfo>> {
    Json(api.consensus.modules())
}

async fn upload(State(api): State<Arc<ApiState>>, body: Body) -> Result<Response, Failed> {
    api.consensus.expect_leader()?;
    let limit = api.limits.max_module_bytes;
    let module = api.bodies.read(body, "the module in bytes", limit).await?;
    let consensus = Arc::clone(&api.consensus);
    let upload = async move { consensus.upload_module(module.bytes.clone()).await };
    let (info, is_new) = api.finish("upload", upload).await?;
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(info)).into_response())
}

async fn inspect(
    State(api): State<Arc<ApiState>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    let module = module_id(&id)?;
    let wants_bytes = headers
        .get(header::ACCEPT)
        .is_some_and(|accept| accept == WASM);
    if wants_bytes {
        let bytes = api.consensus.module_bytes(module).await?;
        return Ok(([(header::CONTENT_TYPE, WASM)], bytes).into_response());
    }
    let known = api
        .consensus
        .modules()
        .into_iter()
        .find(|info| info.module == module);
    let info = known.ok_or(crate::raft::ModuleCallError::Unknown(module))?;
    Ok(Json(info).into_response())
}

async fn remove(
    State(api): State<Arc<ApiState>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Failed> {
    api.consensus.remove_module(module_id(&id)?).await?;
    Ok(StatusCode::OK)
}

async fn dry_run(
    State(api): State<Arc<ApiState>>,
    Path(id): Path<String>,
) -> Result<Json<DryRun>, Failed> {
    Ok(Json(api.dry_run(module_id(&id)?).await?))
}

async fn drop_previous(State(api): State<Arc<ApiState>>) -> Result<StatusCode, Failed> {
    api.consensus.drop_previous().await?;
    Ok(StatusCode::OK)
}

pub(super) fn module_id(text: &str) -> Result<ModuleId, Problem> {
    text.parse()
        .map_err(|error| Problem::bad_request(format!("`{text}`: {error}")))
}
