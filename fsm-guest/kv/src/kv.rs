//! Commands and queries on the map.

use std::ops::Bound;
use std::rc::Rc;

use imbl::OrdMap;
use rkv_fsm::{Chunks, Context, Description, Failure, Outcome, StateMachine};
use rkv_kv_protocol::{Answer, Command, DecodeError, PROTOCOL, Query, Reply, failure};

use crate::key::{Key, Probe};
use crate::{KvRecords, KvRestore};

/// Keys and values, each in an allocation of its own, shared with the frozen versions of the map.
/// With keys of 16 bytes and values of 100, a key takes 175 to 190 bytes of a guest's memory.
pub(crate) type Map = OrdMap<Key, Rc<[u8]>>;

/// The version of the state, and so of the records of a snapshot.
const SCHEMA: u32 = 1;
const READS_SCHEMAS: [u32; 1] = [SCHEMA];

const NAME: &str = "kv";

/// A key-value store.
#[derive(Debug, Default, Clone)]
pub struct Kv {
    map: Map,
}

impl Kv {
    pub(crate) fn new(map: Map) -> Self {
        Self { map }
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.map.insert(key.into(), value.into());
    }

    fn keys(&self, prefix: &[u8], after: Option<&[u8]>, limit: u32) -> Answer<'_> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(Probe(after)),
            _ => Bound::Included(Probe(prefix)),
        };
        let mut rest = self
            .map
            .range((start, Bound::Unbounded))
            .map(|(key, _)| key.as_bytes())
            .take_while(|key| key.starts_with(prefix));
        let limit = if limit == 0 {
            usize::MAX
        } else {
            limit as usize
        };
        let keys = rest.by_ref().take(limit).collect();
        Answer::Keys {
            keys,
            more: rest.next().is_some(),
        }
    }
}

impl StateMachine for Kv {
    type Snapshot = Chunks<KvRecords>;
    type Restore = KvRestore;

    fn describe() -> Description {
        Description {
            name: NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            schema: SCHEMA,
            reads_schemas: READS_SCHEMAS.to_vec(),
            protocols: vec![PROTOCOL.to_owned()],
        }
    }

    fn apply(&mut self, _context: Context, command: Vec<u8>) -> Result<Outcome, Failure> {
        let reply = match Command::decode(&command).map_err(undecodable)? {
            Command::Set { key, value } => {
                check_key(key)?;
                self.set(key, value);
                Reply::Done
            }
            Command::Delete { key } => {
                check_key(key)?;
                Reply::Deleted {
                    existed: self.map.remove(&Probe(key)).is_some(),
                }
            }
            Command::Batch(pairs) => {
                // All keys before the first value: a batch is atomic.
                pairs.iter().try_for_each(|(key, _)| check_key(key))?;
                for (key, value) in pairs {
                    self.set(key, value);
                }
                Reply::Done
            }
        };
        Ok(Outcome {
            response: reply.encode(),
            events: Vec::new(),
        })
    }

    fn query(&self, _now: Context, request: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let answer = match Query::decode(&request).map_err(undecodable)? {
            Query::Get { key } => {
                check_key(key)?;
                self.map
                    .get(&Probe(key))
                    .map_or(Answer::Missing, |value| Answer::Value(value))
            }
            Query::Keys {
                prefix,
                after,
                limit,
            } => self.keys(prefix, after, limit),
        };
        Ok(answer.encode())
    }

    fn freeze(&self) -> Self::Snapshot {
        Chunks::new(KvRecords::new(self.map.clone()))
    }

    fn restore(saved: Description) -> Result<KvRestore, Failure> {
        if saved.name == NAME && READS_SCHEMAS.contains(&saved.schema) {
            return Ok(KvRestore::default());
        }
        let Description { name, schema, .. } = saved;
        Err(Failure {
            code: failure::FOREIGN_SNAPSHOT,
            message: format!("{NAME} reads no snapshot of {name} with schema {schema}"),
        })
    }
}

fn undecodable(error: DecodeError) -> Failure {
    let code = match error {
        DecodeError::UnsupportedVersion(_) | DecodeError::UnknownTag(_) => failure::UNSUPPORTED,
        DecodeError::Truncated
        | DecodeError::TrailingBytes(_)
        | DecodeError::InvalidNumber
        | DecodeError::InvalidFlag(_) => failure::MALFORMED,
    };
    Failure {
        code,
        message: error.to_string(),
    }
}

/// Checks that a key is UTF-8 and not empty.
pub(crate) fn check_key(key: &[u8]) -> Result<(), Failure> {
    let message = match std::str::from_utf8(key) {
        Ok("") => "a key is empty".to_owned(),
        Ok(_) => return Ok(()),
        Err(error) => format!("a key is not UTF-8 at byte {}", error.valid_up_to()),
    };
    Err(Failure {
        code: failure::INVALID_KEY,
        message,
    })
}
