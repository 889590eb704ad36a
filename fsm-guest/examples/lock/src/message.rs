//! What the lock service is told and asked, and what it says.

use serde::{Deserialize, Serialize};

/// A change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// `{"acquire":{"lock":"db","owner":"worker-1","ttl_ms":10000}}` takes a lock that is free.
    ///
    /// Its owner acquires it again with the same token, and from then on for `ttl_ms`: so the
    /// command can be repeated when its answer was lost. Owners must have different names for this.
    Acquire(Acquire),
    /// `{"renew":{"lock":"db","token":17,"ttl_ms":10000}}` holds a lock for longer.
    Renew(Renew),
    /// `{"release":{"lock":"db","token":17}}` gives a lock back before its time is over.
    Release(Release),
}

/// A lock to take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acquire {
    /// From 1 to 256 bytes. Locks need not be made before.
    pub lock: String,
    /// From 1 to 256 bytes.
    pub owner: String,
    /// How long to hold it, in ms of log time: from 1 to a day (86,400,000).
    pub ttl_ms: u64,
}

/// A lease to prolong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// A lock that one holds.
    pub lock: String,
    /// What came with it.
    pub token: u64,
    /// How long to hold it from now on, as in [`Acquire`].
    pub ttl_ms: u64,
}

/// A lock to give back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// A lock that one holds.
    pub lock: String,
    /// What came with it.
    pub token: u64,
}

/// What a command that was carried out answers: `{"token":17,"expires_ms":1700000010000}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The fencing token.
    pub token: u64,
    /// When the lease ends, or the time at which it was released, in ms of log time.
    pub expires_ms: u64,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Query {
    /// `{"holder":{"lock":"db"}}` is answered by the [`Lease`](crate::Lease), or `null` when the
    /// lock is free.
    Holder {
        /// Any lock.
        lock: String,
    },
}

/// Failure codes, besides those of [`rkv_fsm::failure`].
pub mod failure {
    use rkv_fsm::failure::FIRST_OWN;

    /// Someone else holds the lock. The message says who, and until when.
    pub const HELD: u32 = FIRST_OWN;
    /// The token is not that of the lock's holder: the lease is over, released or never was.
    pub const LOST: u32 = FIRST_OWN + 1;
    /// A name of no bytes or of more than 256.
    pub const BAD_NAME: u32 = FIRST_OWN + 2;
    /// A time of 0 or of more than a day.
    pub const BAD_TTL: u32 = FIRST_OWN + 3;
}

/// What events are about. The data of each is `{"lock":"db","owner":"worker-1","token":17}`.
pub mod topic {
    /// The lock has a new holder.
    pub const ACQUIRED: &str = "acquired";
    /// The holder gave the lock back.
    pub const RELEASED: &str = "released";
    /// The holder's time was over. It comes with the first command that is carried out behind the
    /// end, or a later one when many leases end at once.
    pub const EXPIRED: &str = "expired";
}
