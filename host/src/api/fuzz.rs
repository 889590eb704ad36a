//! Paths and queries, as the fuzzer makes them up.

use std::sync::OnceLock;

use axum::body::Body;
use axum::extract::{Path, RawQuery, Request};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use tokio::runtime::Runtime;

use super::activation::{activate_request, start_of_rollback};
use super::events::starting_point;
use super::health::Probe;
use super::key::KeyRequest;
use super::leadership::heir;
use super::listing::Listing;
use super::modules::module_id;
use super::nodes::{is_forced, node_id, raft_addr};
use super::problem::Problem;
use super::redirect::{Failed, Target, locate};
use super::request::{query_bytes, query_text};
use crate::raft::Check;
use crate::types::NodeInfo;

/// Reads a target, as it stands in the first line of a request, the way all handlers together do; and
/// takes the same bytes for a key, which has to come through encoding and routing as it is.
pub(crate) fn target(data: &[u8]) {
    if let Ok(uri) = Uri::try_from(data) {
        parse_query(uri.query());
        let recognised = KeyRequest::recognise(&get_request(&uri));
        let response = answer(&uri);
        assert_ne!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let is_for_key = response.extensions().get::<IsForKey>().is_some();
        assert_eq!(recognised.is_some(), is_for_key, "{uri}");
        if let Some((_, recognised)) = recognised {
            assert_eq!(body(response), recognised.key().as_bytes(), "{uri}");
        }
    }
    if let Ok(key) = std::str::from_utf8(data)
        && !key.is_empty()
        && let Ok(uri) = Uri::try_from(format!("/keys/{}", percent_encode(data, NON_ALPHANUMERIC)))
    {
        let response = answer(&uri);
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(body(response), data);
    }
}

fn parse_query(query: Option<&str>) {
    for name in ["val", "topic", "consistency", "scope", "expect"] {
        let bytes = query_bytes(query, name);
        let text = query_text(query, name);
        assert_eq!(bytes.is_some(), !matches!(text, Ok(None)));
    }
    let headers = HeaderMap::new();
    let problems = [
        Listing::parse(query).err(),
        raft_addr(query).err(),
        is_forced(query).err(),
        heir(query).err(),
        activate_request(query).err(),
        start_of_rollback(query).err(),
        starting_point(query, &headers).err(),
        Probe::parse(Check::READY, query).err(),
    ];
    for problem in problems.into_iter().flatten() {
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let document: serde_json::Value = serde_json::from_slice(&body(response)).expect("JSON");
        assert_eq!(document["status"], 400);
    }
}

/// Marks the answers of the routes of a key.
#[derive(Debug, Clone)]
struct IsForKey;

/// The routes that have a part of the path to read, with what their handlers do to it.
fn routes() -> Router {
    async fn key(Path(key): Path<String>, RawQuery(_): RawQuery) -> (Extension<IsForKey>, String) {
        (Extension(IsForKey), key)
    }
    async fn node(Path(id): Path<String>) -> Result<String, Problem> {
        node_id(&id).map(|id| id.to_string())
    }
    async fn module(Path(id): Path<String>) -> Result<String, Problem> {
        module_id(&id).map(|id| id.to_string())
    }
    async fn elsewhere() -> Failed {
        let leader = NodeInfo {
            http_addr: "leader.example:1".to_owned(),
            ..NodeInfo::default()
        };
        Problem::not_leader(&leader, String::new()).into()
    }
    Router::new()
        .route("/keys/{key}", get(key))
        .route("/key/{key}", get(key))
        .route("/nodes/{id}", get(node))
        .route("/fsm/modules/{id}", get(module))
        .route("/fsm/modules/{id}/dry-run", get(module))
        .fallback(elsewhere)
}

fn get_request(uri: &Uri) -> Request {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = uri.clone();
    request
}

fn answer(uri: &Uri) -> Response {
    static SERVICE: OnceLock<TowerToHyperService<Router>> = OnceLock::new();
    let service = SERVICE.get_or_init(|| TowerToHyperService::new(routes()));
    let Ok(response) = runtime().block_on(service.call(get_request(uri)));
    locate(&Target::of(uri), response)
}

fn body(response: Response) -> Vec<u8> {
    let collected = runtime().block_on(response.into_body().collect());
    collected.expect("a body in memory").to_bytes().to_vec()
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.build().expect("a runtime")
    })
}

/// A target of each route.
#[cfg(test)]
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let module = "0123456789abcdef".repeat(4);
    [
        ("key", "/keys/a?val=x%20y+z".to_owned()),
        (
            "key-odd",
            "/keys/a%2Fb%3f%00%e2%82%ac?consistency=stale".to_owned(),
        ),
        ("key-not-utf8", "/keys/%ff%fe?val=%ff".to_owned()),
        (
            "list",
            "/keys?prefix=a%2f&after=a%2fb&limit=10&consistency=linearizable".to_owned(),
        ),
        ("node", "/nodes/7?addr=node-7.example:10001".to_owned()),
        (
            "node-ipv6",
            "/nodes/18446744073709551615?addr=[::1]:10001".to_owned(),
        ),
        ("leader", "/leader?id=2&force=true".to_owned()),
        ("module", format!("/fsm/modules/{module}/dry-run")),
        (
            "activate",
            format!(
                "/fsm/activate?module={module}&expect={module}&state=reset&memory_mb=64&fuel=9"
            ),
        ),
        ("rollback", "/fsm/rollback?state=previous".to_owned()),
        ("events", "/fsm/events?topic=lock&after=12.3".to_owned()),
        ("stats", "/stats?scope=cluster&&=&%&a=b=c".to_owned()),
        (
            "absolute",
            "http://user@host.example:80/keys/a?val".to_owned(),
        ),
    ]
    .map(|(name, target)| (name, target.into_bytes()))
    .into()
}
