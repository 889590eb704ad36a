//! openraft's state machine, in front of the thread that owns it.

use std::io;

use futures::{Stream, StreamExt};
use openraft::EntryPayload;
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot};
use openraft::type_config::alias::SnapshotOf;

use super::error::FsmError;
use super::handle::FsmHandle;
use super::registry::Registry;
use super::snapshot::SnapshotBuilder;
use super::worker::{Applicable, Job};
use crate::storage::{SnapshotFile, SnapshotStore};
use crate::types::{LogId, SnapshotMeta, StoredMembership, TypeConfig};

/// Entries and bytes of commands that one job applies: queries and snapshot chunks go in between.
const APPLY_BATCH_ENTRIES: usize = 1_024;
const APPLY_BATCH_BYTES: usize = 4 << 20;

/// The state machine as openraft drives it.
#[derive(Debug, Clone)]
pub struct StateMachine {
    fsm: FsmHandle,
    snapshots: SnapshotStore,
    registry: Registry,
}

impl StateMachine {
    /// The state machine behind `fsm`, with its snapshots in `snapshots` and the modules that those
    /// need in `registry`.
    pub fn new(fsm: FsmHandle, snapshots: SnapshotStore, registry: Registry) -> Self {
        Self {
            fsm,
            snapshots,
            registry,
        }
    }

    async fn apply_batch(&self, entries: Vec<Applicable>) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let applied = self.fsm.apply(entries).await;
        // Told from here and not from the state machine's thread, from which each of them would have to
        // be woken across threads.
        for (responder, reply) in applied.map_err(stop)? {
            responder.send(reply);
        }
        Ok(())
    }
}

/// openraft stops the node on any error of its state machine.
fn stop(error: FsmError) -> io::Error {
    tracing::error!(%error, "the state machine stops this node");
    io::Error::other(error)
}

fn command_bytes(entry: &crate::types::Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(proposal) => {
            proposal.command().map_or(0, |(_, command)| command.len())
        }
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    /// `None` only where a module failed while its snapshot was taken.
    type SnapshotData = Option<SnapshotFile>;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        self.fsm
            .ask(|answer| Job::Applied { answer })
            .await
            .map_err(stop)
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + Send,
    {
        let mut batch: Vec<Applicable> = Vec::new();
        let mut bytes = 0;
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            bytes += command_bytes(&entry);
            batch.push((entry, responder));
            if batch.len() >= APPLY_BATCH_ENTRIES || bytes >= APPLY_BATCH_BYTES {
                self.apply_batch(std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
        }
        self.apply_batch(batch).await
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder::new(
            self.fsm.clone(),
            self.snapshots.clone(),
            self.registry.clone(),
        )
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta,
        snapshot: Option<SnapshotFile>,
    ) -> io::Result<()> {
        let Some(snapshot) = snapshot else {
            return Err(io::Error::other("there is no snapshot to install"));
        };
        // On disk first: a state without its snapshot would be lost with the process, and the log
        // before it is about to be purged.
        let store = self.snapshots.clone();
        let file = tokio::task::spawn_blocking(move || store.keep(snapshot)).await?;
        let file = file.map_err(|error| stop(error.into()))?;
        self.fsm
            .ask(|done| Job::Install { file, done })
            .await
            .map_err(stop)
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<SnapshotOf<TypeConfig, Self::SnapshotData>>> {
        let store = self.snapshots.clone();
        let newest = tokio::task::spawn_blocking(move || store.newest_good()).await?;
        let newest = newest.map_err(|error| stop(error.into()))?;
        Ok(newest.map(|file| Snapshot {
            meta: file.meta().clone(),
            snapshot: Some(file),
        }))
    }
}
