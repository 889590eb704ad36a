//! Commands and queries on the map.

use std::ops::Bound;

use imbl::OrdMap;
use rkv_fsm::{Chunks, Failure, Outcome};
use rkv_kv_protocol::{Answer, Command, DecodeError, Query, Reply, failure};

use crate::key::{Key, Probe};
use crate::{KvRecords, Slot};

/// Keys and what is under them, shared with the frozen versions of the map, and counted atomically: that
/// is free in a guest, which has one thread, and lets the store move between threads where it is
/// compiled in. With keys of 16 bytes and values of 100, a key takes 175 to 190 bytes of a guest's
/// memory.
pub(crate) type Map<S> = OrdMap<Key, S>;

/// What `rkv:kv@1` can be spoken with: a key-value store but for its description.
#[derive(Debug, Clone)]
pub struct KvMap<S> {
    map: Map<S>,
}

impl<S> Default for KvMap<S> {
    fn default() -> Self {
        Self::new(Map::new())
    }
}

impl<S> KvMap<S> {
    pub(crate) fn new(map: Map<S>) -> Self {
        Self { map }
    }
}

impl<S: Slot> KvMap<S> {
    /// Carries out a [`Command`].
    ///
    /// # Errors
    ///
    /// The codes of [`failure`]. Nothing has changed then.
    pub fn apply(&mut self, command: &[u8]) -> Result<Outcome, Failure> {
        let reply = match Command::decode(command).map_err(undecodable)? {
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

    /// Answers a [`Query`].
    ///
    /// # Errors
    ///
    /// The codes of [`failure`].
    pub fn query(&self, request: &[u8]) -> Result<Vec<u8>, Failure> {
        let answer = match Query::decode(request).map_err(undecodable)? {
            Query::Get { key } => self
                .get(key)?
                .map_or(Answer::Missing, |slot| Answer::Value(slot.value())),
            Query::Keys {
                prefix,
                after,
                limit,
            } => self.keys(prefix, after, limit),
        };
        Ok(answer.encode())
    }

    /// What is under a key.
    ///
    /// # Errors
    ///
    /// [`failure::INVALID_KEY`].
    pub fn get(&self, key: &[u8]) -> Result<Option<&S>, Failure> {
        check_key(key)?;
        Ok(self.map.get(&Probe(key)))
    }

    /// Freezes the map for a snapshot.
    #[must_use]
    pub fn freeze(&self) -> Chunks<KvRecords<S>> {
        Chunks::new(KvRecords::new(self.map.clone()))
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        let slot = S::set(value, || self.map.get(&Probe(key)));
        self.map.insert(key.into(), slot);
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

/// The refusal of bytes that are no command or query.
#[must_use]
pub fn undecodable(error: DecodeError) -> Failure {
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
