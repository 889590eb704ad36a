//! rkvd: a Raft-replicated store whose state machine is a WebAssembly component.

pub mod bundled;
pub mod types;
pub mod wasm;
