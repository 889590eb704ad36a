//! The thread that owns the state machine, and its queue.
//!
//! One thread, because the instance is single-threaded and needs a deep stack of its own. Others use
//! it [`in_place`](super::in_place) while the queue is empty. The queue is unbounded as a channel, and
//! bounded by its senders: openraft has one apply or install under way at a time, a snapshot one
//! chunk, and reads two batches of queries.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;
use openraft::storage::ApplyResponder;
use tokio::sync::oneshot;

use super::checkpoint::FrozenState;
use super::error::FsmError;
use super::events::Events;
use super::handle::{FsmHandle, QueryError};
use super::host_state::HostState;
use super::in_place::{Access, Waiting};
use super::keeping::PreviousState;
use super::machine::{Machine, MachineParts};
use super::query::{QueryAnswer, QueryFault};
use super::section::CHUNK_BYTES;
use super::shared::Shared;
use crate::failpoint;
use crate::metrics::FsmMetrics;
use crate::storage::SnapshotFile;
use crate::types::{Entry, LogId, LogIndex, Reply, StateDigest, StoredMembership, TypeConfig};
use crate::wasm::{Snapshot, THREAD_STACK_BYTES};

/// An entry, and whoever waits for it to be applied.
pub(super) type Applicable = (Entry, Option<ApplyResponder<TypeConfig>>);

/// Whoever waits for an entry, and what came of it.
pub(super) type Applied = (ApplyResponder<TypeConfig>, Reply);

/// The answer to a job that may find the node stopped.
pub(super) type Answer<T> = oneshot::Sender<Result<T, FsmError>>;

/// An answer to each query, or what befell them all.
pub(super) type Answers = Result<Vec<Result<Bytes, QueryError>>, QueryError>;

/// What the thread is asked to do.
pub(super) enum Job {
    Apply {
        entries: Vec<Applicable>,
        /// With the replies that somebody waits for.
        done: Answer<Vec<Applied>>,
    },
    Query {
        queries: Vec<Bytes>,
        answer: oneshot::Sender<Answers>,
    },
    Applied {
        answer: Answer<(Option<LogId>, StoredMembership)>,
    },
    Install {
        file: SnapshotFile,
        done: Answer<()>,
    },
    OpenSnapshot {
        answer: Answer<Frozen>,
    },
    /// As [`Job::OpenSnapshot`], of the present state in any case.
    OpenPresent {
        answer: Answer<Frozen>,
    },
    ReadSnapshot {
        ticket: Ticket,
        answer: Answer<SnapshotRead>,
    },
    CloseSnapshot {
        ticket: Ticket,
    },
    /// The digest at a checkpoint, if it is remembered.
    Digest {
        index: LogIndex,
        answer: Answer<Option<StateDigest>>,
    },
    /// The entries behind `index` that some module trapped on.
    Traps {
        index: LogIndex,
        answer: Answer<Vec<LogIndex>>,
    },
    /// A peer's snapshot takes the place of all that this node has.
    Repair {
        file: SnapshotFile,
        done: Answer<()>,
    },
}

/// Names an open snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ticket(u64);

/// The state at one index, ready to be read while later entries are applied.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) ticket: Ticket,
    pub(super) host: HostState,
    /// The state from before the last activation.
    pub(super) previous: PreviousState,
}

/// What reading an open snapshot gave.
#[derive(Debug)]
pub(super) enum SnapshotRead {
    /// At most 1 MiB; empty at the end.
    Chunk(Vec<u8>),
    /// The instance was replaced meanwhile: the snapshot has to begin again.
    Superseded,
}

/// Starts the thread. It ends when every handle is dropped.
pub fn start(parts: MachineParts) -> std::io::Result<(FsmHandle, JoinHandle<()>)> {
    let (jobs, queue) = channel();
    let shared = Shared::default();
    let (events, metrics) = (Events::new(), FsmMetrics::default());
    let alive = Arc::new(());
    let pulse = Arc::downgrade(&alive);
    let (registry, snapshots) = (parts.registry.clone(), parts.snapshots.clone());
    let worker = Arc::new(Mutex::new(Worker {
        machine: Machine::new(parts, events.clone(), metrics.clone()),
        cursors: HashMap::new(),
        next_ticket: 0,
        shared: shared.clone(),
    }));
    let waiting = Waiting::default();
    let access = Access::new(jobs, waiting.clone(), &worker);
    let thread = std::thread::Builder::new()
        .name("rkv-fsm".to_owned())
        .stack_size(THREAD_STACK_BYTES)
        .spawn(move || {
            // Gone with the thread, however that ends.
            let _alive = alive;
            run(&worker, &queue, &waiting);
        })?;
    Ok((
        FsmHandle::new(access, shared, registry, snapshots, events, metrics, pulse),
        thread,
    ))
}

fn run(worker: &Mutex<Worker>, queue: &Receiver<Job>, waiting: &Waiting) {
    while let Ok(job) = queue.recv() {
        let Ok(mut worker) = worker.lock() else {
            tracing::error!("a panic has left the state machine in the middle of something");
            return;
        };
        waiting.end();
        worker.handle(job);
    }
}

pub(super) struct Worker {
    pub(super) machine: Machine,
    /// `None`: the snapshot of a state without a module.
    cursors: HashMap<Ticket, (u64, Option<Snapshot>)>,
    next_ticket: u64,
    shared: Shared,
}

impl Worker {
    fn handle(&mut self, job: Job) {
        match job {
            Job::Query { queries, answer } => {
                let _ = answer.send(self.query(&queries));
            }
            Job::Apply { entries, done } => {
                let _ = done.send(self.apply(entries));
            }
            Job::Applied { answer } => {
                let host = &self.machine.host;
                let _ = answer.send(Ok((host.applied, host.membership.clone())));
            }
            Job::Install { file, done } => {
                failpoint::crash_at("install-before");
                let installed = self.machine.install(&file);
                failpoint::crash_at("install-after");
                self.publish();
                let _ = done.send(installed);
            }
            Job::OpenSnapshot { answer } => {
                let _ = answer.send(self.open_snapshot());
            }
            Job::OpenPresent { answer } => {
                let frozen = self.machine.freeze();
                let _ = answer.send(frozen.map(|frozen| self.hand_out(frozen)));
            }
            Job::ReadSnapshot { ticket, answer } => {
                let _ = answer.send(self.read_snapshot(ticket));
            }
            Job::CloseSnapshot { ticket } => self.close_snapshot(ticket),
            Job::Digest { index, answer } => {
                let _ = answer.send(Ok(self.machine.host.marked(index)));
            }
            Job::Traps { index, answer } => {
                let _ = answer.send(Ok(self.machine.parts.traps.behind(index)));
            }
            Job::Repair { file, done } => {
                let repaired = self.machine.repair(file);
                self.publish();
                let _ = done.send(repaired);
            }
        }
    }

    fn apply(&mut self, applicable: Vec<Applicable>) -> Result<Vec<Applied>, FsmError> {
        let (entries, responders): (Vec<Entry>, Vec<_>) = applicable.into_iter().unzip();
        let replies = self.apply_by(&entries, Machine::apply)?;
        Ok(replied(responders, replies))
    }

    /// Gives the entries back when the thread has to apply them.
    pub(super) fn apply_in_place(
        &mut self,
        applicable: Vec<Applicable>,
    ) -> Result<Vec<Applied>, Vec<Applicable>> {
        let (entries, responders): (Vec<Entry>, Vec<_>) = applicable.into_iter().unzip();
        let apply =
            |machine: &mut Machine, entries: &[_]| machine.apply_in_place(entries).ok_or(());
        match self.apply_by(&entries, apply) {
            Ok(replies) => Ok(replied(responders, replies)),
            Err(()) => Err(entries.into_iter().zip(responders).collect()),
        }
    }

    fn apply_by<E>(
        &mut self,
        entries: &[Entry],
        apply: impl FnOnce(&mut Machine, &[Entry]) -> Result<Vec<Reply>, E>,
    ) -> Result<Vec<Reply>, E> {
        failpoint::crash_at("apply-before");
        let started = Instant::now();
        let replies = apply(&mut self.machine, entries)?;
        self.machine.metrics.applied(entries.len(), started);
        failpoint::crash_at("apply-after");
        self.shared.count_applied(&replies);
        self.publish();
        Ok(replies)
    }

    fn query(&mut self, queries: &[Bytes]) -> Answers {
        let generation = self.machine.generation;
        let started = Instant::now();
        let answers = self.machine.query(&slices(queries));
        self.count_queries(queries.len(), started);
        if self.machine.generation != generation {
            self.publish();
        }
        let answers = answers
            .map_err(|error| {
                tracing::error!(%error, "the state machine cannot answer");
                QueryError::Quarantined(error.to_string())
            })?
            .ok_or(QueryError::NoModule)?;
        if answers.len() != queries.len() {
            let reason = format!("{} queries got {} answers", queries.len(), answers.len());
            return Err(QueryError::Stopped(reason));
        }
        Ok(given(answers))
    }

    /// `None`: the thread has to ask.
    pub(super) fn query_in_place(
        &mut self,
        queries: &[&[u8]],
    ) -> Option<Vec<Result<Bytes, QueryError>>> {
        let started = Instant::now();
        let answers = self.machine.query_in_place(queries)?;
        self.count_queries(queries.len(), started);
        Some(given(answers))
    }

    fn count_queries(&self, queries: usize, started: Instant) {
        self.machine.metrics.answered(started);
        self.shared.count_queries(queries);
    }

    /// Opens the state of the last checkpoint that asked for a snapshot, or the present one.
    fn open_snapshot(&mut self) -> Result<Frozen, FsmError> {
        let frozen = match self.machine.take_frozen()? {
            Some(frozen) => frozen,
            None => self.machine.freeze()?,
        };
        Ok(self.hand_out(frozen))
    }

    fn hand_out(&mut self, frozen: FrozenState) -> Frozen {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.cursors
            .insert(ticket, (frozen.generation, frozen.cursor));
        Frozen {
            ticket,
            host: frozen.host,
            previous: frozen.previous,
        }
    }

    fn read_snapshot(&mut self, ticket: Ticket) -> Result<SnapshotRead, FsmError> {
        // First: what a fault in place has cost the snapshot is no fault of the snapshot's.
        self.machine.mend()?;
        let Some((generation, cursor)) = self.cursors.get(&ticket) else {
            return Ok(SnapshotRead::Superseded);
        };
        if *generation != self.machine.generation {
            self.cursors.remove(&ticket);
            return Ok(SnapshotRead::Superseded);
        }
        let (Some(cursor), Some(instance)) = (cursor, &mut self.machine.instance) else {
            return Ok(SnapshotRead::Chunk(Vec::new()));
        };
        match instance.read_snapshot(cursor, CHUNK_BYTES) {
            Ok(chunk) => Ok(SnapshotRead::Chunk(chunk)),
            Err(fault) => {
                self.machine.rebuild()?;
                Err(FsmError::Snapshot(fault))
            }
        }
    }

    fn close_snapshot(&mut self, ticket: Ticket) {
        let Some((generation, cursor)) = self.cursors.remove(&ticket) else {
            return;
        };
        if let Err(error) = self.machine.let_go(generation, cursor) {
            tracing::error!(%error, "cannot rebuild the state machine");
        }
    }

    fn publish(&mut self) {
        for claim in std::mem::take(&mut self.machine.claims) {
            self.shared.check(claim);
        }
        self.shared.publish(&self.machine);
    }
}

fn replied(
    responders: Vec<Option<ApplyResponder<TypeConfig>>>,
    replies: Vec<Reply>,
) -> Vec<Applied> {
    let replied = responders.into_iter().zip(replies);
    replied
        .filter_map(|(responder, reply)| Some((responder?, reply)))
        .collect()
}

pub(super) fn slices(queries: &[Bytes]) -> Vec<&[u8]> {
    queries.iter().map(|query| &query[..]).collect()
}

fn given(answers: Vec<QueryAnswer>) -> Vec<Result<Bytes, QueryError>> {
    let given = |answer| match answer {
        Ok(bytes) => Ok(Bytes::from(bytes)),
        Err(QueryFault::Refused(failure)) => Err(QueryError::Refused(failure)),
        Err(QueryFault::Trapped(kind)) => Err(QueryError::Trapped(kind)),
    };
    answers.into_iter().map(given).collect()
}
