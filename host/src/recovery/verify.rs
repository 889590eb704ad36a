//! `rkvd verify`: whether all that a data directory has is as it was written.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::Outcome;
use super::error::RecoveryError;
use super::report::{Fault, Findings};
use crate::fsm::{Backup, BackupError, FsmError};
use crate::progress::Progress;
use crate::storage::{Inspection, LogSummary, SnapshotFile, is_named_right};
use crate::types::{LogId, ModuleId};

/// Bytes of a module that are read at a time.
const READ_BYTES: usize = 256 << 10;

const REPLACE_NODE: &str = "remove this node from its cluster and start it anew, with a new --id and \
                            an empty --data-dir; if it is the last one, restore a backup";
const SNAPSHOT: &str = "the node does without it if a sound one reaches the log's first entry: delete \
                        it; otherwise replace the node";
const PREVIOUS: &str =
    "delete it: this node cannot go back to the state from before the activation";
const MODULE: &str = "delete it: the node gets it back from its snapshot, its log or a peer";

/// Looks at everything in a data directory that no node uses, changes nothing, and prints a line for
/// each thing.
///
/// # Errors
/// Why nothing could be looked at.
pub fn verify(data_dir: &Path, out: &mut impl Write) -> Result<Outcome, RecoveryError> {
    let inspection = Inspection::open(data_dir)?;
    let (snapshots, modules) = (inspection.snapshots()?, inspection.modules()?);
    let size = |path: &Path| path.metadata().map_or(0, |file| file.len());
    let total = inspection.log_bytes()
        + snapshots
            .iter()
            .map(|path| size(path) * Backup::PASSES)
            .sum::<u64>()
        + modules.iter().map(|path| size(path)).sum::<u64>();
    let mut findings = Findings::new(out, Progress::bytes("verifying", total));

    findings.add("node.redb", identity(&inspection), REPLACE_NODE)?;
    let mut log = None;
    let entries = inspection.log(|_| ()).map_err(Fault::from);
    let entries = entries.and_then(|summary| {
        log = Some(summary.clone());
        describe_log(&summary)
    });
    findings.add("log.wal", entries, REPLACE_NODE)?;
    findings.advance(inspection.log_bytes());
    if log.as_ref().is_some_and(|log| log.is_torn) {
        findings.note(
            "log.wal: the last commit does not read back, and counts as not written. A crash leaves \
             that; without one, the disk lost what was perhaps acknowledged",
        )?;
    }
    let covered = verify_snapshots(&inspection, &mut findings)?;
    if covered.is_some() && log.as_ref().is_some_and(|log| log.last.is_none()) {
        let text = "it is empty, and there are snapshots".to_owned();
        findings.add("log.wal", Err(Fault::Damaged(text)), REPLACE_NODE)?;
    }
    if let Some(purged) = log
        .and_then(|log| log.purged)
        .filter(|purged| covered < Some(*purged))
    {
        let text =
            format!("the log begins behind entry {purged}, and none that is sound reaches it");
        findings.add("snapshots", Err(Fault::Damaged(text)), REPLACE_NODE)?;
    }
    for path in &modules {
        if has_extension(path, "wasm") {
            let found = module(path, &findings);
            findings.add(&name("modules", path), found, MODULE)?;
        }
    }
    Ok(match (findings.damaged, findings.unread) {
        (0, 0) => Outcome::Good,
        (0, _) => Outcome::Open,
        _ => Outcome::Damaged,
    })
}

fn identity(inspection: &Inspection) -> Result<String, Fault> {
    let (identity, traps) = inspection.identity()?;
    let Some(identity) = identity else {
        return Ok("no node yet".to_owned());
    };
    let (id, instance) = (identity.node_id, identity.instance);
    let cluster = match identity.cluster {
        Some(cluster) => format!("cluster {cluster}"),
        None => "no cluster yet".to_owned(),
    };
    Ok(format!(
        "node {id} (instance {instance}) of {cluster}, {traps} trapped commands"
    ))
}

fn describe_log(log: &LogSummary) -> Result<String, Fault> {
    if log.committed > log.last {
        let text = "it knows entries to be committed that it does not have";
        return Err(Fault::Damaged(text.to_owned()));
    }
    let term = log.last.map_or(0, |last| **last.committed_leader_id());
    let voted = log.vote.map_or(0, |vote| vote.leader_id().term);
    if voted < term {
        let text = format!("its last vote is in term {voted}, and its last entry of term {term}");
        return Err(Fault::Damaged(text));
    }
    let committed = log
        .committed
        .map_or_else(|| "none".to_owned(), |id| id.index.to_string());
    let entries = match (log.first, log.last) {
        (Some(first), Some(last)) => format!("entries {} to {}", first.index, last.index),
        (_, Some(last)) => format!("no entries, purged up to {}", last.index),
        _ => "no entries".to_owned(),
    };
    Ok(format!(
        "{entries}, last of term {term}; vote in term {voted}; committed up to {committed}"
    ))
}

/// Answers the last entry that a sound snapshot covers.
fn verify_snapshots(
    inspection: &Inspection,
    findings: &mut Findings<'_, impl Write>,
) -> Result<Option<LogId>, RecoveryError> {
    let mut covered = None;
    for path in inspection.snapshots()? {
        let name = name("snapshots", &path);
        if has_extension(&path, "snap") {
            let found = snapshot(&path, findings).map(|(last, text)| {
                covered = covered.max(Some(last));
                text
            });
            findings.add(&name, found, SNAPSHOT)?;
        } else if has_extension(&path, "previous") {
            let found = previous(&path, findings);
            findings.add(&name, found, PREVIOUS)?;
        } else if has_extension(&path, "bad") {
            findings.note(format_args!(
                "{name}: was found damaged before, and is not used"
            ))?;
        }
    }
    Ok(covered)
}

fn snapshot(path: &Path, findings: &Findings<'_, impl Write>) -> Result<(LogId, String), Fault> {
    let backup = Backup::open(path, |bytes| findings.advance(bytes));
    let backup = backup.map_err(|error| match error {
        BackupError::Fsm(FsmError::Storage(error)) => error.into(),
        error => Fault::Damaged(error.to_string()),
    })?;
    if !is_named_right(backup.file()) {
        let text = "it has the name of another snapshot".to_owned();
        return Err(Fault::Damaged(text));
    }
    let (last, modules) = (backup.covered(), backup.host().modules.len());
    let bytes = backup.state_bytes();
    let text = format!(
        "up to entry {}, {modules} modules, {bytes} bytes of state",
        last.index
    );
    Ok((last, text))
}

fn previous(path: &Path, findings: &Findings<'_, impl Write>) -> Result<String, Fault> {
    let file = SnapshotFile::open(path)?;
    file.verify_checksum(|bytes| findings.advance(bytes))?;
    for chunk in file.chunks() {
        findings.advance(chunk?.len() as u64);
    }
    Ok(format!("{} bytes of state", file.content_bytes()))
}

fn module(path: &Path, findings: &Findings<'_, impl Write>) -> Result<String, Fault> {
    let unread = |error: io::Error| Fault::Unread(error.to_string());
    let mut file = File::open(path).map_err(unread)?;
    let (mut sha256, mut size) = (Sha256::new(), 0);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = file.read(&mut buffer).map_err(unread)?;
        if read == 0 {
            break;
        }
        sha256.update(&buffer[..read]);
        size += read;
        findings.advance(read as u64);
    }
    let found = ModuleId(sha256.finalize().into());
    let named = path
        .file_stem()
        .and_then(|stem| stem.to_str()?.parse().ok());
    if named != Some(found) {
        return Err(Fault::Damaged(format!("its sha256 is {found}")));
    }
    Ok(format!("{size} bytes"))
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension()
        .is_some_and(|extension| extension == wanted)
}

fn name(folder: &str, path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    format!("{folder}/{}", name.to_string_lossy())
}
