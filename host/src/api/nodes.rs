//! `/nodes/{id}`: adding and removing members.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::routing::{delete, post};

use super::ApiState;
use super::problem::Problem;
use super::redirect::Failed;
use super::request::query_text;
use super::routes::Routes;
use crate::config::is_host_port;
use crate::types::NodeId;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/nodes/{id}", post(add).delete(remove))
        .route("/node/{id}", post(add).delete(remove))
        .route("/join/{id}", delete(remove))
}

async fn add(
    State(api): State<Arc<ApiState>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<StatusCode, Failed> {
    let (id, addr) = (node_id(&id)?, raft_addr(query.as_deref())?);
    let consensus = Arc::clone(&api.consensus);
    let added = async move { consensus.add_node(id, addr).await };
    api.finish("add-node", added).await?;
    Ok(StatusCode::OK)
}

async fn remove(
    State(api): State<Arc<ApiState>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<StatusCode, Failed> {
    let (id, addr) = (node_id(&id)?, raft_addr(query.as_deref())?);
    let force = is_forced(query.as_deref())?;
    let consensus = Arc::clone(&api.consensus);
    let removed = async move { consensus.remove_node(id, &addr, force).await };
    api.finish("remove-node", removed).await?;
    Ok(StatusCode::OK)
}

pub(super) fn is_forced(query: Option<&str>) -> Result<bool, Problem> {
    match query_text(query, "force")?.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(Problem::bad_request(format!(
            "force is true or false (the default), not `{other}`"
        ))),
    }
}

pub(super) fn node_id(text: &str) -> Result<NodeId, Problem> {
    text.parse()
        .map_err(|_| Problem::bad_request(format!("`{text}` is not a node id: 1, 2, 3 ...")))
}

pub(super) fn raft_addr(query: Option<&str>) -> Result<String, Problem> {
    match query_text(query, "addr")? {
        Some(addr) if is_host_port(&addr) => Ok(addr),
        Some(addr) => Err(Problem::bad_request(format!("`{addr}` is not HOST:PORT"))),
        None => Err(Problem::bad_request(
            "the raft address of the node is missing: ?addr=HOST:PORT",
        )),
    }
}
