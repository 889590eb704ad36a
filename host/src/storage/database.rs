//! The redb database of a node: opening it, and the identity kept in it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use redb::backends::InMemoryBackend;
use redb::{
    Builder, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend, WriteTransaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::data_dir::FORGOTTEN;
use super::draft::Draft;
use super::files::{Files, OsFiles, sync_names};
use super::identity::random_bytes;
use super::schema::{IDENTITY, META, SCHEMA, SCHEMA_VERSION, decode_meta, encode_meta};
use super::{Identity, Origin, StorageError};
use crate::types::{ClusterId, InstanceId, NodeId};

const NO_NODE_ID: &str = "this data directory has no node id yet";

/// Memory for pages of the database, in bytes. There are few.
const CACHE_BYTES: usize = 1 << 20;

/// The open database. Clones share it; it is closed with the last one. Calls block on the disk.
#[derive(Clone)]
pub struct Database {
    redb: Arc<redb::Database>,
}

impl Database {
    /// Opens the database at `path`, or makes a new one.
    ///
    /// The checksum of every page in use is compared first.
    ///
    /// # Errors
    /// [`StorageError::NewerFormat`], [`StorageError::Damaged`], or what the disk says.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StorageError> {
        Self::open_in(&OsFiles, path.as_ref())
    }

    pub(super) fn open_in(files: &dyn Files, path: &Path) -> Result<Self, StorageError> {
        if !path.try_exists().map_err(StorageError::io("find", path))? {
            Self::create(files, path)?;
        }
        // The file's name must be on disk before anything in it is relied upon, also when it was
        // there: who gave it may have been killed before this.
        sync_names(files, path.parent().unwrap_or(Path::new(".")))?;
        let found = path.metadata().map_err(StorageError::io("inspect", path))?;
        if found.len() == 0 {
            let reason = format!("it is empty, and {FORGOTTEN}");
            return Err(StorageError::damaged(path.display(), reason));
        }
        let redb = builder()
            .open(path)
            .map_err(|error| StorageError::io("open", path)(std::io::Error::other(error)))?;
        Self::prepare(redb)
    }

    fn create(files: &dyn Files, path: &Path) -> Result<(), StorageError> {
        let (draft, _) = Draft::begin(files, path)?;
        draft.publish(files)
    }

    /// Opens a copy in memory, of which nothing comes back to the file.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub(super) fn read_copy(path: &Path) -> Result<Self, StorageError> {
        let bytes = std::fs::read(path).map_err(StorageError::io("read", path))?;
        if bytes.is_empty() {
            return Err(StorageError::damaged(path.display(), "it is empty"));
        }
        let memory = InMemoryBackend::new();
        let failed = |error| StorageError::io("copy", path)(std::io::Error::other(error));
        memory.set_len(bytes.len() as u64).map_err(failed)?;
        memory.write(0, &bytes).map_err(failed)?;
        Self::with_backend(memory)
    }

    /// Opens a database on any storage: tests lose unsynced writes with it, or fail on command.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn with_backend(backend: impl StorageBackend) -> Result<Self, StorageError> {
        let redb = builder()
            .create_with_backend(backend)
            .map_err(StorageError::database("open the database"))?;
        Self::prepare(redb)
    }

    pub(super) fn prepare(redb: redb::Database) -> Result<Self, StorageError> {
        let database = Self {
            redb: Arc::new(redb),
        };
        let transaction = database.begin_write()?;
        {
            let mut meta = open_meta(&transaction)?;
            let version = match meta
                .get(SCHEMA)
                .map_err(StorageError::database("read the schema"))?
            {
                None => None,
                Some(value) => Some(value.value().try_into().map(u32::from_le_bytes).map_err(
                    |_| StorageError::damaged("the stored schema version", "it is not 4 bytes"),
                )?),
            };
            match version {
                Some(SCHEMA_VERSION) => {}
                Some(found) if found > SCHEMA_VERSION => {
                    return Err(StorageError::NewerFormat {
                        what: "the database node.redb".into(),
                        found,
                        known: SCHEMA_VERSION,
                    });
                }
                Some(found) => {
                    let reason = format!("no release ever wrote version {found}");
                    return Err(StorageError::damaged("the stored schema version", reason));
                }
                None => {
                    meta.insert(SCHEMA, SCHEMA_VERSION.to_le_bytes().as_slice())
                        .map_err(StorageError::database("write the schema"))?;
                }
            }
        }
        transaction
            .commit()
            .map_err(StorageError::database("commit the schema"))?;
        Ok(database)
    }

    /// Whose database this is. `None` when it is new.
    ///
    /// # Errors
    /// What the disk says.
    pub fn identity(&self) -> Result<Option<Identity>, StorageError> {
        self.read_meta(IDENTITY)
    }

    /// The identity, provided that it is `node_id`'s. `None` when the database is new.
    ///
    /// # Errors
    /// [`StorageError::OtherNode`] when it is another node's.
    pub fn identity_of(&self, node_id: NodeId) -> Result<Option<Identity>, StorageError> {
        match self.identity()? {
            Some(identity) if identity.node_id != node_id => Err(StorageError::OtherNode {
                found: identity.node_id,
                wanted: node_id,
            }),
            identity => Ok(identity),
        }
    }

    /// Makes the new database `node_id`'s, under a fresh [`InstanceId`]. Durable on return.
    ///
    /// # Errors
    /// [`StorageError::OtherNode`], or [`StorageError::Refused`] when it is `node_id`'s already.
    pub fn create_identity(
        &self,
        node_id: NodeId,
        origin: Origin,
    ) -> Result<Identity, StorageError> {
        if self.identity_of(node_id)?.is_some() {
            let text = format!("this data directory is node {node_id}'s already");
            return Err(StorageError::Refused(text));
        }
        let identity = Identity {
            node_id,
            instance: InstanceId(random_bytes()?),
            cluster: None,
            origin,
        };
        self.write_meta(IDENTITY, &identity)?;
        Ok(identity)
    }

    /// Has the node leave its cluster for one that goes on with the same log. Durable on return.
    pub(super) fn succeed_cluster(&self) -> Result<ClusterId, StorageError> {
        let Some(mut identity) = self.identity()? else {
            return Err(StorageError::Refused(NO_NODE_ID.into()));
        };
        let Some(cluster) = identity.cluster else {
            let text = "this node has not joined a cluster yet";
            return Err(StorageError::Refused(text.into()));
        };
        let successor = cluster.successor(ClusterId(random_bytes()?));
        identity.cluster = Some(successor);
        self.write_meta(IDENTITY, &identity)?;
        Ok(successor)
    }

    /// Binds the database to `cluster`, for good. Durable on return; done again it does nothing.
    ///
    /// # Errors
    /// [`StorageError::OtherCluster`] when it is bound to another one, [`StorageError::Refused`]
    /// when it has no identity yet.
    pub fn adopt_cluster(&self, cluster: ClusterId) -> Result<Identity, StorageError> {
        let Some(mut identity) = self.identity()? else {
            return Err(StorageError::Refused(NO_NODE_ID.into()));
        };
        match identity.cluster {
            Some(found) if found != cluster => Err(StorageError::OtherCluster {
                found,
                wanted: cluster,
            }),
            Some(_) => Ok(identity),
            None => {
                identity.cluster = Some(cluster);
                self.write_meta(IDENTITY, &identity)?;
                Ok(identity)
            }
        }
    }

    pub(super) fn begin_read(&self) -> Result<ReadTransaction, StorageError> {
        self.redb
            .begin_read()
            .map_err(StorageError::database("begin to read"))
    }

    pub(super) fn begin_write(&self) -> Result<WriteTransaction, StorageError> {
        self.redb
            .begin_write()
            .map_err(StorageError::database("begin to write"))
    }

    pub(super) fn read_meta<T: DeserializeOwned>(
        &self,
        key: &'static str,
    ) -> Result<Option<T>, StorageError> {
        let transaction = self.begin_read()?;
        let meta = transaction
            .open_table(META)
            .map_err(StorageError::database("open the meta table"))?;
        let value = ReadableTable::get(&meta, key)
            .map_err(StorageError::database("read the meta table"))?;
        value
            .map(|value| decode_meta(key, value.value()))
            .transpose()
    }

    fn write_meta<T: Serialize>(&self, key: &'static str, value: &T) -> Result<(), StorageError> {
        let transaction = self.begin_write()?;
        put_meta(&mut open_meta(&transaction)?, key, value)?;
        transaction
            .commit()
            .map_err(StorageError::database("commit the identity"))
    }
}

impl fmt::Debug for Database {
    /// The name only: a log line never prints a user's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

/// The meta table, to be written.
pub(super) type MetaTable<'a> = redb::Table<'a, &'static str, &'static [u8]>;

pub(super) fn open_meta(transaction: &WriteTransaction) -> Result<MetaTable<'_>, StorageError> {
    transaction
        .open_table(META)
        .map_err(StorageError::database("open the meta table"))
}

pub(super) fn put_meta<T: Serialize>(
    meta: &mut MetaTable<'_>,
    key: &'static str,
    value: &T,
) -> Result<(), StorageError> {
    meta.insert(key, encode_meta(value)?.as_slice())
        .map_err(StorageError::database("write the meta table"))?;
    Ok(())
}

pub(super) fn builder() -> Builder {
    let mut builder = redb::Database::builder();
    builder
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true)
        .set_repair_callback(|session| {
            tracing::debug!(progress = session.progress(), "checking node.redb");
        });
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> (tempfile::TempDir, Database) {
        let temp = tempfile::tempdir().unwrap();
        let database = Database::open(temp.path().join("node.redb")).unwrap();
        (temp, database)
    }

    #[test]
    fn an_identity_outlives_the_process() {
        let (temp, database) = database();
        assert_eq!(database.identity().unwrap(), None);
        database.create_identity(7, Origin::Join).unwrap();
        let identity = database.adopt_cluster(ClusterId([3; 16])).unwrap();
        drop(database);
        let database = Database::open(temp.path().join("node.redb")).unwrap();
        assert_eq!(database.identity_of(7).unwrap(), Some(identity.clone()));
        assert_ne!(identity.instance, InstanceId::default());
        assert_eq!(identity.origin, Origin::Join);
    }

    #[test]
    fn another_node_is_refused_with_both_ids() {
        let (_temp, database) = database();
        database.create_identity(7, Origin::Bootstrap).unwrap();
        for error in [
            database.identity_of(8).unwrap_err(),
            database.create_identity(8, Origin::Join).unwrap_err(),
        ] {
            assert!(
                matches!(
                    error,
                    StorageError::OtherNode {
                        found: 7,
                        wanted: 8
                    }
                ),
                "{error}"
            );
        }
        assert!(matches!(
            database.create_identity(7, Origin::Join),
            Err(StorageError::Refused(_))
        ));
    }

    #[test]
    fn a_cluster_is_adopted_once_and_for_all() {
        let (_temp, database) = database();
        let first = ClusterId([1; 16]);
        assert!(matches!(
            database.adopt_cluster(first),
            Err(StorageError::Refused(_))
        ));
        database.create_identity(1, Origin::Join).unwrap();
        database.adopt_cluster(first).unwrap();
        database.adopt_cluster(first).unwrap();
        let error = database.adopt_cluster(ClusterId([2; 16])).unwrap_err();
        assert!(
            matches!(error, StorageError::OtherCluster { .. }),
            "{error}"
        );
        assert_eq!(database.identity().unwrap().unwrap().cluster, Some(first));
    }

    #[test]
    fn a_database_of_a_newer_release_is_refused() {
        let (temp, database) = database();
        let transaction = database.begin_write().unwrap();
        let version = (SCHEMA_VERSION + 1).to_le_bytes();
        open_meta(&transaction)
            .unwrap()
            .insert(SCHEMA, version.as_slice())
            .unwrap();
        transaction.commit().unwrap();
        drop(database);
        let error = Database::open(temp.path().join("node.redb")).unwrap_err();
        assert!(
            matches!(
                error,
                StorageError::NewerFormat {
                    found: 3,
                    known: 2,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn a_file_that_is_no_database_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("node.redb");
        std::fs::write(&path, [7; 9000]).unwrap();
        assert!(Database::open(&path).is_err());
    }

    /// redb would make a new one of it, in which the node could vote again.
    #[test]
    fn a_log_that_lost_its_content_is_not_taken_for_a_new_one() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("node.redb");
        std::fs::write(&path, []).unwrap();
        let error = Database::open(&path).unwrap_err();
        assert!(matches!(error, StorageError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("forgotten its votes"), "{error}");
        assert_eq!(path.metadata().unwrap().len(), 0);
    }
}
