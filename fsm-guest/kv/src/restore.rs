//! A map in the making.

use rkv_fsm::{Failure, Reassembly, Restore};
use rkv_kv_protocol::failure;

use crate::Kv;
use crate::format::{self, END_BYTES, MAGIC, MAGIC_NAME_BYTES, RECORD_HEADER_BYTES};
use crate::kv::{Map, check_key};

/// Reads the bytes of a snapshot, and accepts only those that a snapshot can have.
#[derive(Debug, Default)]
pub struct KvRestore {
    bytes: Reassembly,
    decoder: Decoder,
}

impl Restore for KvRestore {
    type Machine = Kv;

    fn write(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        let decoder = &mut self.decoder;
        self.bytes.feed(chunk, |bytes| decoder.take(bytes))
    }

    fn finish(self) -> Result<Kv, Failure> {
        match self.decoder.expected {
            Expected::Nothing => Ok(Kv::new(self.decoder.map)),
            Expected::Magic | Expected::Record => Err(bad(format!(
                "it ends after {} keys",
                self.decoder.map.len()
            ))),
        }
    }
}

#[derive(Debug, Default)]
struct Decoder {
    map: Map,
    expected: Expected,
}

#[derive(Debug, Default)]
enum Expected {
    #[default]
    Magic,
    Record,
    Nothing,
}

impl Decoder {
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
        let Some((magic, _)) = bytes.split_first_chunk::<{ MAGIC.len() }>() else {
            return Ok(0);
        };
        if magic[..MAGIC_NAME_BYTES] != MAGIC[..MAGIC_NAME_BYTES] {
            return Err(bad("it does not start like one".to_owned()));
        }
        if *magic != MAGIC {
            return Err(Failure {
                code: failure::FOREIGN_SNAPSHOT,
                message: format!("snapshot format {} is not known", magic[MAGIC_NAME_BYTES]),
            });
        }
        self.expected = Expected::Record;
        Ok(MAGIC.len())
    }

    fn take_record(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        let Some((key, value)) = format::split_record(bytes) else {
            return Ok(0);
        };
        check_key(key).map_err(|failure| bad(failure.message))?;
        if self
            .map
            .get_max()
            .is_some_and(|(last, _)| last.as_bytes() >= key)
        {
            return Err(bad("its keys are out of order".to_owned()));
        }
        self.map.insert(key.into(), value.into());
        Ok(RECORD_HEADER_BYTES + key.len() + value.len())
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
