//! The wall clock, read in one place: state machines see only what went through the log.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 on this node's clock; 0 for a clock before that.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
