//! What is under a key.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

/// What the map keeps under a key: the value, and whatever else a version of the store knows about
/// it. Shared with the frozen versions of the map, so cloning is cheap.
pub trait Slot: Clone + fmt::Debug + 'static {
    /// Whether there is a counter of sets, which is part of a snapshot then: its second format.
    const COUNTED: bool;

    /// The value is set. `before` looks up what the key had, for those who want to know.
    fn set<'a>(value: &[u8], before: impl FnOnce() -> Option<&'a Self>) -> Self;

    /// The value comes from a snapshot. Where that has no counters, `version` is 1.
    fn restored(value: &[u8], version: NonZeroU64) -> Self;

    /// The value.
    fn value(&self) -> &[u8];

    /// How often the key was set, or 1 where that is not [counted](Self::COUNTED).
    fn version(&self) -> NonZeroU64;
}

/// A value, and nothing else.
#[derive(Debug, Clone)]
pub struct Value(Arc<[u8]>);

impl Slot for Value {
    const COUNTED: bool = false;

    fn set<'a>(value: &[u8], _before: impl FnOnce() -> Option<&'a Self>) -> Self {
        Self(value.into())
    }

    fn restored(value: &[u8], _version: NonZeroU64) -> Self {
        Self(value.into())
    }

    fn value(&self) -> &[u8] {
        &self.0
    }

    fn version(&self) -> NonZeroU64 {
        NonZeroU64::MIN
    }
}
