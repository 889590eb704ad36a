//! A rate limiter: token buckets that refill by log time, as `rkv:rate-limiter@1`.
//!
//! Commands and queries are the JSON of [`Command`] and [`Query`]. The limit comes with each
//! request, so there is nothing to set up, and another limit holds from its first request on. A
//! bucket that is full again is forgotten: only keys in use take memory.
//!
//! A request that is over the limit is an answer like any other, with the time after which it is
//! worth repeating. Failures are for requests that make no sense.

mod bucket;
mod limiter;
mod message;

pub use limiter::RateLimiter;
pub use message::{Command, Peeked, Query, Take, Taken, failure, topic};

rkv_fsm::export!(RateLimiter);
