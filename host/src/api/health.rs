//! `/livez` and `/readyz`: whether to restart a node, and whether to send it requests.
//!
//! Answers are lines of text, as etcd and Kubernetes have them, and not problem documents: what asks
//! is a probe, and who reads it is a person.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::ApiState;
use super::problem::Problem;
use super::redirect::Failed;
use super::request::{query_bytes, query_texts};
use super::routes::Routes;
use crate::raft::Check;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
}

async fn live(
    State(api): State<Arc<ApiState>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failed> {
    let probe = Probe::parse(Check::LIVE, query.as_deref())?;
    Ok(probe.answer("livez", |check| api.consensus.check(check)))
}

async fn ready(
    State(api): State<Arc<ApiState>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failed> {
    let probe = Probe::parse(Check::READY, query.as_deref())?;
    Ok(probe.answer("readyz", |check| api.consensus.check(check)))
}

/// What a client wants to know.
#[derive(Debug)]
pub(super) struct Probe {
    checks: &'static [Check],
    excluded: Vec<Check>,
    verbose: bool,
}

impl Probe {
    pub(super) fn parse(checks: &'static [Check], query: Option<&str>) -> Result<Self, Problem> {
        let known = |name: String| {
            let found = checks.iter().find(|check| check.name() == name);
            found.copied().ok_or_else(|| {
                let names: Vec<&str> = checks.iter().map(|check| check.name()).collect();
                let names = names.join(", ");
                Problem::bad_request(format!("there is no check `{name}` here, only {names}"))
            })
        };
        Ok(Self {
            checks,
            excluded: query_texts(query, "exclude")?
                .into_iter()
                .map(known)
                .collect::<Result<_, _>>()?,
            verbose: query_bytes(query, "verbose").is_some(),
        })
    }

    /// Failures are named in any case, what is well only to those who want to know.
    fn answer(&self, probe: &str, check: impl Fn(Check) -> Result<(), String>) -> Response {
        let mut lines = String::new();
        let mut failed = false;
        for &one in self.checks {
            let name = one.name();
            let line = if self.excluded.contains(&one) {
                Ok(format!("[+]{name} excluded: ok"))
            } else {
                match check(one) {
                    Ok(()) => Ok(format!("[+]{name} ok")),
                    Err(reason) => Err(format!("[-]{name} failed: {reason}")),
                }
            };
            failed |= line.is_err();
            if let Some(line) = line.map_or_else(Some, |well| self.verbose.then_some(well)) {
                // Writing to a string does not fail.
                let _ = writeln!(lines, "{line}");
            }
        }
        let (status, verdict) = if failed {
            let verdict = format!("{probe} check failed");
            (StatusCode::SERVICE_UNAVAILABLE, verdict)
        } else {
            (StatusCode::OK, "ok".to_owned())
        };
        (status, format!("{lines}{verdict}\n")).into_response()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures::FutureExt;
    use http_body_util::BodyExt;

    use super::*;

    fn ask(query: &str, failing: Check) -> (StatusCode, String) {
        let probe = Probe::parse(Check::READY, Some(query)).unwrap();
        let check = |check| match check {
            check if check == failing => Err("why".to_owned()),
            _ => Ok(()),
        };
        let response: Response<Body> = probe.answer("readyz", check);
        let status = response.status();
        let body = response.into_body().collect().now_or_never();
        let body = body.unwrap().unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn a_check_that_fails_is_named() {
        let (status, text) = ask("", Check::Quorum);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(text, "[-]quorum failed: why\nreadyz check failed\n");
        let (_, text) = ask("verbose", Check::Quorum);
        assert!(text.starts_with("[+]running ok\n"), "{text}");
        assert!(text.contains("\n[-]quorum failed: why\n"), "{text}");
        assert_eq!(text.lines().count(), Check::READY.len() + 1);
    }

    #[test]
    fn an_excluded_check_does_not_count() {
        let excluded = "exclude=leader&exclude=quorum";
        let answer = (StatusCode::OK, "ok\n".to_owned());
        assert_eq!(ask(excluded, Check::Quorum), answer);
        let (status, _) = ask(excluded, Check::Disk);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        let (_, text) = ask("exclude=quorum&verbose", Check::Quorum);
        assert!(text.contains("[+]quorum excluded: ok\n"), "{text}");
    }

    #[test]
    fn a_check_that_does_not_exist_is_refused() {
        assert!(Probe::parse(Check::LIVE, Some("exclude=quorum")).is_err());
        assert!(Probe::parse(Check::READY, Some("exclude=")).is_err());
    }
}
