//! Which commands trapped, so that a replay leaves them out instead of trapping again.
//!
//! What it says can be found out anew at the price of a rebuild: a lost record costs time.

use std::collections::BTreeMap;

use redb::{ReadableTable, TableDefinition};

use super::schema::{decode_meta, encode_meta};
use super::{Database, StorageError};
use crate::types::{LogIndex, TrapKind};

/// Key: the activation of the module that trapped, and the entry that it trapped on.
const TRAPS: TableDefinition<'_, (LogIndex, LogIndex), &[u8]> = TableDefinition::new("traps");

const WHAT: &str = "trap";

/// The commands that trapped on this node, on disk and in memory.
#[derive(Debug)]
pub struct TrapLedger {
    database: Database,
    traps: BTreeMap<(LogIndex, LogIndex), TrapKind>,
}

impl TrapLedger {
    /// Reads what earlier runs wrote down.
    ///
    /// # Errors
    /// What the disk says.
    pub fn open(database: Database) -> Result<Self, StorageError> {
        let mut traps = BTreeMap::new();
        let transaction = database.begin_write()?;
        {
            let table = transaction
                .open_table(TRAPS)
                .map_err(StorageError::database("open the traps"))?;
            for record in table
                .iter()
                .map_err(StorageError::database("read the traps"))?
            {
                let (key, value) = record.map_err(StorageError::database("read the traps"))?;
                traps.insert(key.value(), decode_meta(WHAT, value.value())?);
            }
        }
        transaction
            .commit()
            .map_err(StorageError::database("commit the traps"))?;
        Ok(Self { database, traps })
    }

    /// How the module that was activated at `since` trapped on the entry at `index`, if it did.
    pub fn get(&self, since: LogIndex, index: LogIndex) -> Option<TrapKind> {
        self.traps.get(&(since, index)).copied()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.traps.len()
    }

    /// The entries behind `index` that some module trapped on.
    pub fn behind(&self, index: LogIndex) -> Vec<LogIndex> {
        let entries = self.traps.keys().map(|(_, entry)| *entry);
        entries.filter(|entry| *entry > index).collect()
    }

    /// Writes down a trap, durably, and forgets those of entries up to `covered`: nothing is
    /// replayed from before the oldest snapshot.
    ///
    /// # Errors
    /// What the disk says.
    pub fn add(
        &mut self,
        since: LogIndex,
        index: LogIndex,
        kind: TrapKind,
        covered: Option<LogIndex>,
    ) -> Result<(), StorageError> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction
                .open_table(TRAPS)
                .map_err(StorageError::database("open the traps"))?;
            let value = encode_meta(&kind)?;
            table
                .insert((since, index), value.as_slice())
                .map_err(StorageError::database("write the traps"))?;
            table
                .retain(|(_, entry), _| Some(entry) > covered)
                .map_err(StorageError::database("prune the traps"))?;
        }
        transaction
            .commit()
            .map_err(StorageError::database("commit the traps"))?;
        self.traps.insert((since, index), kind);
        self.traps.retain(|(_, entry), _| Some(*entry) > covered);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traps_outlive_the_process_until_a_snapshot_covers_them() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("node.redb");
        let mut ledger = TrapLedger::open(Database::open(&path).unwrap()).unwrap();
        ledger.add(3, 10, TrapKind::OutOfFuel, None).unwrap();
        ledger.add(12, 10, TrapKind::Table, None).unwrap();
        drop(ledger);
        let mut ledger = TrapLedger::open(Database::open(&path).unwrap()).unwrap();
        assert_eq!(ledger.get(3, 10), Some(TrapKind::OutOfFuel));
        assert_eq!(ledger.get(12, 10), Some(TrapKind::Table));
        assert_eq!(ledger.get(3, 11), None);

        ledger.add(12, 20, TrapKind::Arithmetic, Some(10)).unwrap();
        assert_eq!(ledger.behind(0), [20]);
        drop(ledger);
        let ledger = TrapLedger::open(Database::open(&path).unwrap()).unwrap();
        assert_eq!((ledger.get(3, 10), ledger.behind(5)), (None, vec![20]));
    }
}
