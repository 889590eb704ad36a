//! A lock service: leases that expire by log time, with fencing tokens, as `rkv:lock@1`.
//!
//! Commands and queries are the JSON of [`Command`] and [`Query`]. Whoever acquires a lock holds it
//! until it is released, or until its time is over. A holder that was slow cannot know that its time
//! is over, so each grant comes with a token that is higher than all before it: whatever the lock
//! protects should refuse a token lower than the highest it has seen.
//!
//! Time is the log's. It moves with the commands, so a lease ends at the first command behind its
//! end, and a query on a cluster without commands may still show a holder whose time is over.

mod lease;
mod locks;
mod message;

pub use lease::Lease;
pub use locks::Locks;
pub use message::{Acquire, Command, Query, Release, Renew, Reply, failure, topic};

rkv_fsm::export!(Locks);
