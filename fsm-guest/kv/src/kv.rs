//! The store with its first schema.

use rkv_fsm::{Chunks, Context, Description, Failure, Outcome, StateMachine};
use rkv_kv_protocol::PROTOCOL;

use crate::{KvMap, KvRecords, KvRestore, Value};

/// The version of the state, and so of the records of a snapshot.
const SCHEMA: u32 = 1;

/// Schema 2 is that of `rkv-kv-v2`, whose counters are dropped: this is the way back from it.
const READS_SCHEMAS: [u32; 2] = [SCHEMA, 2];

/// A key-value store.
#[derive(Debug, Default, Clone)]
pub struct Kv {
    map: KvMap<Value>,
}

impl From<KvMap<Value>> for Kv {
    fn from(map: KvMap<Value>) -> Self {
        Self { map }
    }
}

impl StateMachine for Kv {
    type Snapshot = Chunks<KvRecords<Value>>;
    type Restore = KvRestore<Value, Self>;

    fn describe() -> Description {
        Description {
            name: "kv".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            schema: SCHEMA,
            reads_schemas: READS_SCHEMAS.to_vec(),
            protocols: vec![PROTOCOL.to_owned()],
        }
    }

    fn apply(&mut self, _context: Context, command: Vec<u8>) -> Result<Outcome, Failure> {
        self.map.apply(&command)
    }

    fn query(&self, _now: Context, request: Vec<u8>) -> Result<Vec<u8>, Failure> {
        self.map.query(&request)
    }

    fn freeze(&self) -> Self::Snapshot {
        self.map.freeze()
    }

    fn restore(saved: Description) -> Result<Self::Restore, Failure> {
        KvRestore::new(&Self::describe(), &saved)
    }
}
