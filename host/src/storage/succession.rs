//! A node leaves its cluster, and goes on with the same log in another one.

use super::files::{Files, sync_names};
use super::schema::weight;
use super::wal::{Frame, Wal, backend};
use super::{DataDir, Database, StorageError};
use crate::failpoint;
use crate::types::{ClusterId, Entry, LogId, Vote};

/// How the log of a node goes on without its cluster.
#[derive(Debug)]
pub struct Succession {
    /// Of the entry's term.
    pub vote: Vote,
    /// The last entry that a snapshot covers, where the log does not reach that far.
    pub purge: Option<LogId>,
    /// What comes behind the last entry.
    pub entry: Entry,
}

/// Makes `dir` a node of the cluster that succeeds its own. Durable on return; interrupted anywhere, it
/// can be done again.
///
/// # Errors
/// What the disk says, or [`StorageError::Refused`] when there is no node or no cluster.
pub fn succeed(dir: &DataDir, succession: &Succession) -> Result<ClusterId, StorageError> {
    // In this order: alone in the old cluster, it would be one of two that go by the same name. With
    // the new name and the old members it is nobody's peer, and does not get a quorum.
    let cluster = Database::open_in(&*dir.files, &dir.database())?.succeed_cluster()?;
    failpoint::crash_at("recover-before-log");
    append(&*dir.files, dir, succession)?;
    failpoint::crash_at("recover-after-log");
    Ok(cluster)
}

/// One frame, so that all of it is there or nothing.
fn append(files: &dyn Files, dir: &DataDir, succession: &Succession) -> Result<(), StorageError> {
    let path = dir.log();
    sync_names(files, dir.path())?;
    let mut wal = Wal::open(Box::new(backend(&path)?), path)?;
    let last = wal.reader().stored().last()?;
    let position = last.map_or(0, |(entry, position)| position + weight(&entry));
    let mut frame = Frame::default();
    frame.vote(&succession.vote)?;
    if let Some(purge) = &succession.purge {
        frame.purge(purge)?;
    }
    frame.entry(&succession.entry, position)?;
    wal.commit(&mut frame).map(drop)
}

#[cfg(test)]
mod tests {
    use openraft::entry::RaftEntry;

    use super::super::log_store::EXTENT_BYTES;
    use super::super::{Identity, Inspection, Origin};
    use super::*;

    fn node(entries: u64) -> (tempfile::TempDir, DataDir, Identity) {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        let mut frame = Frame::default();
        for index in 0..entries {
            let entry = Entry::new_blank(LogId::new_term_index(2, index));
            frame.entry(&entry, 64 * index).unwrap();
        }
        Wal::create(&*dir.files, &dir.log(), EXTENT_BYTES, Some(&mut frame)).unwrap();
        let database = Database::open(dir.database()).unwrap();
        database.create_identity(3, Origin::Join).unwrap();
        let identity = database.adopt_cluster(ClusterId([9; 16])).unwrap();
        (temp, dir, identity)
    }

    fn succession(index: u64, purge: Option<LogId>) -> Succession {
        Succession {
            vote: Vote::new(4, 3),
            purge,
            entry: Entry::new_blank(LogId::new_term_index(4, index)),
        }
    }

    #[test]
    fn the_log_goes_on_in_a_cluster_of_the_same_lineage() {
        let (temp, dir, before) = node(5);
        let succession = succession(5, None);
        let cluster = succeed(&dir, &succession).unwrap();
        drop(dir);
        let old = before.cluster.unwrap();
        assert_ne!(cluster, old);
        assert_eq!(cluster.lineage(), old.lineage());
        let inspection = Inspection::open(temp.path()).unwrap();
        let (identity, _) = inspection.identity().unwrap();
        let expected = Identity {
            cluster: Some(cluster),
            ..before
        };
        assert_eq!(identity, Some(expected));
        let mut entries = Vec::new();
        let log = inspection
            .log(|entry| entries.push(entry.log_id.index))
            .unwrap();
        assert_eq!(entries, [0, 1, 2, 3, 4, 5]);
        assert_eq!(log.vote, Some(Vote::new(4, 3)));
        assert_eq!(log.last, Some(succession.entry.log_id));
        assert!(!log.is_torn);
    }

    #[test]
    fn the_log_goes_on_behind_a_snapshot_that_is_ahead_of_it() {
        let (temp, dir, _) = node(5);
        let covered = LogId::new_term_index(3, 8);
        succeed(&dir, &succession(9, Some(covered))).unwrap();
        drop(dir);
        let mut entries = Vec::new();
        let inspection = Inspection::open(temp.path()).unwrap();
        let log = inspection
            .log(|entry| entries.push(entry.log_id.index))
            .unwrap();
        assert_eq!((entries, log.purged), (vec![9], Some(covered)));
    }

    #[test]
    fn a_hole_is_damage() {
        let (temp, dir, _) = node(5);
        succeed(&dir, &succession(9, None)).unwrap();
        drop(dir);
        let inspection = Inspection::open(temp.path()).unwrap();
        let error = inspection.log(|_| ()).unwrap_err();
        assert!(error.to_string().contains("does not follow"), "{error}");
    }
}
