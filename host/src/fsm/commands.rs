//! Running commands: what each may depend on, and what came of it.

use bytes::Bytes;
use openraft::EntryPayload;
use sha2::{Digest, Sha256};
use tracing::Level;

use super::error::FsmError;
use super::events::EmittedEvent;
use super::machine::{Machine, StepError};
use crate::failpoint;
use crate::types::{ClusterId, Entry, LogIndex, Proposal, Reply, TrapKind};
use crate::wasm::{ApplyEntry, Context, Event, Fault};

/// A command with all that it may depend on.
pub(super) struct Command {
    pub(super) context: Context,
    pub(super) bytes: Bytes,
}

/// What came of one command, and what it emitted.
type Outcome = (Context, Reply, Vec<Event>);

impl Machine {
    pub(super) fn step_commands(&mut self, run: &[Entry]) -> Result<Vec<Reply>, StepError> {
        if failpoint::is_armed("apply-fails") {
            return Err(FsmError::Fault("a test wants it to fail".to_owned()).into());
        }
        let outcomes = self.run_commands(run)?;
        if tracing::enabled!(Level::DEBUG) {
            run.iter().for_each(log_applied);
        }
        self.host.commands += run.len() as u64;
        let mut replies = Vec::with_capacity(run.len());
        let mut emitted = Vec::new();
        for (context, reply, events) in outcomes {
            self.host.fold(context.index, &reply, &events);
            emitted.extend(EmittedEvent::of(&context, events));
            replies.push(reply);
        }
        self.events.push(emitted);
        Ok(replies)
    }

    fn run_commands(&mut self, run: &[Entry]) -> Result<Vec<Outcome>, StepError> {
        let mut clock_ms = self.host.clock_ms;
        let mut commands = Vec::with_capacity(run.len());
        for entry in run {
            commands.extend(self.command(entry, &mut clock_ms)?);
        }
        self.host.clock_ms = clock_ms;
        let since = self.active_since();
        let Some(instance) = &mut self.instance else {
            let nothing = |command: &Command| (command.context, Reply::NoModule, Vec::new());
            return Ok(commands.iter().map(nothing).collect());
        };
        let trap_of = |command: &Command| self.parts.traps.get(since, command.context.index);
        let traps: Vec<Option<TrapKind>> = commands.iter().map(trap_of).collect();
        let live = commands.iter().zip(&traps);
        let runs: Vec<ApplyEntry<'_>> = live
            .filter(|(_, trap)| trap.is_none())
            .map(|(command, _)| ApplyEntry {
                context: command.context,
                command: &command.bytes,
            })
            .collect();
        let mut outcomes = Vec::new().into_iter();
        if !runs.is_empty() {
            let burnt = instance.fuel_burnt();
            let applied = instance.apply(&runs);
            let burnt = instance.fuel_burnt() - burnt;
            self.metrics.burnt(burnt);
            self.pace.note(burnt);
            outcomes = applied.map_err(StepError::Fault)?.into_iter();
            if instance.memory_refused() {
                // The module coped, but another node's may not have had to.
                return Err(StepError::Fault(Fault::Memory));
            }
        }
        let outcome = |(command, trap): (&Command, &Option<TrapKind>)| {
            let (reply, events) = match trap {
                Some(kind) => (Reply::Trapped(*kind), Vec::new()),
                None => match outcomes.next()? {
                    Ok(outcome) => (Reply::Response(outcome.response.into()), outcome.events),
                    Err(failure) => (Reply::Refused(failure), Vec::new()),
                },
            };
            Some((command.context, reply, events))
        };
        // The instance answers one outcome per entry, or faults.
        Ok(commands.iter().zip(&traps).map_while(outcome).collect())
    }

    /// The command of an entry, if it is one, and the clock as of then.
    pub(super) fn command(
        &mut self,
        entry: &Entry,
        clock_ms: &mut u64,
    ) -> Result<Option<Command>, FsmError> {
        let EntryPayload::Normal(proposal) = &entry.payload else {
            return Ok(None);
        };
        let Some((time_ms, command)) = proposal.command() else {
            return Ok(None);
        };
        *clock_ms = time_ms.max(*clock_ms);
        let term = **entry.log_id.committed_leader_id();
        let context = self.context(entry.log_id.index, term, *clock_ms)?;
        let bytes = if failpoint::is_armed("command-garbled") {
            Bytes::new()
        } else {
            command.clone()
        };
        Ok(Some(Command { context, bytes }))
    }

    pub(super) fn context(
        &mut self,
        index: LogIndex,
        term: u64,
        time_ms: u64,
    ) -> Result<Context, FsmError> {
        let cluster = match self.cluster {
            Some(cluster) => cluster,
            None => {
                // Entries arrive only after the cluster was founded or joined.
                let cluster = self
                    .parts
                    .database
                    .identity()?
                    .and_then(|identity| identity.cluster);
                *self.cluster.insert(cluster.ok_or(FsmError::NoCluster)?)
            }
        };
        let seed = match self.last_seed {
            Some((of, seed)) if of == index => seed,
            _ => self.last_seed.insert((index, seed(cluster, index))).1,
        };
        Ok(Context {
            index,
            term,
            time_ms,
            seed,
        })
    }
}

/// For whoever follows a request: its id if the client gave one, else the index, which the node that
/// proposed it logs with the id.
fn log_applied(entry: &Entry) {
    let index = entry.log_id.index;
    match &entry.payload {
        EntryPayload::Normal(Proposal::NamedCommand { request_id, .. }) => {
            tracing::debug!(request_id, index, "applied a command");
        }
        _ => tracing::debug!(index, "applied a command"),
    }
}

/// Eight bytes of sha256 over the cluster's lineage and the index: equal on all nodes, unlike anything that a
/// client can choose.
fn seed(cluster: ClusterId, index: LogIndex) -> u64 {
    let digest = Sha256::new()
        .chain_update(cluster.lineage())
        .chain_update(index.to_le_bytes())
        .finalize();
    let mut seed = [0; 8];
    seed.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(seed)
}
