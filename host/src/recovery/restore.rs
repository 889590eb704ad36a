//! `rkvd restore`: a new cluster of one node, with the state of a backup.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use super::Outcome;
use super::error::RecoveryError;
use super::report::line;
use crate::config::DEFAULTS;
use crate::failpoint;
use crate::fsm::{Backup, BackupError};
use crate::progress::Progress;
use crate::storage::{Restoration, SnapshotFile};
use crate::types::{NodeId, NodeInfo};
use crate::wasm::Engine;

/// What to restore, and where.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// The backup.
    pub file: PathBuf,
    /// The directory of the new node: absent or empty.
    pub data_dir: PathBuf,
    /// The new node.
    pub id: NodeId,
}

/// Reads all of a backup, then makes a data directory of it.
///
/// # Errors
/// Why there is none.
pub fn restore(options: &RestoreOptions, out: &mut impl Write) -> Result<Outcome, RecoveryError> {
    let file = SnapshotFile::open(&options.file).map_err(unusable)?;
    // Read twice to check it, and once more to write it.
    let progress = Progress::bytes("reading", file.size() * (Backup::PASSES + 1));
    let backup = Backup::verify(file, |bytes| progress.advance(bytes));
    let backup = backup.map_err(RecoveryError::Backup)?;
    progress.aside(|| describe(&backup, out))?;

    let fingerprint = Engine::new(None)?.fingerprint();
    let restoration = Restoration::begin(&options.data_dir, options.id)?;
    let identity = restoration.identity().clone();
    // Where a node is that is started without flags. Started elsewhere, it says so.
    let node = NodeInfo {
        raft_addr: DEFAULTS.raft_addr.to_owned(),
        http_addr: DEFAULTS.server_addr.to_owned(),
        instance: identity.instance,
    };
    failpoint::crash_at("restore-before-snapshot");
    let snapshot = backup.found(
        restoration.snapshots(),
        (options.id, node),
        fingerprint,
        |bytes| progress.advance(bytes),
    )?;
    restoration.finish(&snapshot)?;
    drop(progress);

    let (id, dir) = (options.id, options.data_dir.display());
    if let Some(cluster) = identity.cluster {
        line(
            out,
            "node",
            format_args!("{id}, alone in the new cluster {cluster}"),
        )?;
    }
    line(out, "next", format_args!("rkvd --id {id} --data-dir {dir}"))?;
    Ok(Outcome::Good)
}

fn unusable(error: crate::storage::StorageError) -> RecoveryError {
    RecoveryError::Backup(BackupError::from(error))
}

fn describe(backup: &Backup, out: &mut impl Write) -> std::io::Result<()> {
    match backup.provenance() {
        Some(from) => {
            let (cluster, node, version) = (from.cluster, from.node, &from.version);
            let time = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(from.time_ms));
            line(
                out,
                "backup",
                format_args!("of cluster {cluster}, by node {node} (rkvd {version}), {time}"),
            )?;
        }
        None => line(
            out,
            "backup",
            "a node's snapshot, which does not say of which cluster",
        )?,
    }
    let covered = backup.covered();
    let (index, term) = (covered.index, **covered.committed_leader_id());
    let module = match &backup.host().active {
        None => "no module".to_owned(),
        Some(active) => {
            let description = &active.description;
            format!(
                "{} {}, {} bytes",
                description.name,
                description.version,
                backup.state_bytes()
            )
        }
    };
    line(
        out,
        "state",
        format_args!("{module}, up to entry {index} of term {term}"),
    )
}
