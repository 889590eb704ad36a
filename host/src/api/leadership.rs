//! `/leader`: handing leadership to another node.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::routing::post;

use super::ApiState;
use super::nodes::node_id;
use super::problem::Problem;
use super::redirect::Failed;
use super::request::query_text;
use super::routes::Routes;
use crate::raft::Leadership;
use crate::types::NodeId;

pub(super) fn routes() -> Routes {
    Routes::new().route("/leader", post(hand_over))
}

async fn hand_over(
    State(api): State<Arc<ApiState>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Leadership>, Failed> {
    let heir = heir(query.as_deref())?;
    let consensus = Arc::clone(&api.consensus);
    let handed_over = async move { consensus.hand_over_to(heir).await };
    Ok(Json(api.finish("hand-over", handed_over).await?))
}

pub(super) fn heir(query: Option<&str>) -> Result<NodeId, Problem> {
    match query_text(query, "id")? {
        Some(id) => node_id(&id),
        None => Err(Problem::bad_request("which node is to lead? ?id={id}")),
    }
}
