//! Progress bars, on standard error where that is a terminal, and nowhere else.

use indicatif::{ProgressBar, ProgressStyle};

const BYTES: &str = "{msg} {bar:30} {bytes} of {total_bytes}, {eta} left";

/// A bar for work that is counted in bytes. Cleared when it is dropped: what the work came to is
/// printed, and stays.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar for `total` bytes.
    pub(crate) fn bytes(label: &'static str, total: u64) -> Self {
        let bar = ProgressBar::new(total).with_message(label);
        // The template is a constant that a test compiles.
        if let Ok(style) = ProgressStyle::with_template(BYTES) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Goes on by that many bytes.
    pub(crate) fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Has the bar out of the way while something is printed.
    pub(crate) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_sound() {
        ProgressStyle::with_template(BYTES).unwrap();
    }
}
