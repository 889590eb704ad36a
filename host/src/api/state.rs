//! What every handler works with, and the router over all of them.

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::leftover::read_first;
use super::problem::Problem;
use super::redirect::{Failed, locate};
use super::request::{Bodies, query_text};
use super::{activation, events, fsm, keys, modules, nodes, status};
use crate::config::RequestLimits;
use crate::raft::{Consensus, ProposeError, ReadError};

/// What every handler works with.
#[derive(Debug)]
pub(crate) struct ApiState {
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) limits: RequestLimits,
    pub(super) bodies: Bodies,
    /// A permit for each client that may listen to events.
    pub(super) listeners: Arc<Semaphore>,
    /// Ends the answers that would never end by themselves.
    pub(super) stop_streams: CancellationToken,
}

impl ApiState {
    /// Waits for the first module of a new node, which takes a moment, rather than turn away the
    /// client that came with it.
    pub(super) async fn expect_module(&self) -> Result<(), Failed> {
        let active = self.consensus.wait_active();
        match tokio::time::timeout(self.limits.request_timeout, active).await {
            Ok(()) => Ok(()),
            Err(_) => Err(ReadError::NoModule.into()),
        }
    }

    /// Does work that goes on when the client that asked for it hangs up.
    pub(super) async fn finish<T, E>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, Failed>
    where
        T: Send + 'static,
        E: Into<Problem> + Send + 'static,
    {
        match self.consensus.tasks().run(name, work).await {
            Some(done) => Ok(done?),
            None => Err(ProposeError::Unknown("this node is shutting down".to_owned()).into()),
        }
    }

    /// Asks the module with the consistency that the request asks for.
    pub(super) async fn ask(
        &self,
        parameters: Option<&str>,
        query: Bytes,
    ) -> Result<Bytes, Failed> {
        match query_text(parameters, "consistency")?.as_deref() {
            None | Some("linearizable") => Ok(self.consensus.query(query).await?),
            Some("stale") => Ok(self.consensus.query_stale(query).await?),
            Some(other) => Err(Problem::bad_request(format!(
                "`{other}` is not a consistency: linearizable (the default) or stale"
            ))
            .into()),
        }
    }
}

/// All routes.
pub(super) fn router(state: Arc<ApiState>) -> Router {
    Router::new()
        .merge(keys::routes())
        .merge(nodes::routes())
        .merge(fsm::routes())
        .merge(events::routes())
        .merge(modules::routes())
        .merge(activation::routes())
        .merge(status::routes())
        .fallback(no_such_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(state)
        .layer(from_fn(locate))
        .layer(from_fn(read_first))
}

async fn no_such_route(uri: Uri) -> Problem {
    let detail = format!("there is nothing at {}", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "no_such_route", "Not found", detail)
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let detail = format!(
        "{} does not take {method}; see the Allow header",
        uri.path()
    );
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "Method not allowed",
        detail,
    )
}
