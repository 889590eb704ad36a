//! Writing a snapshot file, a chunk at a time, while entries go on being applied.

use std::io;
use std::time::Instant;

use openraft::storage::{RaftSnapshotBuilder, Snapshot};
use openraft::type_config::alias::SnapshotOf;
use sha2::{Digest, Sha256};

use super::backup::Provenance;
use super::error::FsmError;
use super::handle::FsmHandle;
use super::registry::Registry;
use super::section::{CHUNK_BYTES, Section};
use super::worker::{Frozen, Job, SnapshotRead};
use crate::storage::{SnapshotFile, SnapshotStore, SnapshotWriter, StorageError};
use crate::types::{Mark, SnapshotMeta, StateDigest, TypeConfig};

/// A snapshot that is superseded this often in a row is given up: modules are being switched faster
/// than a snapshot can be written.
const ATTEMPTS: usize = 5;

/// What becomes of a snapshot.
enum Purpose {
    /// It is one of this node's.
    Keep,
    /// It leaves this node.
    Backup(Provenance),
}

/// Builds snapshots of the state as it is when building starts.
#[derive(Debug)]
pub struct SnapshotBuilder {
    fsm: FsmHandle,
    snapshots: SnapshotStore,
    registry: Registry,
}

impl SnapshotBuilder {
    pub(super) fn new(fsm: FsmHandle, snapshots: SnapshotStore, registry: Registry) -> Self {
        Self {
            fsm,
            snapshots,
            registry,
        }
    }

    /// Writes a snapshot of the present state for somebody else, which this node does not keep.
    pub(super) async fn build_backup(
        &self,
        provenance: Provenance,
    ) -> Result<SnapshotFile, FsmError> {
        self.build(&Purpose::Backup(provenance)).await
    }

    async fn build(&self, purpose: &Purpose) -> Result<SnapshotFile, FsmError> {
        for _ in 0..ATTEMPTS {
            let open = |answer| match purpose {
                Purpose::Keep => Job::OpenSnapshot { answer },
                Purpose::Backup(_) => Job::OpenPresent { answer },
            };
            let frozen = self.fsm.ask(open).await?;
            let ticket = frozen.ticket;
            let written = self.write(frozen, purpose).await;
            self.fsm.submit(Job::CloseSnapshot { ticket })?;
            if let Some(file) = written? {
                return Ok(file);
            }
        }
        Err(FsmError::Fault(format!(
            "the state was replaced {ATTEMPTS} times during a snapshot"
        )))
    }

    /// Writes the frozen state to a file; `None` when it was superseded meanwhile.
    async fn write(
        &self,
        frozen: Frozen,
        purpose: &Purpose,
    ) -> Result<Option<SnapshotFile>, FsmError> {
        let Frozen {
            ticket,
            host,
            previous,
        } = frozen;
        let index = host.applied.map(|id| id.index);
        let meta = SnapshotMeta {
            last_log_id: host.applied,
            last_membership: host.membership.clone(),
        };
        let (store, registry) = (self.snapshots.clone(), self.registry.clone());
        let provenance = match purpose {
            Purpose::Keep => None,
            Purpose::Backup(provenance) => Some(provenance.encode()),
        };
        let mut writer = blocking(move || {
            let mut writer = match provenance {
                None => store.begin(meta, host.encode())?,
                Some(provenance) => {
                    let mut writer = store.begin_passing(meta, host.encode())?;
                    writer.write_chunk(&Section::Provenance(&provenance).encode())?;
                    writer
                }
            };
            for module in host.modules.keys() {
                write_module(&mut writer, &registry, *module)?;
            }
            for (module, bytes) in &host.uploads {
                for piece in bytes.chunks(CHUNK_BYTES as usize) {
                    writer.write_chunk(&Section::Upload(*module, piece).encode())?;
                }
            }
            let previous = previous.file(&store)?;
            for chunk in previous.iter().flat_map(SnapshotFile::chunks) {
                writer.write_chunk(&Section::Previous(&chunk?).encode())?;
            }
            Ok(writer)
        })
        .await?;
        let mut state = Sha256::new();
        // Not while this node's state is in doubt.
        loop {
            if let Some(quarantine) = self.fsm.quarantine() {
                return Err(FsmError::Quarantined(quarantine.reason));
            }
            let (started, applied) = (Instant::now(), self.fsm.applied());
            match self
                .fsm
                .ask(|answer| Job::ReadSnapshot { ticket, answer })
                .await?
            {
                SnapshotRead::Superseded => return Ok(None),
                SnapshotRead::Chunk(chunk) if chunk.is_empty() => break,
                SnapshotRead::Chunk(chunk) => {
                    (writer, state) = blocking(move || {
                        state.update(&chunk);
                        writer.write_chunk(&Section::State(&chunk).encode())?;
                        Ok((writer, state))
                    })
                    .await?;
                }
            }
            if self.fsm.applied() != applied {
                // Writes wait for the same thread and the same disk: they have them half of the time.
                tokio::time::sleep(started.elapsed()).await;
            }
        }
        let file = match blocking(move || writer.finish()).await {
            // By a repair, after the last piece of the state was read.
            Err(FsmError::Storage(StorageError::Superseded)) => return Ok(None),
            finished => finished?,
        };
        if let (Some(index), Purpose::Keep) = (index, purpose) {
            let digest = StateDigest(state.finalize().into());
            self.fsm.mark_state(Mark { index, digest });
        }
        Ok(Some(file))
    }
}

fn write_module(
    writer: &mut SnapshotWriter,
    registry: &Registry,
    module: crate::types::ModuleId,
) -> Result<(), StorageError> {
    let bytes = registry
        .bytes(module)?
        .ok_or_else(|| StorageError::Refused(format!("module {module} is not on disk")))?;
    for piece in bytes.chunks(CHUNK_BYTES as usize) {
        writer.write_chunk(&Section::Module(module, piece).encode())?;
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, FsmError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(panic) => Err(FsmError::Fault(panic.to_string())),
    }
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = Option<SnapshotFile>;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<TypeConfig, Self::SnapshotData>> {
        let started = Instant::now();
        match self.build(&Purpose::Keep).await {
            Ok(file) => {
                self.fsm.metrics().wrote_snapshot(started);
                tracing::info!(snapshot = %file.id(), elapsed = ?started.elapsed(), "wrote a snapshot");
                Ok(Snapshot {
                    meta: file.meta().clone(),
                    snapshot: Some(file),
                })
            }
            // No reason to stop this node: the log stays longer. To openraft
            // it is a snapshot of nothing, which is older than any that it has.
            Err(error) if error.costs_the_state_only() => {
                tracing::error!(%error, "no snapshot was written");
                Ok(Snapshot {
                    meta: SnapshotMeta::default(),
                    snapshot: None,
                })
            }
            Err(error) => {
                tracing::error!(%error, "cannot write a snapshot");
                Err(io::Error::other(error))
            }
        }
    }
}
