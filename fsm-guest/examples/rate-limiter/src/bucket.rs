//! The arithmetic of one bucket.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

/// What a token is counted in. A thousandth of a token per second is one of these per millisecond,
/// so that no time and no rate is ever rounded.
pub(crate) const MICROTOKENS: u64 = 1_000_000;

/// A bucket that is not full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bucket {
    /// What it lacked when something was last taken, in millionths of a token.
    missing: NonZeroU64,
    /// When that was, in ms of log time.
    taken_ms: u64,
    /// How fast it refills since, in millionths of a token per ms.
    refill: NonZeroU64,
}

impl Bucket {
    /// A bucket that lacks `missing` microtokens now, or nothing if it is full.
    pub(crate) fn new(missing: u64, now_ms: u64, refill: NonZeroU64) -> Option<Self> {
        Some(Self {
            missing: NonZeroU64::new(missing)?,
            taken_ms: now_ms,
            refill,
        })
    }

    /// What it lacks now, in microtokens.
    pub(crate) fn missing(&self, now_ms: u64) -> u64 {
        let elapsed = now_ms.saturating_sub(self.taken_ms);
        let refilled = elapsed.saturating_mul(self.refill.get());
        self.missing.get().saturating_sub(refilled)
    }

    /// When it lacks nothing any more, in ms of log time.
    pub(crate) fn full_ms(&self) -> u64 {
        let wait = self.missing.get().div_ceil(self.refill.get());
        self.taken_ms.saturating_add(wait)
    }
}
