//! Backups: snapshot files that left their node, with a note on where they come from.

use std::collections::BTreeMap;
use std::path::Path;

use openraft::Membership;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::FsmError;
use super::host_state::HostState;
use super::restore::head;
use super::section::Section;
use crate::storage::{SnapshotFile, SnapshotStore, StorageError};
use crate::types::{ClusterId, LogId, ModuleId, NodeId, NodeInfo, SnapshotMeta, StoredMembership};

/// Where a backup comes from. Fields are only ever added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node that wrote it.
    pub node: NodeId,
    /// That node's wall clock, in ms since 1970.
    pub time_ms: u64,
    /// The version of rkvd.
    pub version: String,
}

impl Provenance {
    pub(super) fn encode(&self) -> Vec<u8> {
        // Plain data: encoding it cannot fail.
        postcard::to_stdvec(self).unwrap_or_default()
    }
}

/// Why a file is no backup to restore.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is damaged, cut short, too new, or cannot be read.
    #[error(transparent)]
    Fsm(#[from] FsmError),
    /// Its parts do not fit together.
    #[error("{path} is not whole: {reason}")]
    Parts {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

impl From<StorageError> for BackupError {
    fn from(error: StorageError) -> Self {
        Self::Fsm(error.into())
    }
}

/// A backup, or a snapshot, whose every byte was checked.
#[derive(Debug)]
pub struct Backup {
    file: SnapshotFile,
    covered: LogId,
    provenance: Option<Provenance>,
    host: HostState,
    state_bytes: u64,
}

impl Backup {
    /// Times that [`Backup::verify`] reads a file.
    pub const PASSES: u64 = 2;

    /// Opens a file and checks all of it: checksums, and that nothing is missing that its state needs.
    /// `on_read` is told of bytes as they are read.
    ///
    /// # Errors
    /// Why it cannot be restored.
    pub fn open(path: &Path, on_read: impl FnMut(u64)) -> Result<Self, BackupError> {
        Self::verify(SnapshotFile::open(path)?, on_read)
    }

    /// As [`Backup::open`], of a file that is open.
    ///
    /// # Errors
    /// Why it cannot be restored.
    pub fn verify(file: SnapshotFile, mut on_read: impl FnMut(u64)) -> Result<Self, BackupError> {
        file.verify_checksum(&mut on_read)?;
        let host = head(&file)?;
        let mut parts = Parts::default();
        for chunk in file.chunks() {
            let chunk = chunk?;
            on_read(chunk.len() as u64);
            parts.add(&chunk).map_err(|reason| reason.of(&file))?;
        }
        parts.check(&host).map_err(|reason| reason.of(&file))?;
        let covered = host
            .applied
            .ok_or_else(|| Reason("it covers no entry".into()).of(&file))?;
        Ok(Self {
            covered,
            provenance: parts.provenance,
            host,
            state_bytes: parts.state_bytes,
            file,
        })
    }

    /// The last entry that it covers.
    pub fn covered(&self) -> LogId {
        self.covered
    }

    /// Where it comes from. A snapshot that was copied from a data directory does not say.
    pub fn provenance(&self) -> Option<&Provenance> {
        self.provenance.as_ref()
    }

    /// What it has beside the module's state.
    pub fn host(&self) -> &HostState {
        &self.host
    }

    /// Bytes of the module's state.
    pub fn state_bytes(&self) -> u64 {
        self.state_bytes
    }

    /// The file.
    pub fn file(&self) -> &SnapshotFile {
        &self.file
    }

    /// The file, and nothing else of it.
    pub fn into_file(self) -> SnapshotFile {
        self.file
    }

    /// Writes the snapshot that a new cluster of one node starts from, on an engine of this
    /// `fingerprint`.
    ///
    /// # Errors
    /// What the disk says.
    pub fn found(
        &self,
        snapshots: &SnapshotStore,
        (id, node): (NodeId, NodeInfo),
        fingerprint: [u8; 32],
        mut on_read: impl FnMut(u64),
    ) -> Result<SnapshotFile, StorageError> {
        let nodes = BTreeMap::from([(id, node)]);
        let membership = Membership::from(nodes);
        let old = &self.file.meta().last_membership;
        let meta = SnapshotMeta {
            last_log_id: Some(self.covered),
            last_membership: StoredMembership::new(*old.log_id(), membership),
        };
        let mut host = self.host.clone();
        // Ids are of a cluster, and in the new one none was ever used.
        host.retired.clear();
        // All nodes will have the state from this file, so it does not matter on which engine it was
        // computed; a backup must outlive an upgrade of rkvd.
        let previous = host
            .previous
            .iter_mut()
            .map(|previous| &mut previous.active);
        for module in host.active.iter_mut().chain(previous) {
            module.fingerprint = fingerprint;
        }
        let mut writer = snapshots.begin(meta, host.encode())?;
        for chunk in self.file.chunks() {
            let chunk = chunk?;
            on_read(chunk.len() as u64);
            if !matches!(Section::decode(&chunk), Some(Section::Provenance(_))) {
                writer.write_chunk(&chunk)?;
            }
        }
        writer.finish()
    }
}

/// What is wrong with a file.
struct Reason(String);

impl Reason {
    fn of(self, file: &SnapshotFile) -> BackupError {
        BackupError::Parts {
            path: file.path().display().to_string(),
            reason: self.0,
        }
    }
}

/// What was found in a file so far.
#[derive(Default)]
struct Parts {
    provenance: Option<Provenance>,
    /// The module whose bytes are being read, and their digest so far.
    module: Option<(ModuleId, Sha256, u64)>,
    modules: BTreeMap<ModuleId, u64>,
    previous_bytes: u64,
    state_bytes: u64,
}

impl Parts {
    fn add(&mut self, chunk: &[u8]) -> Result<(), Reason> {
        let unknown = || Reason("it has a section that this rkvd does not know".into());
        let section = Section::decode(chunk).ok_or_else(unknown)?;
        let Section::Module(module, bytes) = section else {
            self.end_module()?;
            match section {
                Section::Provenance(bytes) => {
                    let read = postcard::from_bytes(bytes);
                    let read = read.map_err(|error| Reason(format!("its origin: {error}")))?;
                    self.provenance = Some(read);
                }
                Section::Previous(bytes) => self.previous_bytes += bytes.len() as u64,
                Section::State(bytes) => self.state_bytes += bytes.len() as u64,
                Section::Module(..) | Section::Upload(..) => {}
            }
            return Ok(());
        };
        if self.module.as_ref().is_none_or(|(id, ..)| *id != module) {
            self.end_module()?;
            self.module = Some((module, Sha256::new(), 0));
        }
        if let Some((_, sha256, size)) = &mut self.module {
            sha256.update(bytes);
            *size += bytes.len() as u64;
        }
        Ok(())
    }

    fn end_module(&mut self) -> Result<(), Reason> {
        let Some((module, sha256, size)) = self.module.take() else {
            return Ok(());
        };
        if sha256.finalize()[..] != module.0 {
            return Err(Reason(format!("module {module} is not what its name says")));
        }
        self.modules.insert(module, size);
        Ok(())
    }

    /// Whether all is there that the head speaks of.
    fn check(&mut self, host: &HostState) -> Result<(), Reason> {
        self.end_module()?;
        if self.modules != host.modules {
            return Err(Reason("it does not have the modules that it lists".into()));
        }
        if let Some(active) = &host.active
            && !self.modules.contains_key(&active.module)
        {
            let module = active.module;
            return Err(Reason(format!("the active module {module} is missing")));
        }
        // The node that wrote it may not have had the state from before.
        let previous = host.previous.as_ref().map_or(0, |previous| previous.bytes);
        if ![0, previous].contains(&self.previous_bytes) {
            return Err(Reason("the state from before the activation is cut".into()));
        }
        Ok(())
    }
}
