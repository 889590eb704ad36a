//! What is logged of connections that were turned away or broke. Whoever can reach the port decides how
//! many there are, and must not decide how much is logged.

use std::collections::HashSet;
use std::fmt::Display;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long the same line is not repeated.
const WINDOW: Duration = Duration::from_secs(30);

/// Different lines in that time; more are counted only.
const MAX_LINES: usize = 100;

/// Logs each complaint once in a while.
#[derive(Debug)]
pub(super) struct Complaints {
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    said: HashSet<String>,
    unsaid: u64,
}

impl Window {
    fn begin() -> Self {
        Self {
            began: Instant::now(),
            said: HashSet::new(),
            unsaid: 0,
        }
    }

    /// Whether this one is to be logged.
    fn admits(&mut self, line: String) -> bool {
        let is_new = self.said.len() < MAX_LINES && self.said.insert(line);
        self.unsaid += u64::from(!is_new);
        is_new
    }
}

impl Complaints {
    pub(super) fn new() -> Self {
        Self {
            window: Mutex::new(Window::begin()),
        }
    }

    /// Notes why a connection came to nothing.
    pub(super) fn note(&self, peer: IpAddr, reason: &dyn Display) {
        let mut window = self.window.lock();
        if window.began.elapsed() >= WINDOW {
            let before = std::mem::replace(&mut *window, Window::begin());
            if before.unsaid > 0 {
                let count = before.unsaid;
                tracing::warn!("{count} more raft connections came to nothing before");
            }
        }
        if window.admits(format!("{peer}: {reason}")) {
            tracing::warn!(%peer, %reason, "turned a raft connection away");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_said_once_and_there_are_so_many_only() {
        let mut window = Window::begin();
        assert!(window.admits("a".to_owned()));
        assert!(!window.admits("a".to_owned()));
        let said = (0..1_000).filter(|number| window.admits(number.to_string()));
        assert_eq!(said.count(), MAX_LINES - 1);
        assert_eq!(window.unsaid, 1_002 - MAX_LINES as u64);
    }
}
