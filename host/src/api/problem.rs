//! Errors as RFC 9457 problem documents, and the one table from errors to them.
//!
//! Every match here names every variant: a new error does not compile until it has a status.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::raft::{
    BackupError, EventsGone, MembershipError, ModuleCallError, ProposeError, ReadError,
};
use crate::request_id;
use crate::types::NodeInfo;

/// Seconds after which a request that was refused for now is worth repeating.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// What is known of a write that was not acknowledged.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WriteOutcome {
    /// It left nothing behind, and never will.
    NotApplied,
    /// It may have been applied, or may be yet.
    Unknown,
}

/// An error as the client gets it: `application/problem+json`.
#[derive(Debug)]
pub(crate) struct Problem(Box<Document>);

#[derive(Debug, Serialize)]
struct Document {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    /// A stable name of the kind of problem.
    code: &'static str,
    /// Whether the same request can succeed later, with no risk of taking effect twice.
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<WriteOutcome>,
    /// The HTTP address of the leader.
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<String>,
    /// The bound that was passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    /// By which the request is found in the logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self(Box::new(Document {
            r#type: format!("urn:rkv:problem:{code}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            code,
            retryable: false,
            outcome: None,
            leader: None,
            limit: None,
            request_id: None,
        }))
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad_request",
            "Bad request",
            detail,
        )
        .outcome(WriteOutcome::NotApplied)
    }

    pub(crate) fn too_large(what: &str, limit: u64) -> Self {
        let detail = format!("{what} is over the limit of {limit}");
        let mut problem = Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "Too large",
            detail,
        )
        .outcome(WriteOutcome::NotApplied);
        problem.0.limit = Some(limit);
        problem
    }

    pub(crate) fn slow_body(detail: impl Into<String>) -> Self {
        let status = StatusCode::REQUEST_TIMEOUT;
        Self::new(status, "slow_body", "The body came too slowly", detail)
            .retryable()
            .outcome(WriteOutcome::NotApplied)
    }

    pub(crate) fn too_many_bodies(limit: usize) -> Self {
        let detail = "the bodies of all requests under way are as large as this node takes";
        Self::overloaded(detail, limit).outcome(WriteOutcome::NotApplied)
    }

    pub(crate) fn overloaded(detail: impl Into<String>, limit: usize) -> Self {
        let status = StatusCode::TOO_MANY_REQUESTS;
        let mut problem = Self::new(status, "overloaded", "Too much in flight", detail);
        problem.0.limit = Some(limit as u64);
        problem.retryable()
    }

    pub(crate) fn not_leader(leader: &NodeInfo, detail: String) -> Self {
        let mut problem = Self::new(
            StatusCode::TEMPORARY_REDIRECT,
            "not_leader",
            "This node does not lead",
            detail,
        )
        .retryable()
        .outcome(WriteOutcome::NotApplied);
        problem.0.leader = Some(leader.http_addr.clone());
        problem
    }

    fn unavailable(code: &'static str, title: &'static str, detail: String) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, title, detail).retryable()
    }

    fn retryable(mut self) -> Self {
        self.0.retryable = true;
        self
    }

    fn outcome(mut self, outcome: WriteOutcome) -> Self {
        self.0.outcome = Some(outcome);
        self
    }

    /// The leader's HTTP address, if the client should go there.
    pub(crate) fn leader(&self) -> Option<&str> {
        self.0.leader.as_deref()
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        self.0.request_id = request_id::current().map(|id| id.to_string());
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let redirects = status.is_redirection();
        let retry = self.0.retryable && !redirects;
        let mut response = (status, Json(self.0)).into_response();
        let headers = response.headers_mut();
        let problem = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem);
        if retry {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

impl From<ProposeError> for Problem {
    fn from(error: ProposeError) -> Self {
        let detail = error.to_string();
        let not_applied = |problem: Problem| problem.outcome(WriteOutcome::NotApplied);
        match error {
            ProposeError::NotLeader { node, .. } => Self::not_leader(&node, detail),
            ProposeError::NoLeader => {
                not_applied(Self::unavailable("no_leader", "No leader", detail))
            }
            ProposeError::NoQuorum => {
                not_applied(Self::unavailable("no_quorum", "No quorum", detail))
            }
            ProposeError::Overloaded { limit } => not_applied(Self::overloaded(detail, limit)),
            ProposeError::Full { limit, .. } => {
                let status = StatusCode::INSUFFICIENT_STORAGE;
                let mut problem = Self::new(status, "full", "The state machine is full", detail);
                problem.0.limit = Some(limit);
                not_applied(problem)
            }
            ProposeError::Unknown(_) => {
                let status = StatusCode::GATEWAY_TIMEOUT;
                Self::new(status, "outcome_unknown", "The outcome is unknown", detail)
                    .outcome(WriteOutcome::Unknown)
            }
            ProposeError::Stopped(_) => not_applied(Self::unavailable(
                "stopped",
                "This node has stopped",
                detail,
            )),
            ProposeError::Quarantined(_) => not_applied(quarantined(detail)),
            ProposeError::Refused(_) => not_applied(refused(detail)),
            ProposeError::Trapped(_) => not_applied(trapped(detail)),
            ProposeError::NoModule => not_applied(no_module(detail)),
            ProposeError::Rejected(_) => not_applied(conflict(detail)),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let detail = error.to_string();
        match error {
            ReadError::NoLeader => Self::unavailable("no_leader", "No leader", detail),
            ReadError::NoQuorum(_) => Self::unavailable("no_quorum", "No quorum", detail),
            ReadError::Deadline(_) => Self::unavailable(
                "read_timeout",
                "The read could not be confirmed in time",
                detail,
            ),
            ReadError::Overloaded => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                Self::new(status, "overloaded", "Too much in flight", detail).retryable()
            }
            ReadError::Stopped(_) => Self::unavailable("stopped", "This node has stopped", detail),
            ReadError::Quarantined(_) => quarantined(detail),
            ReadError::NoModule => no_module(detail),
            ReadError::Refused(_) => refused(detail),
            ReadError::Trapped(_) => trapped(detail),
        }
    }
}

impl From<MembershipError> for Problem {
    fn from(error: MembershipError) -> Self {
        let detail = error.to_string();
        match error {
            MembershipError::Conflict(_) => conflict(detail),
            MembershipError::Unknown(_) => Self::new(
                StatusCode::NOT_FOUND,
                "no_such_node",
                "No such node",
                detail,
            ),
            MembershipError::Busy => {
                Self::unavailable("busy", "Another membership change is under way", detail)
            }
            MembershipError::Unfit(_) => {
                let title = "The node cannot lead now";
                Self::new(StatusCode::CONFLICT, "unfit_leader", title, detail)
                    .outcome(WriteOutcome::NotApplied)
            }
            MembershipError::CostsQuorum { .. } => {
                let title = "The removal would cost the quorum";
                Self::new(StatusCode::CONFLICT, "costs_quorum", title, detail)
                    .outcome(WriteOutcome::NotApplied)
            }
            MembershipError::CatchingUp(_) => {
                Self::unavailable("catching_up", "The node is catching up", detail)
            }
            MembershipError::Propose(error) => error.into(),
        }
    }
}

impl From<ModuleCallError> for Problem {
    fn from(error: ModuleCallError) -> Self {
        let detail = error.to_string();
        match error {
            ModuleCallError::Invalid(_) => {
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                Self::new(status, "invalid_module", "Not a usable module", detail)
            }
            ModuleCallError::Unknown(_) => Self::new(
                StatusCode::NOT_FOUND,
                "no_such_module",
                "No such module",
                detail,
            ),
            ModuleCallError::NotReady(_) => {
                let title = "Not every voter has the module ready";
                Self::new(StatusCode::CONFLICT, "not_ready", title, detail).retryable()
            }
            ModuleCallError::Conflict(_) => conflict(detail),
            ModuleCallError::Refused(_) => refused(detail),
            ModuleCallError::Node(_) => Self::unavailable("stopped", "This node failed", detail),
            ModuleCallError::Propose(error) => error.into(),
        }
    }
}

impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Self {
        let detail = error.to_string();
        match error {
            BackupError::Read(error) => error.into(),
            BackupError::Node(_) => Self::unavailable("no_backup", "No backup", detail),
        }
    }
}

impl From<EventsGone> for Problem {
    fn from(gone: EventsGone) -> Self {
        let detail = gone.to_string();
        Self::new(StatusCode::GONE, "events_gone", "Events are gone", detail)
    }
}

fn conflict(detail: String) -> Problem {
    Problem::new(StatusCode::CONFLICT, "conflict", "Conflict", detail)
}

fn quarantined(detail: String) -> Problem {
    let title = "This node's state is not to be used";
    Problem::unavailable("quarantined", title, detail)
}

fn refused(detail: String) -> Problem {
    let title = "The module refused the request";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", title, detail)
}

fn trapped(detail: String) -> Problem {
    let title = "The module failed on the request";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "trapped", title, detail)
}

fn no_module(detail: String) -> Problem {
    Problem::unavailable("no_module", "No module is active yet", detail)
}
