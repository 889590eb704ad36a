//! openraft's own conformance suite, run against the log store on real files.
//!
//! The suite drives a log and a state machine together, so the log gets the smallest state machine
//! that passes: it remembers the last log id and membership, and nothing else.

use std::io;

use futures::{Stream, TryStreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::alias::SnapshotOf;
use openraft::{OptionalSend, RaftSnapshotBuilder};
use rkv_host::storage::{DataDir, Database, LogFile, LogLimits, LogStore};
use rkv_host::types::{LogId, Reply, SnapshotMeta, StoredMembership, TypeConfig};

type SuiteError = openraft::StorageError<TypeConfig>;
type Snapshot = SnapshotOf<TypeConfig, ()>;

/// Remembers what was applied last. A snapshot of it is its meta.
#[derive(Debug, Default, Clone)]
struct LastApplied {
    meta: SnapshotMeta,
    snapshot: Option<SnapshotMeta>,
}

impl RaftSnapshotBuilder<TypeConfig> for LastApplied {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        Ok(Snapshot {
            meta: self.meta.clone(),
            snapshot: (),
        })
    }
}

impl RaftStateMachine<TypeConfig> for LastApplied {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.meta.last_log_id, self.meta.last_membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.meta.last_log_id = Some(entry.log_id());
            if let Some(membership) = entry.get_membership() {
                self.meta.last_membership = StoredMembership::new(Some(entry.log_id()), membership);
            }
            if let Some(responder) = responder {
                responder.send(Reply::Done);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.snapshot = Some(self.meta.clone());
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, (): ()) -> Result<(), io::Error> {
        self.meta = meta.clone();
        self.snapshot = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self
            .snapshot
            .clone()
            .map(|meta| Snapshot { meta, snapshot: () }))
    }
}

fn open(dir: &DataDir, limits: LogLimits) -> LogStore {
    let database = Database::open(dir.database()).unwrap();
    LogStore::open(LogFile::open(dir, &database).unwrap(), limits).unwrap()
}

/// Makes logs with the given memory limits, each in a directory of its own.
struct Builder(LogLimits);

impl StoreBuilder<TypeConfig, LogStore, LastApplied, (tempfile::TempDir, DataDir)> for Builder {
    async fn build(
        &self,
    ) -> Result<((tempfile::TempDir, DataDir), LogStore, LastApplied), SuiteError> {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        let log = open(&dir, self.0);
        Ok(((temp, dir), log, LastApplied::default()))
    }
}

#[tokio::test]
async fn the_log_store_passes_the_suite_from_memory() {
    Suite::test_all(Builder(LogLimits::DEFAULT)).await.unwrap();
}

/// Without a tail, every entry that is durable is read back from the file.
#[tokio::test]
async fn the_log_store_passes_the_suite_from_disk() {
    let limits = LogLimits {
        tail_bytes: 0,
        ..LogLimits::DEFAULT
    };
    Suite::test_all(Builder(limits)).await.unwrap();
}
