//! What a recovery finds, and what it would do.

use std::collections::BTreeMap;
use std::io::{self, Write};

use openraft::entry::RaftEntry;
use openraft::{EntryPayload, LogIdOptionExt, Membership};

use super::error::RecoveryError;
use super::report::line;
use crate::fsm::Backup;
use crate::progress::Progress;
use crate::storage::{Inspection, LogSummary, SnapshotFile, StorageError, Succession};
use crate::types::{Entry, InstanceId, LogId, NodeId, NodeInfo, StoredMembership, Vote};

/// What makes a node a cluster of one.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) id: NodeId,
    cluster: String,
    info: NodeInfo,
    is_voter: bool,
    members: Vec<NodeId>,
    log: LogSummary,
    /// The last entry that the newest sound snapshot covers.
    covered: Option<LogId>,
}

impl Plan {
    pub(super) fn of(inspection: &Inspection) -> Result<Self, RecoveryError> {
        let dir = inspection.path();
        let (identity, _) = inspection.identity()?;
        let identity = identity.ok_or(StorageError::NoNode { dir: dir.into() })?;
        let no_cluster = || RecoveryError::NoCluster { dir: dir.into() };
        let cluster = identity.cluster.ok_or_else(no_cluster)?;
        let mut membership = StoredMembership::default();
        let log = inspection.log(|entry| {
            if let EntryPayload::Membership(found) = &entry.payload {
                membership = StoredMembership::new(Some(entry.log_id), found.clone());
            }
        })?;
        let snapshot = newest_sound(inspection)?;
        let covered = snapshot.as_ref().and_then(|file| file.meta().last_log_id);
        if let Some(purged) = log.purged.filter(|purged| covered < Some(*purged)) {
            let purged = purged.index;
            return Err(RecoveryError::Uncovered { purged });
        }
        if let Some(file) = &snapshot
            && file.meta().last_membership.log_id() >= membership.log_id()
        {
            membership = file.meta().last_membership.clone();
        }
        let members: Vec<NodeId> = membership.nodes().map(|(id, _)| *id).collect();
        if members.is_empty() {
            return Err(no_cluster());
        }
        let id = identity.node_id;
        let info = membership.membership().get_node(&id);
        let known = [InstanceId::default(), identity.instance];
        let info = info.filter(|node| known.contains(&node.instance));
        Ok(Self {
            id,
            cluster: cluster.to_string(),
            info: info.cloned().ok_or_else(|| RecoveryError::NotMember {
                id,
                members: members.clone(),
            })?,
            is_voter: membership.voter_ids().any(|voter| voter == id),
            members,
            log,
            covered,
        })
    }

    /// Whether the node is alone already.
    pub(super) fn is_alone(&self) -> bool {
        self.is_voter && self.members == [self.id]
    }

    pub(super) fn succession(&self) -> Succession {
        let id = self.id;
        let terms = [self.log.last, self.covered].into_iter().flatten();
        let terms = terms.map(|id| **id.committed_leader_id());
        let voted = self.log.vote.map_or(0, |vote| vote.leader_id().term);
        let term = terms.fold(voted, u64::max) + 1;
        // A snapshot that came from the leader may be ahead of a log that was not purged yet.
        let ahead = self
            .covered
            .filter(|covered| self.log.last < Some(*covered));
        let next = self.log.last.max(self.covered).next_index();
        let nodes = BTreeMap::from([(id, self.info.clone())]);
        let alone = Membership::from(nodes);
        Succession {
            vote: Vote::new(term, id),
            purge: ahead,
            entry: Entry::new_membership(LogId::new_term_index(term, next), alone),
        }
    }

    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let role = if self.is_voter {
            "a voter"
        } else {
            "a LEARNER"
        };
        let (id, cluster, members) = (self.id, &self.cluster, &self.members);
        line(
            out,
            "node",
            format_args!("{id}, {role} in cluster {cluster} with members {members:?}"),
        )?;
        let last = self.log.last.max(self.covered);
        let committed = self.log.committed.max(self.covered);
        let index =
            |id: Option<LogId>| id.map_or_else(|| "none".to_owned(), |id| id.index.to_string());
        let entries = format!(
            "last entry {}; known to be committed up to {}",
            index(last),
            index(committed)
        );
        line(out, "log", entries)?;
        let open = last.next_index().saturating_sub(committed.next_index());
        let kept = match open {
            0 => "every entry".to_owned(),
            open => format!(
                "every entry, also the last {open}, which may or may not have been acknowledged and \
                 count from now on"
            ),
        };
        line(out, "keeps", kept)?;
        let lost = if self.is_voter {
            "what other members acknowledged and this one never got: it cannot be told from here \
             whether there is any"
        } else {
            "any write may be missing: no acknowledgement ever waited for a learner. If the data of a \
             voter is left anywhere, recover that"
        };
        line(out, "loses", lost)
    }
}

/// The newest snapshot whose every byte is as it was written.
fn newest_sound(inspection: &Inspection) -> Result<Option<SnapshotFile>, StorageError> {
    let mut found: Vec<SnapshotFile> = Vec::new();
    for path in inspection.snapshots()? {
        if path
            .extension()
            .is_some_and(|extension| extension == "snap")
        {
            match SnapshotFile::open(&path) {
                Ok(file) => found.push(file),
                Err(StorageError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    found.sort_by_key(|file| file.meta().last_log_id);
    for file in found.into_iter().rev() {
        let progress = Progress::bytes("reading", file.size() * Backup::PASSES);
        if let Ok(sound) = Backup::verify(file, |bytes| progress.advance(bytes)) {
            return Ok(Some(sound.into_file()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::fsm::HostState;
    use crate::storage::{Restoration, succeed};
    use crate::types::SnapshotMeta;

    fn membership(voters: &[NodeId], all: &[NodeId]) -> Membership<NodeId, NodeInfo> {
        let voters = voters.iter().copied().collect();
        Membership::new_with_defaults(vec![voters], all.iter().copied())
    }

    /// Node 3, with a snapshot up to entry 40 of term 7 and an empty log behind.
    fn node(path: &Path, members: Membership<NodeId, NodeInfo>) {
        let restoration = Restoration::begin(path, 3).unwrap();
        let covered = Some(LogId::new_term_index(7, 40));
        let meta = SnapshotMeta {
            last_log_id: covered,
            last_membership: StoredMembership::new(covered, members),
        };
        let host = postcard::to_stdvec(&HostState::default()).unwrap();
        let head = [&[2], &host[..]].concat();
        let writer = restoration.snapshots().begin(meta, head).unwrap();
        restoration.finish(&writer.finish().unwrap()).unwrap();
    }

    fn plan(path: &Path) -> Result<(Plan, String), RecoveryError> {
        let plan = Plan::of(&Inspection::open(path)?)?;
        let mut text = Vec::new();
        plan.print(&mut text).unwrap();
        Ok((plan, String::from_utf8(text).unwrap()))
    }

    #[test]
    fn a_voter_goes_on_behind_its_last_entry_in_a_later_term() {
        let temp = tempfile::tempdir().unwrap();
        node(temp.path(), membership(&[1, 2, 3], &[1, 2, 3]));
        let (plan, text) = plan(temp.path()).unwrap();
        assert!(
            text.contains("a voter") && text.contains("[1, 2, 3]"),
            "{text}"
        );
        let succession = plan.succession();
        assert_eq!(succession.entry.log_id, LogId::new_term_index(8, 41));
        assert_eq!((succession.vote, succession.purge), (Vote::new(8, 3), None));
        assert!(!plan.is_alone());
        succeed(
            &Inspection::open(temp.path()).unwrap().into_dir(),
            &succession,
        )
        .unwrap();
        assert!(
            Plan::of(&Inspection::open(temp.path()).unwrap())
                .unwrap()
                .is_alone()
        );
    }

    #[test]
    fn a_learner_is_told_that_anything_may_be_missing() {
        let temp = tempfile::tempdir().unwrap();
        node(temp.path(), membership(&[1, 2], &[1, 2, 3]));
        let (plan, text) = plan(temp.path()).unwrap();
        assert!(
            text.contains("LEARNER") && text.contains("any write may be missing"),
            "{text}"
        );
        assert!(!plan.is_alone());
    }

    #[test]
    fn a_node_that_was_removed_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        node(temp.path(), membership(&[1, 2, 3], &[1, 2, 3]));
        let removal = Succession {
            vote: Vote::new(8, 1),
            purge: None,
            entry: Entry::new_membership(
                LogId::new_term_index(8, 41),
                membership(&[1, 2], &[1, 2]),
            ),
        };
        succeed(&Inspection::open(temp.path()).unwrap().into_dir(), &removal).unwrap();
        let error = plan(temp.path()).unwrap_err();
        assert!(error.to_string().contains("not a member"), "{error}");
    }

    #[test]
    fn a_log_that_no_snapshot_reaches_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        node(temp.path(), membership(&[1, 2, 3], &[1, 2, 3]));
        for snapshot in Inspection::open(temp.path()).unwrap().snapshots().unwrap() {
            std::fs::remove_file(snapshot).unwrap();
        }
        let error = plan(temp.path()).unwrap_err();
        assert!(
            matches!(error, RecoveryError::Uncovered { purged: 40 }),
            "{error}"
        );
    }
}
