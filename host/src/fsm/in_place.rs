//! Short calls into the module, on the thread that needs what comes of them.
//!
//! The way to the state machine's thread and back wakes two threads, which takes longer than most
//! commands and queries do. So whoever finds the machine free, with nobody waiting for it, may use it
//! on the spot. What could take long is left to the machine's own thread: calls of a module that is
//! not known to be quick, whatever is not a command or a query, and all that has to do with faults.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, Weak};

use super::error::FsmError;
use super::machine::{Machine, StepError, is_command};
use super::query::QueryAnswer;
use super::worker::{Job, Worker};
use crate::types::{Entry, Reply};
use crate::wasm::has_guest_stack;

/// Fuel of a short call: a millisecond or so. Whoever calls in place keeps its thread for that long.
const SHORT_FUEL: u64 = 1_000_000;

/// Calls that a module has to keep short, one after the other, before it is called in place.
const PROBATION: u32 = 64;

/// The two ways to the state machine: its thread's queue, and in place.
#[derive(Debug, Clone)]
pub(super) struct Access {
    jobs: Sender<Job>,
    waiting: Waiting,
    /// Owned by the thread, so that the machine is gone when the thread is.
    worker: Weak<Mutex<Worker>>,
}

/// Counts the jobs that wait for the thread.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn begin(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes that the thread has taken one.
    pub(super) fn end(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }

    fn is_empty(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

impl Access {
    pub(super) fn new(jobs: Sender<Job>, waiting: Waiting, worker: &Arc<Mutex<Worker>>) -> Self {
        Self {
            jobs,
            waiting,
            worker: Arc::downgrade(worker),
        }
    }

    /// Has the thread do a job.
    pub(super) fn submit(&self, job: Job) -> Result<(), FsmError> {
        self.waiting.begin();
        self.jobs.send(job).map_err(|_| FsmError::Ended)
    }

    /// Uses the machine here and now. `None` when it is not free, not quick, or when this thread has too
    /// small a stack: the machine's own thread is to do it.
    pub(super) fn in_place<R>(&self, work: impl FnOnce(&mut Worker) -> R) -> Option<R> {
        if !has_guest_stack() || !self.waiting.is_empty() {
            return None;
        }
        let worker = self.worker.upgrade()?;
        // Poisoned, it is nobody's any more: the thread will find that out and end.
        let mut worker = worker.try_lock().ok()?;
        worker.machine.is_quick().then(|| work(&mut worker))
    }
}

/// How long the calls of an instance take.
#[derive(Debug, Default)]
pub(super) struct Pace {
    short_in_a_row: u32,
}

impl Pace {
    /// Notes a call.
    pub(super) fn note(&mut self, fuel_burnt: u64) {
        if fuel_burnt > SHORT_FUEL {
            self.short_in_a_row = 0;
        } else {
            self.short_in_a_row = self.short_in_a_row.saturating_add(1);
        }
    }

    fn is_quick(&self) -> bool {
        self.short_in_a_row >= PROBATION
    }
}

impl Machine {
    fn is_quick(&self) -> bool {
        self.pace.is_quick() && !self.is_broken && self.halted.is_none() && self.keeping.is_none()
    }

    /// Applies commands if that is all that there is to do. `None`: nothing was applied.
    pub(super) fn apply_in_place(&mut self, entries: &[Entry]) -> Option<Vec<Reply>> {
        if !entries.iter().all(is_command) {
            return None;
        }
        let clock_ms = self.host.clock_ms;
        match self.step(entries) {
            Ok(replies) => Some(replies),
            Err(error) => {
                self.host.clock_ms = clock_ms;
                if let StepError::Fault(fault) = error {
                    tracing::warn!(entries = entries.len(), %fault, "commands failed in place");
                    self.is_broken = true;
                }
                None
            }
        }
    }

    /// Asks the module. `None`: the thread has to ask again.
    pub(super) fn query_in_place(&mut self, queries: &[&[u8]]) -> Option<Vec<QueryAnswer>> {
        let asked = self.ask(queries).ok()?;
        self.is_broken = asked.spoilt;
        match asked.answers {
            Ok(answers) => answers,
            Err(fault) => {
                tracing::warn!(queries = queries.len(), %fault, "queries failed in place");
                None
            }
        }
    }

    /// Makes good what a fault in place has left behind.
    pub(super) fn mend(&mut self) -> Result<(), FsmError> {
        if self.is_broken {
            self.rebuild()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_quick_once_its_calls_were_short_for_a_while() {
        let mut pace = Pace::default();
        for _ in 0..2 {
            for _ in 0..PROBATION {
                assert!(!pace.is_quick());
                pace.note(SHORT_FUEL);
            }
            assert!(pace.is_quick());
            pace.note(SHORT_FUEL + 1);
        }
        assert!(!pace.is_quick());
    }
}
