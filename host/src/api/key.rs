//! `/keys/{key}`: one key, for modules that speak `rkv:kv@1`.
//!
//! Most requests are of this kind, and the way through the router and back was a twentieth of what a stale
//! read takes. So they are recognised before they get there; whatever is unusual in any way still gets
//! there, and is served by the same handler. A stale read that need not wait does without a future, too.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::{Buf, Bytes};
use percent_encoding::percent_decode_str;
use rkv_kv_protocol::{Answer, Command, Query};

use super::ApiState;
use super::keys::{broken_protocol, check_key, check_size, expect_kv, is_kv};
use super::problem::Problem;
use super::redirect::{Failed, Target, locate};
use super::request::{is_stale, query_bytes};
use super::routes::Routes;

/// The routes of a key.
const TEMPLATES: [&str; 2] = ["/keys/{key}", "/key/{key}"];

/// The place of the key, at the end of each.
const PLACE: &str = "{key}";

pub(super) fn routes() -> Routes {
    let methods = || get(routed).post(routed).delete(routed);
    let add = |routes: Routes, template| routes.route(template, methods());
    TEMPLATES.into_iter().fold(Routes::new(), add)
}

#[derive(Debug, Clone, Copy)]
enum Operation {
    Read,
    Write,
    Delete,
}

impl Operation {
    fn of(method: &Method) -> Option<Self> {
        match *method {
            Method::GET => Some(Self::Read),
            Method::POST => Some(Self::Write),
            Method::DELETE => Some(Self::Delete),
            _ => None,
        }
    }
}

/// A request for one key.
#[derive(Debug)]
pub(super) struct KeyRequest {
    operation: Operation,
    key: String,
}

impl KeyRequest {
    /// The same that the router would make of a request, with the template of its route; `None` where the
    /// router is to be asked.
    pub(super) fn recognise<B>(request: &axum::http::Request<B>) -> Option<(&'static str, Self)> {
        let operation = Operation::of(request.method())?;
        let path = request.uri().path();
        let (template, key) = TEMPLATES.into_iter().find_map(|template| {
            let prefix = template.strip_suffix(PLACE)?;
            Some((template, path.strip_prefix(prefix)?))
        })?;
        if key.is_empty() || key.contains('/') {
            return None;
        }
        let key = percent_decode_str(key).decode_utf8().ok()?;
        let key = key.into_owned();
        Some((template, Self { operation, key }))
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The answer, if it is at hand: that to a stale read is, as long as the state machine is free.
    pub(super) fn at_once(&self, api: &ApiState, parameters: Option<&str>) -> Option<Response> {
        let is_stale_read =
            matches!(self.operation, Operation::Read) && matches!(is_stale(parameters), Ok(true));
        // What is wrong with a request is for `serve` to tell.
        if !is_stale_read || !is_kv(api) || check_key(api, &self.key).is_err() {
            return None;
        }
        let answer = api.consensus.query_at_once(&get_query(&self.key))?;
        Some(found(&self.key, answer.ok()?).unwrap_or_else(Failed::into_response))
    }

    /// Answers it. `target` is that of the request.
    #[allow(clippy::manual_async_fn, reason = "it would have its arguments twice")]
    pub(super) fn serve(
        self,
        api: Arc<ApiState>,
        target: Target,
        body: Body,
    ) -> impl Future<Output = Response> {
        async move {
            let served = match self.operation {
                Operation::Read => read(&api, &self.key, target.query()).await,
                // Boxed: reads need not hold the space for what a write waits for.
                Operation::Write => Box::pin(write(&api, &self.key, target.query(), body)).await,
                Operation::Delete => Box::pin(delete(&api, &self.key)).await,
            };
            locate(&target, served.unwrap_or_else(Failed::into_response))
        }
    }
}

/// A request that the router had to look at.
async fn routed(
    State(api): State<Arc<ApiState>>,
    key: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Failed> {
    expect_kv(&api).await?;
    let Path(key) = key.map_err(|_| Problem::bad_request("the key is not UTF-8"))?;
    // The router takes HEAD for GET without the body.
    let operation = Operation::of(request.method()).unwrap_or(Operation::Read);
    let (target, body) = (Target::of(request.uri()), request.into_body());
    let request = KeyRequest { operation, key };
    Ok(request.serve(api, target, body).await)
}

fn get_query(key: &str) -> Vec<u8> {
    let key = key.as_bytes();
    Query::Get { key }.encode()
}

async fn read(api: &ApiState, key: &str, parameters: Option<&str>) -> Result<Response, Failed> {
    accept_key(api, key).await?;
    let answer = api.ask(parameters, get_query(key).into()).await?;
    found(key, answer)
}

/// The answer of a module to a read.
fn found(key: &str, mut answer: Bytes) -> Result<Response, Failed> {
    match Answer::decode(&answer) {
        Ok(Answer::Value(value)) => {
            // It is the last that there is.
            answer.advance(answer.len() - value.len());
            Ok(answer.into_response())
        }
        Ok(Answer::Missing) => {
            let detail = format!("there is no key `{key}`");
            Err(Problem::new(StatusCode::NOT_FOUND, "no_such_key", "No such key", detail).into())
        }
        Ok(Answer::Keys { .. }) | Err(_) => Err(broken_protocol().into()),
    }
}

async fn write(
    api: &ApiState,
    key: &str,
    parameters: Option<&str>,
    body: Body,
) -> Result<Response, Failed> {
    accept_key(api, key).await?;
    api.consensus.expect_leader()?;
    let limit = api.limits.max_value_bytes;
    let received = api.bodies.read(body, "the value in bytes", limit).await?;
    let body = &received.bytes;
    let value = match query_bytes(parameters, "val") {
        Some(_) if !body.is_empty() => {
            let detail = "the value comes either as ?val= or as the body, not as both";
            return Err(Problem::bad_request(detail).into());
        }
        Some(value) => Bytes::from(value),
        None if body.is_empty() => {
            let detail =
                "the value is missing: send it as the body, or as ?val= (which may be empty)";
            return Err(Problem::bad_request(detail).into());
        }
        None => body.clone(),
    };
    check_size("the value in bytes", value.len(), limit)?;
    let command = Command::Set {
        key: key.as_bytes(),
        value: &value,
    }
    .encode();
    api.consensus.propose(Bytes::from(command)).await?;
    Ok(StatusCode::OK.into_response())
}

async fn delete(api: &ApiState, key: &str) -> Result<Response, Failed> {
    accept_key(api, key).await?;
    api.consensus.expect_leader()?;
    let command = Command::Delete {
        key: key.as_bytes(),
    }
    .encode();
    api.consensus.propose(Bytes::from(command)).await?;
    Ok(StatusCode::OK.into_response())
}

/// Whether the module has keys, and may have this one.
async fn accept_key(api: &ApiState, key: &str) -> Result<(), Failed> {
    expect_kv(api).await?;
    Ok(check_key(api, key)?)
}
