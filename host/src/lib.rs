//! rkvd: a Raft-replicated store whose state machine is a WebAssembly component.
//!
//! Layers, each importing only what is below it (`tests/layering.rs` checks):
//!
//! ```text
//! bin/rkvd -> cli, node     parse, assemble, run, shut down in order; probe asks another node
//!             recovery      tools for a directory in which no node runs
//! api                       REST: routes, forms, status codes, redirects
//! raft                      consensus: transport, membership, reads
//! fsm | check               the state machine driver | offline checks of a module
//! storage | wasm            log, snapshot and module files | wasmtime
//! types                     the shared vocabulary
//! ```
//!
//! `tasks`, `clock`, `progress`, `config`, `crowd`, `telemetry`, `metrics`, `request_id` and `failpoint` are for
//! every layer above `types`.

pub mod api;
pub mod bundled;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
mod crowd;
mod failpoint;
pub mod fsm;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod metrics;
pub mod node;
pub mod probe;
mod progress;
pub mod raft;
pub mod recovery;
pub mod request_id;
mod settle;
pub mod storage;
pub mod tasks;
pub mod telemetry;
pub mod types;
pub mod wasm;
