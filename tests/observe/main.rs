//! What operators see of a node: `/livez` and `/readyz`, `rkvd health`, `/metrics`, what is made of it
//! in `hack/prometheus` and `hack/grafana`, and the way of one request through the logs.

mod documents;
mod page;
mod probes;
mod prometheus;
mod requests;
