//! The wasm layer against real components: which are refused and why, and what becomes of those
//! that misbehave. And the check layer: what it finds in them.

mod bundled;
mod cache;
mod check;
mod check_findings;
mod faults;
mod faulty;
#[path = "../../build/guest.rs"]
mod guest_build;
mod guests;
mod histories;
mod instances;
mod interpreter;
mod kit;
mod refusals;
