//! What all requests share: each is counted for its route, has an id, and is logged.
//!
//! Not a layer of the router, which would cost every request some allocations.

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use hyper::Request;

use crate::metrics::{HttpMetrics, Measured};
use crate::request_id::{RequestId, RequestIds};

/// What a client calls its request, and what its answer calls it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What requests to no route are counted for.
const UNMATCHED: &str = "unmatched";

/// Tells what requests are for, and which is which.
#[derive(Debug)]
pub(super) struct Traffic {
    templates: Vec<&'static str>,
    /// axum does not tell which route it took.
    matcher: matchit::Router<usize>,
    metrics: Arc<HttpMetrics>,
    ids: RequestIds,
}

impl Traffic {
    pub(super) fn new(templates: &[&'static str], ids: RequestIds) -> Self {
        let mut matcher = matchit::Router::new();
        for (route, template) in templates.iter().enumerate() {
            let inserted = matcher.insert(*template, route);
            inserted.expect("axum, which uses the same router, took the template");
        }
        let counted = templates.iter().copied().chain([UNMATCHED]);
        Self {
            templates: templates.to_vec(),
            matcher,
            metrics: Arc::new(HttpMetrics::new(counted)),
            ids,
        }
    }

    pub(super) fn metrics(&self) -> &Arc<HttpMetrics> {
        &self.metrics
    }

    /// Notes that a request began. Its route is looked for where nobody knows its template yet.
    pub(super) fn begin<B>(&self, request: &Request<B>, template: Option<&str>) -> Exchange {
        let route = match template {
            Some(template) => self.templates.iter().position(|known| *known == template),
            None => {
                let found = self.matcher.at(request.uri().path());
                found.ok().map(|found| *found.value)
            }
        };
        let route = route.unwrap_or(self.templates.len());
        let given = request.headers().get(REQUEST_ID);
        let given = given.and_then(|id| RequestId::given(id.as_bytes()));
        Exchange {
            measured: self.metrics.begin(route, request.method().as_str()),
            id: given.unwrap_or_else(|| self.ids.make()),
        }
    }
}

/// A request, until its answer begins.
#[derive(Debug)]
pub(super) struct Exchange {
    measured: Measured,
    pub(super) id: RequestId,
}

impl Exchange {
    /// Notes that the answer begins, and names its request in it.
    pub(super) fn record(self, mut response: Response) -> Response {
        let Self { measured, id } = self;
        let status = response.status().as_u16();
        tracing::debug!(
            request_id = %id,
            route = measured.route(),
            method = measured.method(),
            status,
            elapsed = ?measured.elapsed(),
            "answered"
        );
        measured.answer(status);
        if let Ok(id) = HeaderValue::from_bytes(id.as_bytes()) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Page;

    fn traffic() -> Traffic {
        Traffic::new(&["/keys", "/keys/{key}"], RequestIds::new(7, 0))
    }

    #[test]
    fn requests_are_counted_for_the_template_and_never_for_a_path() {
        let traffic = traffic();
        for path in ["/keys/a", "/keys/b%2Fc", "/keys", "/keys/a/b", "/nowhere"] {
            let request = Request::builder().uri(path).body(()).unwrap();
            let exchange = traffic.begin(&request, None);
            exchange.record(Response::default());
        }
        let request = Request::builder().uri("/keys/c").body(()).unwrap();
        let exchange = traffic.begin(&request, Some("/keys/{key}"));
        exchange.record(Response::default());
        let mut page = Page::default();
        traffic.metrics().write(&mut page);
        let text = page.encode().unwrap();
        let count = |route: &str| format!("{{route=\"{route}\",method=\"GET\",code=\"200\"}}");
        for (route, requests) in [("/keys/{key}", 3), ("/keys", 1), (UNMATCHED, 2)] {
            let line = format!("rkv_http_requests_total{} {requests}\n", count(route));
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
        assert_eq!(text.matches("rkv_http_requests_total{").count(), 3);
    }

    #[test]
    fn an_answer_has_the_id_of_its_request_or_one_that_was_made() {
        let traffic = traffic();
        let id_of = |given: Option<&str>| {
            let mut request = Request::new(());
            if let Some(given) = given {
                let given = HeaderValue::try_from(given).unwrap();
                request.headers_mut().insert(REQUEST_ID, given);
            }
            let exchange = traffic.begin(&request, None);
            let answer = exchange.record(Response::default());
            answer.headers()[REQUEST_ID].to_str().unwrap().to_owned()
        };
        assert_eq!(id_of(Some("order-66")), "order-66");
        assert_eq!(id_of(None), "7-0-0");
        assert_eq!(id_of(Some("not one")), "7-0-1");
    }
}
