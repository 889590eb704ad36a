//! What clients ask, by route, method and status.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus::IntGauge;

use super::page::Labels;
use super::spread::Spread;
use super::timings::Timings;
use super::{Page, gauge};

/// Methods that are told apart; the last stands for all others.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "DELETE", "other"];

/// Statuses that are told apart: all that this server answers, and [`GONE`].
const CODES: [u16; 21] = [
    200, 201, 204, 307, 400, 404, 405, 408, 409, 410, 413, 415, 422, 429, GONE, 500, 501, 502, 503,
    504, 507,
];

/// The status of a request whose client was gone before its answer began, as nginx has it.
const GONE: u16 = 499;

/// Seconds until an answer begins.
const BUCKETS: [f64; 15] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
];

/// Recorder of HTTP. Routes are numbers here: whoever knows them resolves a path to one.
#[derive(Debug)]
pub struct HttpMetrics {
    routes: Vec<Route>,
    /// Began in one part, a request may end in another.
    in_flight: Spread<AtomicI64>,
    connections: IntGauge,
}

#[derive(Debug)]
struct Route {
    template: &'static str,
    answered: Spread<Answered>,
    seconds: Timings,
}

/// Requests by method and status; the last status stands for all others.
type Answered = [[AtomicU64; CODES.len() + 1]; METHODS.len()];

impl Route {
    fn new(template: &'static str) -> Self {
        Self {
            template,
            answered: Spread::default(),
            seconds: Timings::new(
                "rkv_http_request_seconds",
                "Time from the head of a request to the head of its answer.",
                &BUCKETS,
            ),
        }
    }
}

impl HttpMetrics {
    /// A recorder of these routes, of which there must be one.
    pub fn new(templates: impl IntoIterator<Item = &'static str>) -> Self {
        Self {
            routes: templates.into_iter().map(Route::new).collect(),
            in_flight: Spread::default(),
            connections: gauge("rkv_http_connections", "Connections of clients."),
        }
    }

    /// Notes that a request began. It ends when it is told its status, or dropped.
    pub fn begin(self: &Arc<Self>, route: usize, method: &str) -> Measured {
        self.in_flight.own().fetch_add(1, Ordering::Relaxed);
        Measured {
            http: Arc::clone(self),
            route,
            method: position(&METHODS[..METHODS.len() - 1], &method),
            started: Instant::now(),
            status: GONE,
        }
    }

    /// Counts a connection for as long as this lives.
    pub fn connect(&self) -> Counted {
        self.connections.inc();
        Counted(self.connections.clone())
    }

    /// Writes down what was recorded.
    pub fn write(&self, page: &mut Page) {
        let codes: Vec<String> = CODES.iter().map(ToString::to_string).collect();
        let codes: Vec<&str> = codes.iter().map(String::as_str).chain(["other"]).collect();
        let mut rows = Vec::new();
        let mut used = Vec::new();
        for route in &self.routes {
            let before = rows.len();
            for (method, method_name) in METHODS.iter().enumerate() {
                for (code, code_name) in codes.iter().enumerate() {
                    let parts = route.answered.parts();
                    let count: u64 = parts
                        .map(|answered| answered[method][code].load(Ordering::Relaxed))
                        .sum();
                    if count > 0 {
                        let labels = [
                            ("route", route.template),
                            ("method", *method_name),
                            ("code", *code_name),
                        ];
                        rows.push((labels, count as f64));
                    }
                }
            }
            if rows.len() > before {
                used.push((route.template.to_owned(), &route.seconds));
            }
        }
        let rows = rows.iter();
        page.counters(
            "rkv_http_requests_total",
            "Requests by route, method and status; 499: the client was gone.",
            rows.map(|(labels, count)| (labels as Labels<'_>, *count)),
        );
        page.record_each("route", used);
        let in_flight = self.in_flight.parts();
        let in_flight: i64 = in_flight.map(|part| part.load(Ordering::Relaxed)).sum();
        page.gauge(
            "rkv_http_requests_in_flight",
            "Requests whose answer has not begun.",
            in_flight as f64,
        );
        page.record(&self.connections);
    }
}

/// A request under way.
#[derive(Debug)]
pub struct Measured {
    http: Arc<HttpMetrics>,
    route: usize,
    method: usize,
    started: Instant,
    status: u16,
}

impl Measured {
    /// The route's template.
    pub fn route(&self) -> &'static str {
        let route = self.http.routes.get(self.route);
        route.map_or("", |route| route.template)
    }

    /// The method, if it is one that is told apart.
    pub fn method(&self) -> &'static str {
        METHODS[self.method]
    }

    /// How long it has been under way.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Notes that its answer begins, with this status.
    pub fn answer(mut self, status: u16) {
        self.status = status;
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.http.in_flight.own().fetch_sub(1, Ordering::Relaxed);
        if let Some(route) = self.http.routes.get(self.route) {
            route.seconds.observe(self.started.elapsed());
            let answered = &route.answered.own()[self.method][position(&CODES, &self.status)];
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Something that is counted as long as it lives.
#[derive(Debug)]
pub struct Counted(IntGauge);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Where `value` is among `known`, or behind the last of them.
fn position<T: PartialEq>(known: &[T], value: &T) -> usize {
    let found = known.iter().position(|known| known == value);
    found.unwrap_or(known.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(http: &HttpMetrics) -> String {
        let mut page = Page::default();
        http.write(&mut page);
        page.encode().unwrap()
    }

    #[test]
    fn requests_are_counted_by_route_method_and_status() {
        let http = Arc::new(HttpMetrics::new(["/keys", "/keys/{key}"]));
        http.begin(1, "POST").answer(200);
        http.begin(1, "POST").answer(200);
        http.begin(0, "BREW").answer(418);
        let under_way = http.begin(0, "GET");
        let seen = text(&http);
        for line in [
            r#"rkv_http_requests_total{route="/keys/{key}",method="POST",code="200"} 2"#,
            r#"rkv_http_requests_total{route="/keys",method="other",code="other"} 1"#,
            r#"rkv_http_request_seconds_count{route="/keys/{key}"} 2"#,
            "rkv_http_requests_in_flight 1",
        ] {
            assert!(seen.contains(line), "{line} is not in\n{seen}");
        }
        drop(under_way);
        let seen = text(&http);
        assert!(seen.contains(r#"method="GET",code="499"} 1"#), "{seen}");
        assert!(seen.contains("rkv_http_requests_in_flight 0"), "{seen}");
    }

    #[test]
    fn a_connection_counts_until_it_is_dropped() {
        let http = HttpMetrics::new(["/"]);
        let open = http.connect();
        assert!(text(&http).contains("rkv_http_connections 1"));
        drop(open);
        assert!(text(&http).contains("rkv_http_connections 0"));
    }
}
