//! Trying a module on a copy of this node's state, beside whatever else goes on.

use std::time::Instant;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::error::FsmError;
use super::handle::FsmHandle;
use super::host_state::ActiveModule;
use super::section::CHUNK_BYTES;
use super::worker::{Job, SnapshotRead, Ticket};
use crate::types::{Limits, ModuleId};
use crate::wasm::{Fault, Instance, Module, THREAD_STACK_BYTES};

/// Chunks of the live state that may wait for the module that is tried.
const CHUNKS_AHEAD: usize = 4;

/// What came of a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DryRun {
    /// Whether the module restored the state.
    pub accepted: bool,
    /// Why it did not.
    pub reason: Option<String>,
    /// Bytes of the live state's snapshot that it was given.
    pub state_bytes: u64,
    /// Bytes of its own snapshot of the same state.
    pub migrated_bytes: u64,
    /// Linear memory that it has then, in bytes.
    pub memory_bytes: u64,
    /// How long that took, in milliseconds. An activation takes about as long.
    pub elapsed_ms: u64,
}

impl FsmHandle {
    /// Restores a copy of this node's present state into `module`. The live state is not touched,
    /// and commands go on being applied.
    ///
    /// # Errors
    /// What keeps this node from trying; what the module says to it is in the result.
    pub async fn dry_run(&self, module: ModuleId, limits: Limits) -> Result<DryRun, FsmError> {
        let registry = self.registry().clone();
        let frozen = self.ask(|answer| Job::OpenSnapshot { answer }).await?;
        let (chunks, fed) = mpsc::channel(CHUNKS_AHEAD);
        let (answer, answered) = oneshot::channel();
        let active = frozen.host.active;
        let try_it = move || {
            let tried = registry
                .load(module)
                .map(|module| restore(&module, active, &limits, fed));
            // Whoever asked may have gone away.
            let _ = answer.send(tried);
        };
        let thread = std::thread::Builder::new()
            .name("rkv-dry-run".to_owned())
            .stack_size(THREAD_STACK_BYTES)
            .spawn(try_it);
        let fed = match thread {
            Ok(_) => self.feed(frozen.ticket, chunks).await,
            Err(error) => Err(FsmError::Fault(format!(
                "the system gives no thread: {error}"
            ))),
        };
        self.submit(Job::CloseSnapshot {
            ticket: frozen.ticket,
        })?;
        fed?;
        let ended = |_| FsmError::Fault("the dry run ended early".to_owned());
        answered.await.map_err(ended)?
    }

    /// Sends the frozen state to whoever tries it, until its end or theirs.
    async fn feed(&self, ticket: Ticket, chunks: mpsc::Sender<Vec<u8>>) -> Result<(), FsmError> {
        loop {
            match self
                .ask(|answer| Job::ReadSnapshot { ticket, answer })
                .await?
            {
                SnapshotRead::Superseded => {
                    let reason = "the state machine was replaced during the dry run";
                    return Err(FsmError::Fault(reason.to_owned()));
                }
                SnapshotRead::Chunk(chunk) => {
                    if chunk.is_empty() || chunks.send(chunk).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
}

fn restore(
    module: &Module,
    active: Option<ActiveModule>,
    limits: &Limits,
    mut chunks: mpsc::Receiver<Vec<u8>>,
) -> DryRun {
    let started = Instant::now();
    let mut state_bytes = 0;
    let restored = try_restore(module, active, limits, || {
        let chunk = chunks.blocking_recv()?;
        state_bytes += chunk.len() as u64;
        Some(chunk)
    });
    let (accepted, reason, migrated_bytes, memory_bytes) = match restored {
        Ok((migrated_bytes, memory_bytes)) => (true, None, migrated_bytes, memory_bytes),
        Err(reason) => (false, Some(reason), 0, 0),
    };
    DryRun {
        accepted,
        reason,
        state_bytes,
        migrated_bytes,
        memory_bytes,
        elapsed_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

/// Bytes of the new snapshot, and of memory; or why there are none.
fn try_restore(
    module: &Module,
    active: Option<ActiveModule>,
    limits: &Limits,
    mut next_chunk: impl FnMut() -> Option<Vec<u8>>,
) -> Result<(u64, u64), String> {
    let fault = |fault: Fault| fault.to_string();
    let refusal =
        |failure: crate::types::Failure| format!("{} (code {})", failure.message, failure.code);
    let mut instance = module.instantiate(limits).map_err(fault)?;
    if let Some(active) = active {
        let restore = instance.begin_restore(&active.description).map_err(fault)?;
        while let Some(chunk) = next_chunk() {
            instance
                .restore_chunk(&restore, &chunk)
                .map_err(fault)?
                .map_err(refusal)?;
        }
        instance
            .finish_restore(restore)
            .map_err(fault)?
            .map_err(refusal)?;
    }
    let migrated_bytes = snapshot_bytes(&mut instance).map_err(fault)?;
    Ok((migrated_bytes, instance.memory_bytes()))
}

fn snapshot_bytes(instance: &mut Instance) -> Result<u64, Fault> {
    let snapshot = instance.open_snapshot()?;
    let mut bytes = 0;
    loop {
        let chunk = instance.read_snapshot(&snapshot, CHUNK_BYTES)?;
        if chunk.is_empty() {
            return Ok(bytes);
        }
        bytes += chunk.len() as u64;
    }
}
