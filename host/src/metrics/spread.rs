//! Counts that many threads add to at once.
//!
//! A number in one place moves from processor to processor with each addition. Here every thread adds to
//! a part that few others or none add to, and a scrape sums the parts up.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads beyond this number share parts.
const PARTS: usize = 8;

/// Two cache lines, as processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Part<T>(T);

/// Something in parts.
#[derive(Debug)]
pub(super) struct Spread<T>([Part<T>; PARTS]);

impl<T: Default> Default for Spread<T> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Part::default()))
    }
}

impl<T> Spread<T> {
    /// The calling thread's part.
    pub(super) fn own(&self) -> &T {
        thread_local! {
            static PART: usize = {
                static NEXT: AtomicUsize = AtomicUsize::new(0);
                NEXT.fetch_add(1, Ordering::Relaxed) % PARTS
            };
        }
        // A thread that is ending has nothing of its own any more.
        &self.0[PART.try_with(|part| *part).unwrap_or(0)].0
    }

    /// All parts.
    pub(super) fn parts(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|part| &part.0)
    }
}
