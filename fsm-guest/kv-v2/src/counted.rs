//! A value and how often it was set.

use std::num::NonZeroU64;
use std::sync::Arc;

use rkv_kv::Slot;

/// What is under a key: the value, and the version of the key. A key that is deleted and set again
/// starts at 1.
#[derive(Debug, Clone)]
pub struct Counted {
    value: Arc<[u8]>,
    version: NonZeroU64,
}

impl Slot for Counted {
    const COUNTED: bool = true;

    fn set<'a>(value: &[u8], before: impl FnOnce() -> Option<&'a Self>) -> Self {
        let version = before().map_or(NonZeroU64::MIN, |slot| slot.version.saturating_add(1));
        Self::restored(value, version)
    }

    fn restored(value: &[u8], version: NonZeroU64) -> Self {
        Self {
            value: value.into(),
            version,
        }
    }

    fn value(&self) -> &[u8] {
        &self.value
    }

    fn version(&self) -> NonZeroU64 {
        self.version
    }
}
