//! A map in the making.

use std::marker::PhantomData;
use std::num::NonZeroU64;

use rkv_fsm::{Description, Failure, Reassembly, Restore, check_readable};
use rkv_kv_protocol::failure;

use crate::format::{self, END_BYTES, Format, MAGIC_BYTES, MAGIC_NAME};
use crate::map::{Map, check_key};
use crate::{KvMap, Slot};

/// Reads the bytes of a snapshot of any schema, and accepts only those that a snapshot can have.
/// Makes a state machine `M` of them.
#[derive(Debug)]
pub struct KvRestore<S, M> {
    bytes: Reassembly,
    decoder: Decoder<S>,
    machine: PhantomData<fn() -> M>,
}

impl<S, M> KvRestore<S, M> {
    /// Starts from nothing, for a snapshot of `saved` that is to become a state of `own`.
    ///
    /// # Errors
    ///
    /// [`failure::FOREIGN_SNAPSHOT`]: `own` does not list what `saved` is.
    pub fn new(own: &Description, saved: &Description) -> Result<Self, Failure> {
        check_readable(own, saved)?;
        let format = Format::of_schema(saved.schema).ok_or_else(|| Failure {
            code: failure::FOREIGN_SNAPSHOT,
            message: format!("no snapshot format is known for schema {}", saved.schema),
        })?;
        Ok(Self {
            bytes: Reassembly::default(),
            decoder: Decoder {
                map: Map::new(),
                format,
                expected: Expected::Magic,
            },
            machine: PhantomData,
        })
    }
}

impl<S: Slot, M: From<KvMap<S>> + 'static> Restore for KvRestore<S, M> {
    type Machine = M;

    fn write(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        let decoder = &mut self.decoder;
        self.bytes.feed(chunk, |bytes| decoder.take(bytes))
    }

    fn finish(self) -> Result<M, Failure> {
        match self.decoder.expected {
            Expected::Nothing => Ok(KvMap::new(self.decoder.map).into()),
            Expected::Magic | Expected::Record => Err(bad(format!(
                "it ends after {} keys",
                self.decoder.map.len()
            ))),
        }
    }
}

#[derive(Debug)]
struct Decoder<S> {
    map: Map<S>,
    format: Format,
    expected: Expected,
}

#[derive(Debug)]
enum Expected {
    Magic,
    Record,
    Nothing,
}

impl<S: Slot> Decoder<S> {
    /// Takes one item off the front of `bytes`, and says how long it was: 0 when it is incomplete.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        match self.expected {
            Expected::Magic => self.take_magic(bytes),
            Expected::Record => match bytes {
                [format::TAG_RECORD, rest @ ..] => self.take_record(rest),
                [format::TAG_END, rest @ ..] => self.take_end(rest),
                [tag, ..] => Err(bad(format!("tag {tag} after {} keys", self.map.len()))),
                [] => Ok(0),
            },
            Expected::Nothing => Err(bad("bytes follow its end".to_owned())),
        }
    }

    fn take_magic(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        let Some(([name @ .., number], _)) = bytes.split_first_chunk::<MAGIC_BYTES>() else {
            return Ok(0);
        };
        if *name != MAGIC_NAME {
            return Err(bad("it does not start like one".to_owned()));
        }
        if *number != self.format.number() {
            return Err(Failure {
                code: failure::FOREIGN_SNAPSHOT,
                message: format!(
                    "snapshot format {number} instead of {}",
                    self.format.number()
                ),
            });
        }
        self.expected = Expected::Record;
        Ok(MAGIC_BYTES)
    }

    fn take_record(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        let Some(record) = self.format.split_record(bytes) else {
            return Ok(0);
        };
        let key = record.key;
        check_key(key).map_err(|failure| bad(failure.message))?;
        if self
            .map
            .get_max()
            .is_some_and(|(last, _)| last.as_bytes() >= key)
        {
            return Err(bad("its keys are out of order".to_owned()));
        }
        let Some(version) = NonZeroU64::new(record.version) else {
            return Err(bad("a key has version 0".to_owned()));
        };
        self.map
            .insert(key.into(), S::restored(record.value, version));
        Ok(record.size)
    }

    fn take_end(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        let Some((count, _)) = bytes.split_first_chunk() else {
            return Ok(0);
        };
        let (count, found) = (u64::from_le_bytes(*count), self.map.len());
        if count != found as u64 {
            return Err(bad(format!("it should have {count} keys and has {found}")));
        }
        self.expected = Expected::Nothing;
        Ok(END_BYTES)
    }
}

fn bad(what: String) -> Failure {
    Failure {
        code: failure::BAD_SNAPSHOT,
        message: format!("bad snapshot: {what}"),
    }
}
