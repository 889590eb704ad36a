//! Places where the tests interrupt a node, by name. A build without the feature `failpoints` has none.
//!
//! Some are bugs on purpose, which the robustness tests must find: their names say what is left out.
//!
//! A test arms them by the environment: `FAILPOINTS="name=return;other=9*off->1*return"` means the
//! first time at `name`, and the tenth time at `other`.

/// Ends the process as `kill -9` would, if a test has armed this point.
#[inline]
pub(crate) fn crash_at(name: &str) {
    if is_armed(name) {
        std::process::abort();
    }
}

/// Whether a test has armed this point, this time.
#[cfg(feature = "failpoints")]
pub(crate) fn is_armed(name: &str) -> bool {
    fail::fail_point!(name, |_| true);
    false
}

/// Whether a test has armed this point, this time.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) fn is_armed(_name: &str) -> bool {
    false
}
