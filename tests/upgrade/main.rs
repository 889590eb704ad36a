//! Changing the state machine of a running cluster.

#[path = "../../host/build/guest.rs"]
mod guest_build;

mod activate;
mod crash;
mod divergence;
mod events;
mod faults;
mod guests;
mod refusals;
mod ways_back;
