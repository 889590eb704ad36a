//! rkvd: a Raft-replicated store whose state machine is a WebAssembly component.

pub mod storage;
pub mod types;
