//! rkvd: a Raft-replicated store whose state machine is a WebAssembly component.

pub mod types;
pub mod wasm;
