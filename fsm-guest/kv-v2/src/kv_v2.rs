//! The store with its second schema.

use rkv_fsm::{Chunks, Context, Description, Failure, Outcome, StateMachine};
use rkv_kv::{KvMap, KvRecords, KvRestore, Slot, undecodable};
use rkv_kv_protocol::version::{self, VersionAnswer, VersionQuery};
use rkv_kv_protocol::{DecodeError, PROTOCOL};

use crate::Counted;

/// The version of the state. 1 is that of `rkv-kv`.
const SCHEMA: u32 = 2;
const READS_SCHEMAS: [u32; 2] = [1, SCHEMA];

/// A key-value store that counts how often each key was set.
#[derive(Debug, Default, Clone)]
pub struct KvV2 {
    map: KvMap<Counted>,
}

impl From<KvMap<Counted>> for KvV2 {
    fn from(map: KvMap<Counted>) -> Self {
        Self { map }
    }
}

impl KvV2 {
    fn version(&self, VersionQuery { key }: VersionQuery<'_>) -> Result<VersionAnswer, Failure> {
        let slot = self.map.get(key)?;
        Ok(slot.map_or(VersionAnswer::Missing, |slot| {
            VersionAnswer::Version(slot.version().get())
        }))
    }
}

impl StateMachine for KvV2 {
    type Snapshot = Chunks<KvRecords<Counted>>;
    type Restore = KvRestore<Counted, Self>;

    fn describe() -> Description {
        Description {
            // All versions of a state machine share its name.
            name: "kv".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            schema: SCHEMA,
            reads_schemas: READS_SCHEMAS.to_vec(),
            protocols: vec![PROTOCOL.to_owned(), version::PROTOCOL.to_owned()],
        }
    }

    fn apply(&mut self, _context: Context, command: Vec<u8>) -> Result<Outcome, Failure> {
        self.map.apply(&command)
    }

    fn query(&self, _now: Context, request: Vec<u8>) -> Result<Vec<u8>, Failure> {
        match VersionQuery::decode(&request) {
            Ok(query) => Ok(self.version(query)?.encode()),
            Err(DecodeError::UnknownTag(_)) => self.map.query(&request),
            Err(error) => Err(undecodable(error)),
        }
    }

    fn freeze(&self) -> Self::Snapshot {
        self.map.freeze()
    }

    fn restore(saved: Description) -> Result<Self::Restore, Failure> {
        KvRestore::new(&Self::describe(), &saved)
    }
}
