//! The wasm layer against real components: which are refused and why, and what becomes of those
//! that misbehave.

mod bundled;
mod cache;
mod faults;
mod instances;
mod kit;
mod refusals;
