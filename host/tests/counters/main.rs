//! The counters in C and in Python keep to the interface, and to the letter of their documentation.
//!
//! Both do the same and have the same snapshots, so all that is checked here is checked with both.
//! Which of them can be built depends on the machine: see `hack/guests.sh`.

mod histories;
mod model;
mod snapshots;
mod subject;
