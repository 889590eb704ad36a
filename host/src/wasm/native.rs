//! The bundled store, compiled into the host and behind the same face as a component's instance.
//!
//! Only for benchmarks: what a build with it is faster by is the price of WebAssembly. It is the
//! bundled store whatever module is active, without fuel or limits.

use std::collections::HashMap;

use rkv_fsm::{
    Context as GuestContext, Description as GuestDescription, Failure as GuestFailure,
    Outcome as GuestOutcome, Restore as _, Snapshot as _, StateMachine,
};
use rkv_kv::Kv;

use super::bindings::{FsmPre, HostState};
use super::trap::Fault;
use super::values::{ApplyEntry, Context, Event, Outcome};
use crate::types::{Description, Failure, Limits, ModuleId};

/// As for components: part of the engine's fingerprint.
pub const MAX_RESPONSE_BYTES: usize = 64 << 20;
pub(super) const CHUNK_FUEL: u64 = 10_000_000_000;

/// Says that it has the memory of a fresh component, whatever it has.
const MEMORY_BYTES: u64 = 1 << 20;

/// The store.
#[derive(Debug)]
pub struct Instance {
    state: State,
}

#[derive(Debug, Default)]
struct State {
    kv: Kv,
    snapshots: HashMap<u64, <Kv as StateMachine>::Snapshot>,
    restores: HashMap<u64, Result<<Kv as StateMachine>::Restore, GuestFailure>>,
    next: u64,
}

/// A position in a frozen version of the state.
#[derive(Debug)]
pub struct Snapshot(u64);

/// A restore under way.
#[derive(Debug)]
pub struct Restore(u64);

/// Why there is no instance.
#[allow(dead_code, reason = "there always is one, and callers ask")]
pub(super) enum StartError {
    Fault(Fault),
    WrongTypes(wasmtime::Error),
}

#[allow(
    clippy::unnecessary_wraps,
    missing_docs,
    reason = "the face of a component's instance, which is documented"
)]
impl Instance {
    pub(super) fn new(_: &FsmPre<HostState>, _: ModuleId, _: &Limits) -> Result<Self, StartError> {
        Ok(Self {
            state: State::default(),
        })
    }

    pub fn describe(&mut self) -> Result<Description, Fault> {
        let raw = Kv::describe();
        Ok(Description {
            name: raw.name,
            version: raw.version,
            schema: raw.schema,
            reads_schemas: raw.reads_schemas,
            protocols: raw.protocols,
        })
    }

    pub fn apply(
        &mut self,
        batch: &[ApplyEntry<'_>],
    ) -> Result<Vec<Result<Outcome, Failure>>, Fault> {
        let outcomes = batch.iter().map(|entry| {
            let command = entry.command.to_vec();
            let applied = self.state.kv.apply(context(entry.context), command);
            applied.map(outcome).map_err(failure)
        });
        Ok(outcomes.collect())
    }

    pub fn query(
        &mut self,
        now: Context,
        batch: &[&[u8]],
    ) -> Result<Vec<Result<Vec<u8>, Failure>>, Fault> {
        let now = context(now);
        let answers = batch.iter().map(|query| {
            let answer = self.state.kv.query(now, query.to_vec());
            answer.map_err(failure)
        });
        Ok(answers.collect())
    }

    pub fn open_snapshot(&mut self) -> Result<Snapshot, Fault> {
        let number = self.state.number();
        self.state.snapshots.insert(number, self.state.kv.freeze());
        Ok(Snapshot(number))
    }

    pub fn read_snapshot(&mut self, snapshot: &Snapshot, max_bytes: u32) -> Result<Vec<u8>, Fault> {
        let frozen = self.state.snapshots.get_mut(&snapshot.0);
        let frozen = frozen.ok_or(Fault::Poisoned)?;
        Ok(frozen.read(max_bytes.max(1) as usize))
    }

    pub fn close_snapshot(&mut self, snapshot: Snapshot) -> Result<(), Fault> {
        self.state.snapshots.remove(&snapshot.0);
        Ok(())
    }

    pub fn begin_restore(&mut self, saved: &Description) -> Result<Restore, Fault> {
        let saved = saved.clone();
        let restore = Kv::restore(GuestDescription {
            name: saved.name,
            version: saved.version,
            schema: saved.schema,
            reads_schemas: saved.reads_schemas,
            protocols: saved.protocols,
        });
        let number = self.state.number();
        self.state.restores.insert(number, restore);
        Ok(Restore(number))
    }

    pub fn restore_chunk(
        &mut self,
        restore: &Restore,
        chunk: &[u8],
    ) -> Result<Result<(), Failure>, Fault> {
        let restore = self.state.restores.get_mut(&restore.0);
        let written = match restore.ok_or(Fault::Poisoned)? {
            Ok(restore) => restore.write(chunk),
            Err(refusal) => Err(refusal.clone()),
        };
        Ok(written.map_err(failure))
    }

    pub fn finish_restore(&mut self, restore: Restore) -> Result<Result<(), Failure>, Fault> {
        let restore = self.state.restores.remove(&restore.0);
        let finished = restore.ok_or(Fault::Poisoned)?;
        let finished = finished.and_then(|restore| restore.finish());
        Ok(finished.map(|kv| self.state.kv = kv).map_err(failure))
    }

    pub fn abort_restore(&mut self, restore: Restore) -> Result<(), Fault> {
        self.state.restores.remove(&restore.0);
        Ok(())
    }

    pub fn memory_bytes(&self) -> u64 {
        MEMORY_BYTES
    }

    pub fn memory_refused(&self) -> bool {
        false
    }

    pub fn fuel_burnt(&self) -> u64 {
        0
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

fn outcome(raw: GuestOutcome) -> Outcome {
    let events = raw.events.into_iter();
    Outcome {
        response: raw.response,
        events: events
            .map(|event| Event {
                topic: event.topic,
                data: event.data,
            })
            .collect(),
    }
}

fn context(context: Context) -> GuestContext {
    GuestContext {
        index: context.index,
        term: context.term,
        time_ms: context.time_ms,
        seed: context.seed,
    }
}

fn failure(raw: GuestFailure) -> Failure {
    Failure {
        code: raw.code,
        message: raw.message,
    }
}
