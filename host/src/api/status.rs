//! `/health`, `/servers`, `/stats`, `/state`: what a node and its cluster look like.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;

use super::ApiState;
use super::problem::Problem;
use super::redirect::Failed;
use super::request::query_text;
use super::routes::Routes;
use crate::raft::{ClusterStatus, NodeStatus, ProposeError, ReadError, ServerStatus};

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/health", get(health))
        .route("/servers", get(servers))
        .route("/stats", get(stats))
        .route("/state", get(state))
}

async fn health(State(api): State<Arc<ApiState>>) -> Result<&'static str, Failed> {
    if let Some(reason) = api.consensus.stopped() {
        return Err(ProposeError::Stopped(reason).into());
    }
    match api.consensus.quarantine() {
        None => Ok("health"),
        Some(reason) => Err(ReadError::Quarantined(reason).into()),
    }
}

async fn servers(State(api): State<Arc<ApiState>>) -> Json<Vec<ServerStatus>> {
    Json(api.consensus.servers())
}

async fn state(State(api): State<Arc<ApiState>>) -> &'static str {
    api.consensus.role().name()
}

#[derive(Serialize)]
struct Cluster {
    nodes: Vec<ClusterStatus>,
}

async fn stats(
    State(api): State<Arc<ApiState>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failed> {
    match query_text(query.as_deref(), "scope")?.as_deref() {
        None | Some("node") => {
            let stats: NodeStatus = api.consensus.status();
            Ok((StatusCode::OK, Json(stats)).into_response())
        }
        Some("cluster") => {
            let nodes = api.cluster_status().await?;
            Ok((StatusCode::OK, Json(Cluster { nodes })).into_response())
        }
        Some(scope) => Err(Problem::bad_request(format!(
            "`{scope}` is not a scope: node (the default) or cluster"
        ))
        .into()),
    }
}
