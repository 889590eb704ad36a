//! A running state machine.

use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::Store;
use wasmtime::component::ResourceAny;

use super::bindings::{
    DescriptionParam, DescriptionResult, Entry, Fsm, FsmPre, Guest, HostState, RawContext,
    RawFailure, RawOutcome,
};
use super::trap::{Fault, shorten};
use super::values::{ApplyEntry, Context, Event, Outcome};
use crate::types::{Description, Failure, Limits, ModuleId, TrapKind};

/// Bytes that one call may bring out of the guest: all outcomes of a batch with their events, all
/// answers of queries, or a chunk of a snapshot. More is [`TrapKind::Interface`]. Bounds what a
/// module can make the host allocate.
pub const MAX_RESPONSE_BYTES: usize = 64 << 20;

/// Fuel to describe oneself: a tenth of a second or so.
const DESCRIBE_FUEL: u64 = 100_000_000;

/// Least fuel of a call that is not about an entry: describing, a step of a snapshot or a restore.
/// An operator who allows entries little fuel must still be able to save the state.
pub(super) const CHUNK_FUEL: u64 = 10_000_000_000;

/// Bytes of a failure's message that are kept. It goes into replies, logs and replicated state.
const FAILURE_MESSAGE_BYTES: usize = 1 << 10;

/// One instance of a module with its state.
///
/// Belongs to one thread at a time, whose stack has
/// [`THREAD_STACK_BYTES`](super::THREAD_STACK_BYTES). After a [`Fault`] it holds no memory any
/// more, and each further call returns [`Fault::Poisoned`].
#[derive(Debug)]
pub struct Instance {
    /// `None` after a fault: nothing can touch what trapped, and its memory is free at once.
    live: Option<Live>,
    serial: u64,
    limits: Limits,
    fuel_burnt: u64,
    memory_bytes: u64,
    memory_refused: bool,
}

struct Live {
    store: Store<HostState>,
    fsm: Fsm,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.store.data().fmt(f)
    }
}

/// A position in a frozen version of an instance's state. The guest holds on to that version until
/// [`Instance::close_snapshot`].
#[derive(Debug)]
pub struct Snapshot {
    instance: u64,
    resource: ResourceAny,
}

/// A restore under way in an instance, whose state stays as it was until
/// [`Instance::finish_restore`].
#[derive(Debug)]
pub struct Restore {
    instance: u64,
    resource: ResourceAny,
}

/// Why there is no instance.
pub(super) enum StartError {
    Fault(Fault),
    /// The exports are there, but not with the types of the interface. wasmtime compares them when
    /// it looks them up in an instance, no earlier.
    WrongTypes(wasmtime::Error),
}

impl Instance {
    pub(super) fn new(
        pre: &FsmPre<HostState>,
        module: ModuleId,
        limits: &Limits,
    ) -> Result<Self, StartError> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let mut store = Store::new(pre.engine(), HostState::new(module, limits));
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(MAX_RESPONSE_BYTES);
        // Charged to nobody, because platforms count it differently; a bound all the same, or a
        // start function could spin for ever.
        let instance = store
            .set_fuel(CHUNK_FUEL)
            .and_then(|()| pre.instance_pre().instantiate(&mut store));
        let instance = instance.map_err(|error| {
            // A memory that is over the limit from the start is an error without a type.
            let refused = store.data().limiter.refused();
            StartError::Fault(if refused {
                Fault::Memory
            } else {
                Fault::classify(&error, false)
            })
        })?;
        let fsm = Fsm::new(&mut store, &instance).map_err(StartError::WrongTypes)?;
        Ok(Self {
            live: Some(Live { store, fsm }),
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            limits: limits.clone(),
            fuel_burnt: 0,
            memory_bytes: 0,
            memory_refused: false,
        })
    }

    /// What the module says of itself.
    pub fn describe(&mut self) -> Result<Description, Fault> {
        self.call(DESCRIBE_FUEL, |store, guest| guest.call_describe(store))
            .map(description)
    }

    /// Runs the commands of `batch` in order and returns one result for each.
    ///
    /// The batch as a whole gets the fuel of one entry. After a fault the caller finds out which
    /// entry it was by applying them one at a time to a rebuilt instance: how nodes cut the log
    /// into batches is their own affair, and an entry fails exactly when it fails alone.
    pub fn apply(
        &mut self,
        batch: &[ApplyEntry<'_>],
    ) -> Result<Vec<Result<Outcome, Failure>>, Fault> {
        let entries: Vec<Entry<'_>> = batch
            .iter()
            .map(|entry| Entry {
                context: entry.context.into(),
                command: entry.command,
            })
            .collect();
        let results = self.call(self.limits.fuel_per_entry, |store, guest| {
            guest.call_apply(store, &entries)
        })?;
        self.check(results.len() == batch.len())?;
        Ok(results
            .into_iter()
            .map(|r| r.map(Outcome::from).map_err(Failure::from))
            .collect())
    }

    /// Answers the queries of `batch` from the state as it is, and returns one result for each.
    /// The batch gets the fuel of one entry. A fault costs the instance, like any other.
    pub fn query(
        &mut self,
        now: Context,
        batch: &[&[u8]],
    ) -> Result<Vec<Result<Vec<u8>, Failure>>, Fault> {
        let results = self.call(self.limits.fuel_per_entry, |store, guest| {
            guest.call_query(store, now.into(), batch)
        })?;
        self.check(results.len() == batch.len())?;
        Ok(results
            .into_iter()
            .map(|result| result.map_err(Failure::from))
            .collect())
    }

    /// Freezes the state as it is. Applies may go on while the snapshot is read.
    pub fn open_snapshot(&mut self) -> Result<Snapshot, Fault> {
        let resource = self.call(self.chunk_fuel(), |store, guest| {
            guest.snapshot().call_constructor(store)
        })?;
        Ok(Snapshot {
            instance: self.serial,
            resource,
        })
    }

    /// The next bytes of the frozen state: at most `max_bytes`, which is at least 1 and at most
    /// [`MAX_RESPONSE_BYTES`]. None at all means that the snapshot is complete.
    ///
    /// [`Fault::Poisoned`] when `snapshot` was opened on an earlier instance.
    pub fn read_snapshot(&mut self, snapshot: &Snapshot, max_bytes: u32) -> Result<Vec<u8>, Fault> {
        self.check_owner(snapshot.instance)?;
        // Zero would read as the end of the snapshot.
        let max_bytes = max_bytes.max(1);
        let chunk = self.call(self.chunk_fuel(), |store, guest| {
            guest
                .snapshot()
                .call_read(store, snapshot.resource, max_bytes)
        })?;
        self.check(chunk.len() as u64 <= u64::from(max_bytes))?;
        Ok(chunk)
    }

    /// Lets the guest forget the frozen state.
    pub fn close_snapshot(&mut self, snapshot: Snapshot) -> Result<(), Fault> {
        self.check_owner(snapshot.instance)?;
        self.call(self.chunk_fuel(), |store, _| {
            snapshot.resource.resource_drop(store)
        })
    }

    /// Begins to replace the state by one that a module described by `saved` has written. That may
    /// be an older version, or another module altogether: reading it is the migration.
    pub fn begin_restore(&mut self, saved: &Description) -> Result<Restore, Fault> {
        let protocols: Vec<&str> = saved.protocols.iter().map(String::as_str).collect();
        let saved = DescriptionParam {
            name: &saved.name,
            version: &saved.version,
            schema: saved.schema,
            reads_schemas: &saved.reads_schemas,
            protocols: &protocols,
        };
        let resource = self.call(self.chunk_fuel(), |store, guest| {
            guest.restore().call_constructor(store, saved)
        })?;
        Ok(Restore {
            instance: self.serial,
            resource,
        })
    }

    /// Hands over the next bytes of the snapshot, cut anywhere. After a failure nothing remains
    /// but [`Self::abort_restore`].
    ///
    /// [`Fault::Poisoned`] when `restore` was begun on an earlier instance; likewise below.
    pub fn restore_chunk(
        &mut self,
        restore: &Restore,
        chunk: &[u8],
    ) -> Result<Result<(), Failure>, Fault> {
        self.check_owner(restore.instance)?;
        self.call(self.chunk_fuel(), |store, guest| {
            guest.restore().call_write(store, restore.resource, chunk)
        })
        .map(|result| result.map_err(Failure::from))
    }

    /// Replaces the state by the restored one. After a failure the state is what it was.
    pub fn finish_restore(&mut self, restore: Restore) -> Result<Result<(), Failure>, Fault> {
        self.check_owner(restore.instance)?;
        self.call(self.chunk_fuel(), |store, guest| {
            guest.restore().call_finish(store, restore.resource)
        })
        .map(|result| result.map_err(Failure::from))
    }

    /// Gives up a restore. The state is what it was.
    pub fn abort_restore(&mut self, restore: Restore) -> Result<(), Fault> {
        self.check_owner(restore.instance)?;
        self.call(self.chunk_fuel(), |store, _| {
            restore.resource.resource_drop(store)
        })
    }

    /// Linear memory that the instance has, or had before its fault, in bytes. It grows only.
    pub fn memory_bytes(&self) -> u64 {
        self.live.as_ref().map_or(self.memory_bytes, |live| {
            live.store.data().limiter.memory_bytes()
        })
    }

    /// Whether the module was ever refused memory, even if it coped. Its state may then differ
    /// from that of nodes where it was not: rebuild it from a snapshot.
    pub fn memory_refused(&self) -> bool {
        self.live.as_ref().map_or(self.memory_refused, |live| {
            live.store.data().limiter.refused()
        })
    }

    /// Fuel that all calls so far have burnt. For statistics: what a call that trapped has burnt
    /// is not exact.
    pub fn fuel_burnt(&self) -> u64 {
        self.fuel_burnt
    }

    fn chunk_fuel(&self) -> u64 {
        self.limits.fuel_per_entry.max(CHUNK_FUEL)
    }

    /// The only way into the guest.
    fn call<R>(
        &mut self,
        fuel: u64,
        run: impl FnOnce(&mut Store<HostState>, &Guest) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        let Live { store, fsm } = self.live.as_mut().ok_or(Fault::Poisoned)?;
        store.data_mut().allow_messages();
        let result = store
            .set_fuel(fuel)
            .and_then(|()| run(store, fsm.rkv_fsm_state_machine()));
        let left = store.get_fuel().unwrap_or(fuel);
        self.fuel_burnt = self.fuel_burnt.saturating_add(fuel.saturating_sub(left));
        result.map_err(|error| {
            let fault = Fault::classify(&error, self.memory_refused());
            self.poison(fault)
        })
    }

    /// Holds the module to its side of the interface.
    fn check(&mut self, kept: bool) -> Result<(), Fault> {
        if kept {
            Ok(())
        } else {
            Err(self.poison(Fault::Trap(TrapKind::Interface)))
        }
    }

    fn check_owner(&self, serial: u64) -> Result<(), Fault> {
        if serial == self.serial {
            Ok(())
        } else {
            Err(Fault::Poisoned)
        }
    }

    fn poison(&mut self, fault: Fault) -> Fault {
        self.memory_bytes = self.memory_bytes();
        self.memory_refused = self.memory_refused();
        self.live = None;
        fault
    }
}

fn description(raw: DescriptionResult) -> Description {
    Description {
        name: raw.name,
        version: raw.version,
        schema: raw.schema,
        reads_schemas: raw.reads_schemas,
        protocols: raw.protocols,
    }
}

impl From<Context> for RawContext {
    fn from(context: Context) -> Self {
        let Context {
            index,
            term,
            time_ms,
            seed,
        } = context;
        Self {
            index,
            term,
            time_ms,
            seed,
        }
    }
}

impl From<RawOutcome> for Outcome {
    fn from(raw: RawOutcome) -> Self {
        let events = raw.events.into_iter();
        Self {
            response: raw.response,
            events: events
                .map(|event| Event {
                    topic: event.topic,
                    data: event.data,
                })
                .collect(),
        }
    }
}

impl From<RawFailure> for Failure {
    fn from(raw: RawFailure) -> Self {
        let message = shorten(&raw.message, FAILURE_MESSAGE_BYTES).to_owned();
        Self {
            code: raw.code,
            message,
        }
    }
}
