//! `/fsm/activate` and `/fsm/rollback`: switching the state machine.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::routing::post;

use super::ApiState;
use super::modules::module_id;
use super::problem::Problem;
use super::redirect::Failed;
use super::request::query_text;
use super::routes::Routes;
use crate::raft::{ActivateRequest, StartWith, Switched};
use crate::types::Limits;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/fsm/activate", post(activate))
        .route("/fsm/rollback", post(roll_back))
}

async fn activate(
    State(api): State<Arc<ApiState>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Switched>, Failed> {
    let request = activate_request(query.as_deref())?;
    let consensus = Arc::clone(&api.consensus);
    let switch = async move { consensus.activate_module(request).await };
    Ok(Json(api.finish("activate", switch).await?))
}

async fn roll_back(
    State(api): State<Arc<ApiState>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Switched>, Failed> {
    let start = start_of_rollback(query.as_deref())?;
    api.consensus.expect_leader()?;
    let consensus = Arc::clone(&api.consensus);
    let switch = async move { consensus.roll_back(start).await };
    Ok(Json(api.finish("rollback", switch).await?))
}

pub(super) fn start_of_rollback(query: Option<&str>) -> Result<StartWith, Problem> {
    match query_text(query, "state")?.as_deref() {
        None | Some("migrate") => Ok(StartWith::State),
        Some("previous") => Ok(StartWith::Previous),
        Some(other) => Err(Problem::bad_request(format!(
            "`{other}` is not a state to go back with: migrate (the default) or previous"
        ))),
    }
}

pub(super) fn activate_request(query: Option<&str>) -> Result<ActivateRequest, Problem> {
    let module = query_text(query, "module")?;
    let module = module.ok_or_else(|| Problem::bad_request("which module? ?module={sha256}"))?;
    let expect = query_text(query, "expect")?
        .map(|text| module_id(&text))
        .transpose()?;
    let start = start_of_activation(query)?;
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
        start,
    })
}

fn start_of_activation(query: Option<&str>) -> Result<StartWith, Problem> {
    let (state, from) = (query_text(query, "state")?, query_text(query, "from")?);
    match (state.as_deref(), from.as_deref()) {
        (None | Some("migrate"), None) => Ok(StartWith::State),
        (Some("reset"), None) => Ok(StartWith::Nothing),
        (None, Some("snapshot")) => Ok(StartWith::Snapshot),
        (Some(_), Some(_)) => Err(Problem::bad_request("either state= or from=, not both")),
        (Some(other), None) => Err(Problem::bad_request(format!(
            "`{other}` is not a state to start with: migrate (the default) or reset"
        ))),
        (None, Some(other)) => Err(Problem::bad_request(format!(
            "a module starts from=snapshot, not from={other}"
        ))),
    }
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
