//! `/metrics`: what a node counts and times, in Prometheus' text format.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::ApiState;
use super::problem::Problem;
use super::redirect::Failed;
use super::routes::Routes;
use super::state::MAX_SCRAPES;
use crate::metrics::{Page, write_process};

/// How long a scrape waits for another one: two servers may scrape at the same moments.
const TURN: Duration = Duration::from_secs(1);

pub(super) fn routes() -> Routes {
    Routes::new().route("/metrics", get(scrape))
}

async fn scrape(State(api): State<Arc<ApiState>>) -> Result<Response, Failed> {
    let turn = tokio::time::timeout(TURN, Arc::clone(&api.scrapes).acquire_owned()).await;
    let turn = turn.ok().and_then(Result::ok).ok_or_else(|| {
        Problem::overloaded("other scrapes of this node are under way", MAX_SCRAPES)
    })?;
    // It looks into folders.
    let written = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        write(&api)
    });
    let failed = |reason: String| {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Problem::new(status, "scrape_failed", "The scrape failed", reason)
    };
    let text = written.await.map_err(|panic| failed(panic.to_string()))?;
    let text = text.map_err(|error| failed(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, Page::CONTENT_TYPE)], text).into_response())
}

fn write(api: &ApiState) -> Result<String, impl std::error::Error + use<>> {
    let mut page = Page::default();
    page.gauges(
        "rkv_build_info",
        "The version of this daemon.",
        [(&[("version", env!("CARGO_PKG_VERSION"))][..], 1.0)],
    );
    api.consensus.measure(&mut page);
    api.http.write(&mut page);
    let listeners = api.limits.max_event_listeners - api.listeners.available_permits();
    page.gauge(
        "rkv_http_event_listeners",
        "Clients that listen to events.",
        listeners as f64,
    );
    write_process(&mut page);
    page.encode()
}
