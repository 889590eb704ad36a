//! What one request is answered with: every row of the REST table, on a leader and on a follower.
//!
//! Tests that only need a healthy cluster of three share one (see [`shared`]) and keep to keys of
//! their own, which begin with the name of the test.

mod batches;
mod connections;
mod events;
mod keys;
mod limits;
mod membership;
mod problems;
mod reads;
mod redirects;
mod shared;
mod status;
