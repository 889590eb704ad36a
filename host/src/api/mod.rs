//! REST: routes, forms, status codes and redirects. Knows no redb and no wasmtime.

mod activation;
mod backup;
mod events;
mod fsm;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod health;
mod key;
mod keys;
mod leadership;
mod leftover;
mod listing;
mod metrics;
mod modules;
mod nodes;
mod one_send;
mod problem;
mod redirect;
mod request;
mod routes;
mod seat;
mod server;
mod state;
mod status;
mod traffic;

pub use server::Server;
pub(crate) use state::ApiState;
