//! Changing the state machine of a running cluster, and checking a module before that.

#[path = "../../host/build/guest.rs"]
mod guest_build;

mod activate;
mod check;
mod crash;
mod divergence;
mod events;
mod faults;
mod foreign;
mod guests;
mod refusals;
mod ways_back;
