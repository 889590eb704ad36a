//! The wasm layer: loads a state machine's component, checks it, and runs instances of it within
//! bounds. It knows nothing of Raft, of storage or of HTTP.
//!
//! ```text
//! bytes --Engine::load--> Module --instantiate--> Instance --apply, query, snapshot, restore
//!                       ModuleError                        Fault
//! ```
//!
//! Everything here serves one end: that each node computes the same state from the same log,
//! whatever the module does. [`Engine`] has the settings that make it so, [`Fault`] tells what is
//! the module's own doing and equal everywhere from what belongs to one node.

#![cfg_attr(
    feature = "native-kv",
    allow(dead_code, unused_imports, reason = "nothing calls a guest then")
)]

mod bindings;
mod cache;
mod engine;
#[cfg_attr(feature = "native-kv", path = "native.rs")]
mod instance;
mod limits;
mod module;
mod thread;
mod trap;
mod values;

pub use engine::{Engine, EngineError, INTERFACE, WASMTIME_VERSION};
pub use instance::{Instance, MAX_RESPONSE_BYTES, Restore, Snapshot};
pub use module::{MAX_MODULE_BYTES, Module, ModuleError};
pub use thread::{THREAD_STACK_BYTES, has_guest_stack, vouch_for_guest_stack, with_guest_stack};
pub use trap::Fault;
pub use values::{ApplyEntry, Context, Event, Outcome};
