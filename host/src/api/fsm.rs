//! `/fsm/apply` and `/fsm/query`: raw bytes for any module.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::routing::post;
use bytes::Bytes;

use super::ApiState;
use super::redirect::Failed;
use super::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/fsm/apply", post(apply))
        .route("/fsm/query", post(query))
}

async fn apply(State(api): State<Arc<ApiState>>, body: Body) -> Result<Bytes, Failed> {
    api.expect_module().await?;
    api.consensus.expect_leader()?;
    let limit = api.limits.max_body_bytes;
    let command = api.bodies.read(body, "the command in bytes", limit).await?;
    Ok(api.consensus.propose(command.bytes.clone()).await?)
}

async fn query(
    State(api): State<Arc<ApiState>>,
    RawQuery(parameters): RawQuery,
    body: Body,
) -> Result<Bytes, Failed> {
    api.expect_module().await?;
    let limit = api.limits.max_body_bytes;
    let query = api.bodies.read(body, "the query in bytes", limit).await?;
    api.ask(parameters.as_deref(), query.bytes.clone()).await
}
