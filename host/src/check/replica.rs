//! One run of a history, recovering from faults as a node does.

use std::collections::BTreeSet;
use std::ops::Range;

use super::answer::Answer;
use super::finding::Finding;
use super::history::Entry;
use crate::types::{Description, Limits, TrapKind};
use crate::wasm::{Context, Fault, Instance, Module, Snapshot};

/// Entries that are applied at a time when a state is rebuilt, as by a node.
const REPLAY_BATCH: usize = 256;

/// Calls that reading or restoring a snapshot may take: chunks are larger where it would take more.
const MAX_CHUNKS: usize = 100_000;

/// The largest chunk of a snapshot: what a node reads and writes at a time.
pub(super) const MAX_CHUNK_BYTES: usize = 1 << 20;

/// Bytes of a snapshot that are held in memory.
const MAX_SNAPSHOT_BYTES: usize = 256 << 20;

/// How many entries' worth of fuel one run may burn: some minutes.
const MAX_FUEL_OF_ENTRIES: u64 = 20;

/// The context of queries on an empty state.
const BEFORE_ALL: Context = Context {
    index: 0,
    term: 0,
    time_ms: 0,
    seed: 0,
};

/// A state machine that applies a history.
///
/// Whatever an entry comes to is held against what it came to before: in this run, when entries are
/// applied again behind a snapshot, and in the run that this one is compared with.
#[derive(Debug)]
pub(super) struct Replica<'a> {
    module: &'a Module,
    limits: &'a Limits,
    entries: &'a [&'a Entry],
    /// What the first entries have to come to, in this order.
    answers: Vec<Answer>,
    instance: Instance,
    applied: usize,
    /// Entries that trapped here: they are not applied again.
    trapped: BTreeSet<usize>,
    saved: Option<Saved>,
    /// Fuel of the instances before this one.
    burnt: u64,
    /// How many instances there have been: an open snapshot ends with its instance.
    generation: u64,
}

/// A snapshot to rebuild the state from.
#[derive(Debug)]
struct Saved {
    bytes: Vec<u8>,
    applied: usize,
}

/// Why a batch was not applied.
enum Stop {
    Fault(Fault),
    Finding(Finding),
}

impl<'a> Replica<'a> {
    /// A state machine that has applied nothing. The entries must come to `answers` as far as these
    /// go.
    pub(super) fn start(
        module: &'a Module,
        limits: &'a Limits,
        entries: &'a [&'a Entry],
        answers: Vec<Answer>,
    ) -> Result<Self, Finding> {
        Ok(Self {
            instance: instantiate(module, limits, 0)?,
            module,
            limits,
            entries,
            answers,
            applied: 0,
            trapped: BTreeSet::new(),
            saved: None,
            burnt: 0,
            generation: 0,
        })
    }

    pub(super) fn applied(&self) -> usize {
        self.applied
    }

    pub(super) fn is_done(&self) -> bool {
        self.applied == self.entries.len()
    }

    /// What the entries came to so far, or have to come to.
    pub(super) fn answers(&self) -> &[Answer] {
        &self.answers
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn into_answers(self) -> Vec<Answer> {
        self.answers
    }

    pub(super) fn fuel_burnt(&self) -> u64 {
        self.burnt + self.instance.fuel_burnt()
    }

    /// Applies the next `count` entries in one batch. Those that trap fail alone.
    pub(super) fn advance(&mut self, count: usize) -> Result<(), Finding> {
        let end = self.entries.len().min(self.applied + count);
        let batch = self.applied..end;
        let done = self.run(batch.clone());
        match done {
            Err(Stop::Fault(Fault::Trap(_) | Fault::Memory)) if batch.len() > 1 => {
                // A batch has the fuel of one entry: each fails exactly if it fails alone.
                self.rebuild()?;
                batch.into_iter().try_for_each(|_| self.advance(1))
            }
            Err(Stop::Fault(Fault::Memory)) => {
                // Heaps differ, but not those that hold nothing but the state.
                self.rebuild()?;
                self.compact()?;
                let done = match self.run(batch.clone()) {
                    Err(Stop::Fault(Fault::Memory)) => {
                        Err(Stop::Fault(Fault::Trap(TrapKind::OutOfMemory)))
                    }
                    done => done,
                };
                self.conclude(batch, done)
            }
            done => self.conclude(batch, done),
        }
    }

    /// Goes behind a batch that was applied, or behind one entry that trapped and leaves no effect.
    fn conclude(&mut self, batch: Range<usize>, done: Result<(), Stop>) -> Result<(), Finding> {
        match done {
            Ok(()) => {}
            Err(Stop::Fault(Fault::Trap(kind))) => {
                self.record(batch.start, Answer::trapped(kind))?;
                self.trapped.insert(batch.start);
                self.rebuild()?;
            }
            Err(stop) => return Err(self.finding(stop)),
        }
        self.applied = batch.end;
        Ok(())
    }

    /// Puts the state into an instance whose heap holds nothing else.
    fn compact(&mut self) -> Result<(), Finding> {
        let bytes = self.snapshot(MAX_CHUNK_BYTES)?;
        self.save(bytes, self.applied);
        self.rebuild()
    }

    /// Goes on with a new instance: restored from the newest snapshot, or empty, and brought up to
    /// the last entry applied.
    pub(super) fn rebuild(&mut self) -> Result<(), Finding> {
        let mut batch = REPLAY_BATCH;
        loop {
            self.restart()?;
            let behind = self.saved.as_ref().map_or(0, |saved| saved.applied);
            match self.replay(behind..self.applied, batch) {
                Ok(()) => return Ok(()),
                // A batch has the fuel of one entry.
                Err((_, Stop::Fault(Fault::Trap(_) | Fault::Memory))) if batch > 1 => batch = 1,
                Err((at, Stop::Fault(Fault::Trap(kind)))) => {
                    self.record(at, Answer::trapped(kind))?;
                    self.trapped.insert(at);
                }
                Err((_, stop)) => return Err(self.finding(stop)),
            }
        }
    }

    fn replay(&mut self, entries: Range<usize>, batch: usize) -> Result<(), (usize, Stop)> {
        for start in entries.clone().step_by(batch) {
            let end = entries.end.min(start + batch);
            self.run(start..end).map_err(|stop| (start, stop))?;
        }
        Ok(())
    }

    /// A new instance with the state of the newest snapshot, or none.
    fn restart(&mut self) -> Result<(), Finding> {
        self.burnt += self.instance.fuel_burnt();
        self.generation += 1;
        self.instance = instantiate(self.module, self.limits, self.applied)?;
        match self.saved.take() {
            None => Ok(()),
            Some(saved) => {
                let restored = self.restore(&saved.bytes, usize::MAX);
                self.saved = Some(saved);
                restored
            }
        }
    }

    /// Applies some entries, but for those that trapped, in one call.
    fn run(&mut self, entries: Range<usize>) -> Result<(), Stop> {
        self.check_fuel().map_err(Stop::Finding)?;
        let numbers: Vec<usize> = entries.filter(|at| !self.trapped.contains(at)).collect();
        if numbers.is_empty() {
            return Ok(());
        }
        let batch: Vec<_> = numbers
            .iter()
            .map(|&at| self.entries[at].to_apply())
            .collect();
        let results = self.instance.apply(&batch).map_err(Stop::Fault)?;
        if self.instance.memory_refused() {
            // The module coped, but another node's may not have had to.
            return Err(Stop::Fault(Fault::Memory));
        }
        for (at, result) in numbers.into_iter().zip(&results) {
            self.record(at, Answer::of(result)).map_err(Stop::Finding)?;
        }
        Ok(())
    }

    fn record(&mut self, at: usize, answer: Answer) -> Result<(), Finding> {
        match self.answers.get(at) {
            None => self.answers.push(answer),
            Some(before) if *before == answer => {}
            Some(before) => {
                let command = &self.entries[at].command;
                return Err(Finding::outcome(self.number(at), command, before, &answer));
            }
        }
        Ok(())
    }

    pub(super) fn open_snapshot(&mut self) -> Result<Snapshot, Finding> {
        self.check_fuel()?;
        let opened = self.instance.open_snapshot();
        opened.map_err(|fault| self.fault("opening a snapshot", fault))
    }

    pub(super) fn read_snapshot(
        &mut self,
        snapshot: &Snapshot,
        chunk_bytes: usize,
    ) -> Result<Vec<u8>, Finding> {
        self.check_fuel()?;
        let max_bytes = u32::try_from(chunk_bytes).unwrap_or(u32::MAX);
        let chunk = self.instance.read_snapshot(snapshot, max_bytes);
        chunk.map_err(|fault| self.fault("reading a snapshot", fault))
    }

    /// Reads what is left of an open snapshot.
    pub(super) fn read_to_end(
        &mut self,
        snapshot: Snapshot,
        chunk_bytes: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Finding> {
        loop {
            // Chunks of one byte are for small states.
            let chunk = chunk_bytes.max(bytes.len() / MAX_CHUNKS);
            match self.read_snapshot(&snapshot, chunk)? {
                chunk if chunk.is_empty() => break,
                chunk => bytes.extend(chunk),
            }
            if bytes.len() > MAX_SNAPSHOT_BYTES {
                return Err(Finding::SnapshotTooLarge {
                    limit: MAX_SNAPSHOT_BYTES,
                });
            }
        }
        if !self.read_snapshot(&snapshot, chunk_bytes)?.is_empty() {
            return Err(Finding::SnapshotGoesOn);
        }
        let closed = self.instance.close_snapshot(snapshot);
        closed.map_err(|fault| self.fault("closing a snapshot", fault))
    }

    /// The bytes of the state.
    pub(super) fn snapshot(&mut self, chunk_bytes: usize) -> Result<Vec<u8>, Finding> {
        let snapshot = self.open_snapshot()?;
        let mut bytes = Vec::new();
        self.read_to_end(snapshot, chunk_bytes, &mut bytes)?;
        Ok(bytes)
    }

    /// Remembers `bytes`, of the state after the first `applied` entries, to rebuild from.
    pub(super) fn save(&mut self, bytes: Vec<u8>, applied: usize) {
        self.saved = Some(Saved { bytes, applied });
    }

    /// Replaces the state by the one of a snapshot.
    pub(super) fn restore(&mut self, bytes: &[u8], chunk_bytes: usize) -> Result<(), Finding> {
        self.check_fuel()?;
        let refused = |failure| Finding::Restore {
            size: bytes.len(),
            failure,
        };
        let applied = self.applied;
        let fault = |fault| Finding::Fault {
            doing: "restoring a snapshot",
            applied,
            fault,
        };
        let instance = &mut self.instance;
        let restore = instance
            .begin_restore(self.module.description())
            .map_err(fault)?;
        let chunk_bytes = chunk_bytes
            .clamp(1, MAX_CHUNK_BYTES)
            .max(bytes.len() / MAX_CHUNKS);
        for chunk in bytes.chunks(chunk_bytes) {
            let written = instance.restore_chunk(&restore, chunk).map_err(fault)?;
            written.map_err(refused)?;
        }
        let finished = instance.finish_restore(restore).map_err(fault)?;
        finished.map_err(refused)
    }

    pub(super) fn describe(&mut self) -> Result<Description, Finding> {
        let described = self.instance.describe();
        described.map_err(|fault| self.fault("describing itself", fault))
    }

    /// Becomes the state of `bytes`, in which all entries are.
    pub(super) fn jump_to_end(&mut self, bytes: Vec<u8>) -> Result<(), Finding> {
        self.applied = self.entries.len();
        self.save(bytes, self.applied);
        self.rebuild()
    }

    /// Answers queries in one batch. Those that trap fail alone; `None` stands for one that was not
    /// given enough memory, which depends on the heap.
    pub(super) fn query(&mut self, queries: &[&[u8]]) -> Result<Vec<Option<Answer>>, Finding> {
        self.check_fuel()?;
        let last = self
            .applied
            .checked_sub(1)
            .and_then(|last| self.entries.get(last));
        let now = last.map_or(BEFORE_ALL, |last| last.context);
        let answers = match (self.instance.query(now, queries), queries) {
            (Ok(answers), _) => answers
                .into_iter()
                .map(Answer::of_query)
                .map(Some)
                .collect(),
            (Err(Fault::Trap(kind)), [_]) => {
                self.rebuild()?;
                vec![Some(Answer::trapped(kind))]
            }
            (Err(Fault::Memory), [_]) => {
                self.rebuild()?;
                vec![None]
            }
            (Err(Fault::Trap(_) | Fault::Memory), _) => {
                self.rebuild()?;
                let mut answers = Vec::with_capacity(queries.len());
                for query in queries {
                    answers.extend(self.query(std::slice::from_ref(query))?);
                }
                answers
            }
            (Err(fault), _) => return Err(self.fault("answering queries", fault)),
        };
        Ok(answers)
    }

    fn check_fuel(&self) -> Result<(), Finding> {
        let limit = self
            .limits
            .fuel_per_entry
            .saturating_mul(MAX_FUEL_OF_ENTRIES);
        if self.fuel_burnt() > limit {
            return Err(Finding::TooSlow { limit });
        }
        Ok(())
    }

    /// The number of an entry, for people.
    fn number(&self, at: usize) -> u64 {
        self.entries[at].context.index
    }

    fn fault(&self, doing: &'static str, fault: Fault) -> Finding {
        Finding::Fault {
            doing,
            applied: self.applied,
            fault,
        }
    }

    fn finding(&self, stop: Stop) -> Finding {
        match stop {
            Stop::Fault(fault) => self.fault("applying entries", fault),
            Stop::Finding(finding) => finding,
        }
    }
}

fn instantiate(module: &Module, limits: &Limits, applied: usize) -> Result<Instance, Finding> {
    module.instantiate(limits).map_err(|fault| Finding::Fault {
        doing: "starting an instance",
        applied,
        fault,
    })
}
