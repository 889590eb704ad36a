//! `/fsm`: which module is the state machine, and how to change that.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;

use super::ApiState;
use super::problem::Problem;
use super::redirect::Failed;
use super::request::{query_text, read_body};
use crate::config::MAX_MODULE_BYTES;
use crate::raft::{ActivateRequest, DryRun, ModuleInfo};
use crate::types::{Description, Limits, LogIndex, ModuleId, NodeId, StateSource};

const WASM: &str = "application/wasm";

pub(super) fn routes() -> Router<Arc<ApiState>> {
    Router::new()
        .route("/fsm", get(overview))
        .route("/fsm/modules", get(list).post(upload))
        .route("/fsm/modules/{id}", get(inspect).delete(remove))
        .route("/fsm/modules/{id}/dry-run", post(dry_run))
        .route("/fsm/activate", post(activate))
        .route("/fsm/rollback", post(roll_back))
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

#[derive(Serialize)]
struct NodeView {
    id: NodeId,
    reachable: bool,
    ready: Vec<ModuleId>,
    memory_bytes: u64,
    traps: u64,
}

#[derive(Serialize)]
struct Overview {
    active: Option<ActiveView>,
    history: Vec<ActiveView>,
    engine_fingerprint: ModuleId,
    nodes: Vec<NodeView>,
}

async fn overview(State(api): State<Arc<ApiState>>) -> Json<Overview> {
    let (active, history) = api.consensus.active_and_history();
    let view = |active: crate::raft::ActiveModule| ActiveView {
        module: active.module,
        since: active.since,
        limits: active.limits,
        description: active.description,
    };
    let nodes = api.consensus.cluster_status().await.into_iter();
    let node = |node: crate::raft::ClusterStatus| {
        let fsm = node.stats.map(|stats| stats.fsm);
        NodeView {
            id: node.id,
            reachable: node.reachable,
            memory_bytes: fsm.as_ref().map_or(0, |fsm| fsm.memory_bytes),
            traps: fsm.as_ref().map_or(0, |fsm| fsm.traps),
            ready: fsm.map_or(Vec::new(), |fsm| fsm.ready),
        }
    };
    Json(Overview {
        active: active.map(view),
        history: history.into_iter().map(view).collect(),
        engine_fingerprint: ModuleId(api.consensus.fingerprint()),
        nodes: nodes.map(node).collect(),
    })
}

async fn list(State(api): State<Arc<ApiState>>) -> Json<Vec<ModuleInfo>> {
    Json(api.consensus.modules())
}

async fn upload(State(api): State<Arc<ApiState>>, body: Body) -> Result<Response, Failed> {
    api.consensus.expect_leader()?;
    let limit = usize::try_from(MAX_MODULE_BYTES).unwrap_or(usize::MAX);
    let bytes = read_body(body, "the module in bytes", limit).await?;
    let consensus = Arc::clone(&api.consensus);
    let upload = async move { consensus.upload_module(bytes).await };
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
    Ok(Json(api.consensus.dry_run(module_id(&id)?).await?))
}

/// What a switch of the state machine answers.
#[derive(Serialize)]
struct Activated {
    module: ModuleId,
    index: Option<LogIndex>,
}

async fn activate(
    State(api): State<Arc<ApiState>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Activated>, Failed> {
    let request = activate_request(query.as_deref())?;
    let module = request.module;
    let consensus = Arc::clone(&api.consensus);
    let switch = async move { consensus.activate_module(request).await };
    api.finish("activate", switch).await?;
    Ok(Json(activated(&api, module)))
}

async fn roll_back(State(api): State<Arc<ApiState>>) -> Result<Json<Activated>, Failed> {
    api.consensus.expect_leader()?;
    let consensus = Arc::clone(&api.consensus);
    let switch = async move { consensus.roll_back().await };
    let module = api.finish("rollback", switch).await?;
    Ok(Json(activated(&api, module)))
}

fn activated(api: &ApiState, module: ModuleId) -> Activated {
    let (active, _) = api.consensus.active_and_history();
    let index = active
        .filter(|active| active.module == module)
        .map(|active| active.since);
    Activated { module, index }
}

fn activate_request(query: Option<&str>) -> Result<ActivateRequest, Problem> {
    let module = query_text(query, "module")?;
    let module = module.ok_or_else(|| Problem::bad_request("which module? ?module={sha256}"))?;
    let expect = query_text(query, "expect")?
        .map(|text| module_id(&text))
        .transpose()?;
    let state = match query_text(query, "state")?.as_deref() {
        None | Some("migrate") => StateSource::Migrate,
        Some("reset") => StateSource::Reset,
        Some(other) => {
            let detail = format!("`{other}` is not a state: migrate (the default) or reset");
            return Err(Problem::bad_request(detail));
        }
    };
    let memory_mb = number(query, "memory_mb")?;
    let fuel = number(query, "fuel")?;
    if memory_mb.is_some_and(|mb| mb > Limits::DEFAULT.memory_bytes >> 20) {
        return Err(Problem::bad_request(
            "a module has at most 4096 MiB of memory",
        ));
    }
    let limits = (memory_mb.is_some() || fuel.is_some()).then(|| Limits {
        memory_bytes: memory_mb.map_or(Limits::DEFAULT.memory_bytes, |mb| mb << 20),
        fuel_per_entry: fuel.unwrap_or(Limits::DEFAULT.fuel_per_entry),
        ..Limits::DEFAULT
    });
    Ok(ActivateRequest {
        module: module_id(&module)?,
        expect,
        limits,
        state,
    })
}

fn number(query: Option<&str>, name: &str) -> Result<Option<u64>, Problem> {
    let Some(text) = query_text(query, name)? else {
        return Ok(None);
    };
    match text.parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(Problem::bad_request(format!(
            "{name} is a number from 1 on, not `{text}`"
        ))),
    }
}

fn module_id(text: &str) -> Result<ModuleId, Problem> {
    text.parse()
        .map_err(|error| Problem::bad_request(format!("`{text}`: {error}")))
}
