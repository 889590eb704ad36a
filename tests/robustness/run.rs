//! What all parts of a run share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::checker::Moment;

/// A lock whose data is whole at any time, so that a panic elsewhere does not matter.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The run as clients, nemeses and observers see it.
#[derive(Debug)]
pub(crate) struct Run {
    began: Instant,
    stop: AtomicBool,
    /// Clients use keys of the current epoch only, which bounds what has to be checked together.
    epoch: AtomicU64,
    /// Where members answer clients, by node id.
    members: Mutex<BTreeMap<u64, SocketAddr>>,
    /// How often each node was started: what it says may go back only when it starts anew.
    starts: Mutex<BTreeMap<u64, u64>>,
    violations: Mutex<Vec<Violation>>,
}

/// Something that must never be, and when it was noticed.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) at: Moment,
    pub(crate) what: String,
}

impl Run {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            stop: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
            members: Mutex::default(),
            starts: Mutex::default(),
            violations: Mutex::default(),
        }
    }

    pub(crate) fn now(&self) -> Moment {
        Moment::try_from(self.began.elapsed().as_nanos()).unwrap_or(Moment::MAX)
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether everybody should come to an end, be it because something is wrong.
    pub(crate) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    pub(crate) fn next_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn set_members(&self, members: BTreeMap<u64, SocketAddr>) {
        *lock(&self.members) = members;
    }

    pub(crate) fn members(&self) -> BTreeMap<u64, SocketAddr> {
        lock(&self.members).clone()
    }

    /// A member to talk to.
    pub(crate) fn any_member(&self, random: &mut fastrand::Rng) -> SocketAddr {
        let members = lock(&self.members);
        let nth = members.values().nth(random.usize(..members.len().max(1)));
        *nth.expect("a cluster has members")
    }

    pub(crate) fn note_start(&self, id: u64) {
        *lock(&self.starts).entry(id).or_default() += 1;
    }

    pub(crate) fn starts(&self, id: u64) -> u64 {
        lock(&self.starts).get(&id).copied().unwrap_or_default()
    }

    /// Notes what must not be, and ends the run: what follows only covers the traces.
    pub(crate) fn violation(&self, what: String) {
        eprintln!("VIOLATION: {what}");
        let at = self.now();
        lock(&self.violations).push(Violation { at, what });
        self.stop();
    }

    pub(crate) fn violations(&self) -> Vec<Violation> {
        lock(&self.violations).clone()
    }
}
