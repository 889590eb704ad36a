//! Which seeds a randomised test runs, and what it says when one fails.

use std::env;
use std::ops::Range;

/// The seeds of a test: the first `count`, unless the environment says otherwise.
/// `RKV_CRASH_SEEDS=5000` runs more, `RKV_CRASH_SEED=17` that one.
pub(in crate::storage) fn seeds(count: u64) -> Range<u64> {
    let number = |name: &str| {
        let value = env::var(name).ok()?;
        Some(
            value
                .parse()
                .unwrap_or_else(|_| panic!("{name}={value} is no number")),
        )
    };
    match number("RKV_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RKV_CRASH_SEEDS").unwrap_or(count),
    }
}
