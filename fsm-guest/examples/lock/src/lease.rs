//! The right to a lock for some time.

use rkv_fsm::Context;
use serde::{Deserialize, Serialize};

/// Who holds a lock, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The owner's own name.
    pub owner: String,
    /// The fencing token: the log index of the command that acquired the lock. So a later holder's
    /// is always higher, also when the state was set back in between.
    pub token: u64,
    /// In log time, milliseconds since 1970-01-01 UTC. Over when log time is there.
    pub expires_ms: u64,
}

impl Lease {
    pub(crate) fn is_over(&self, now: Context) -> bool {
        self.expires_ms <= now.time_ms
    }
}
