//! `/keys`: many keys, for modules that speak `rkv:kv@1`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use bytes::Bytes;
use rkv_kv_protocol::{Command, PROTOCOL};

use super::problem::Problem;
use super::redirect::Failed;
use super::routes::Routes;
use super::{ApiState, listing};
use crate::config::MAX_BATCH_KEYS;
use crate::raft::ReadError;

pub(super) fn routes() -> Routes {
    Routes::new().route("/keys", get(listing::list).post(write_batch))
}

async fn write_batch(State(api): State<Arc<ApiState>>, body: Body) -> Result<StatusCode, Failed> {
    expect_kv(&api).await?;
    api.consensus.expect_leader()?;
    let limit = api.limits.max_body_bytes;
    let body = api.bodies.read(body, "the body in bytes", limit).await?;
    let pairs: BTreeMap<String, String> = serde_json::from_slice(&body.bytes).map_err(|error| {
        Problem::bad_request(format!(
            "the body is not a JSON object of keys and string values: {error}"
        ))
    })?;
    check_size("the number of keys", pairs.len(), MAX_BATCH_KEYS)?;
    for (key, value) in &pairs {
        check_key(&api, key)?;
        check_size("a value in bytes", value.len(), api.limits.max_value_bytes)?;
    }
    if pairs.is_empty() {
        return Ok(StatusCode::OK);
    }
    let pairs = pairs
        .iter()
        .map(|(key, value)| (key.as_bytes(), value.as_bytes()))
        .collect();
    api.consensus
        .propose(Bytes::from(Command::Batch(pairs).encode()))
        .await?;
    Ok(StatusCode::OK)
}

pub(super) fn check_key(api: &ApiState, key: &str) -> Result<(), Problem> {
    if key.is_empty() {
        return Err(Problem::bad_request("the key is empty"));
    }
    check_size("the key in bytes", key.len(), api.limits.max_key_bytes)
}

pub(super) fn check_size(what: &str, size: usize, limit: usize) -> Result<(), Problem> {
    if size > limit {
        return Err(Problem::too_large(what, limit as u64));
    }
    Ok(())
}

/// Whether the active module has keys, as far as this node knows.
pub(super) fn is_kv(api: &ApiState) -> bool {
    api.consensus.speaks(PROTOCOL) == Some(true)
}

pub(super) async fn expect_kv(api: &ApiState) -> Result<(), Failed> {
    if is_kv(api) {
        return Ok(());
    }
    api.expect_module().await?;
    if !is_kv(api) {
        // This node may not have come to an activation yet that was acknowledged already. Boxed, like all
        // that few requests wait for: the rest need not hold the space for it.
        Box::pin(api.consensus.catch_up()).await?;
    }
    match api.consensus.speaks(PROTOCOL) {
        Some(true) => Ok(()),
        None => Err(ReadError::NoModule.into()),
        Some(false) => {
            let detail = format!(
                "the active module does not speak {PROTOCOL}: use /fsm/apply and /fsm/query"
            );
            let title = "Not a key-value store";
            Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "not_kv", title, detail).into())
        }
    }
}

pub(super) fn broken_protocol() -> Problem {
    let detail = format!("the active module lists {PROTOCOL} and answers in another encoding");
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "broken_module",
        "The module broke its protocol",
        detail,
    )
}
