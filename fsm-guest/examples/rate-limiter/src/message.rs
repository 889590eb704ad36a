//! What the rate limiter is told and asked, and what it says.

use serde::{Deserialize, Serialize};

/// A change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// `{"take":{"key":"alice","n":1,"capacity":10,"refill_per_second":0.5}}` takes tokens, all of
    /// them or none. Answered by [`Taken`].
    Take(Take),
}

/// Tokens to take, and from which bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Take {
    /// Who is limited, from 1 to 256 bytes. A key that is new has a full bucket.
    pub key: String,
    /// How many, from 1 to `capacity`. 1 if left out.
    #[serde(default = "one")]
    pub n: u64,
    /// How many tokens a full bucket holds, from 1 to 1,000,000,000.
    pub capacity: u64,
    /// How fast the bucket refills from now on, from 0.001 to 1,000,000. Thousandths count, what is
    /// finer is rounded.
    pub refill_per_second: f64,
}

fn one() -> u64 {
    1
}

/// Whether the tokens were there: `{"allowed":true,"remaining":9,"retry_after_ms":0}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Whether they were taken. Otherwise nothing was.
    pub allowed: bool,
    /// How many whole tokens are left.
    pub remaining: u64,
    /// When they will be there if nobody else takes any, in ms from now. 0 when they were.
    pub retry_after_ms: u64,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Query {
    /// `{"peek":{"key":"alice","capacity":10}}` looks into a bucket. Answered by [`Peeked`].
    Peek {
        /// Any key.
        key: String,
        /// How many tokens a full bucket holds, as in [`Take`].
        capacity: u64,
    },
}

/// What is in a bucket: `{"remaining":9,"full_after_ms":2000}`.
///
/// As of the newest command: without any, log time stands still, and nothing refills.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peeked {
    /// How many whole tokens are there.
    pub remaining: u64,
    /// When the bucket will be full if nobody takes any, in ms. 0 when it is.
    pub full_after_ms: u64,
}

/// Failure codes, besides those of [`rkv_fsm::failure`].
pub mod failure {
    use rkv_fsm::failure::FIRST_OWN;

    /// A key of no bytes or of more than 256.
    pub const BAD_KEY: u32 = FIRST_OWN;
    /// A capacity out of its range.
    pub const BAD_CAPACITY: u32 = FIRST_OWN + 1;
    /// A refill out of its range.
    pub const BAD_REFILL: u32 = FIRST_OWN + 2;
    /// A number of tokens that is 0, or more than a full bucket holds: it could never be taken.
    pub const BAD_NUMBER: u32 = FIRST_OWN + 3;
}

/// What events are about.
pub mod topic {
    /// A request was over its limit: `{"key":"alice","retry_after_ms":2000}`.
    pub const LIMITED: &str = "limited";
}
