//! The encoding of `rkv:kv-version@1`: how often a key was set, asked of a state machine that
//! speaks `rkv:kv@1` too.
//!
//! The messages are built like those of `rkv:kv@1`, with tags that it does not use:
//!
//! | message | tag | fields | example, in hexadecimal |
//! | --- | --- | --- | --- |
//! | [`VersionQuery`] | 16 | key `bytes` | of `a`: `01 10 01 61` |
//! | [`VersionAnswer::Version`] | 16 | version `number` | 300: `01 10 ac 02` |
//! | [`VersionAnswer::Missing`] | 17 | | `01 11` |

use alloc::vec::Vec;

use crate::DecodeError;
use crate::wire::{Reader, Writer, bytes_size, number_size};

/// The name under which a state machine's description lists this protocol.
pub const PROTOCOL: &str = "rkv:kv-version@1";

const QUERY: u8 = 16;

const VERSION: u8 = 16;
const MISSING: u8 = 17;

/// Asks for the version of a key. Answered by [`VersionAnswer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionQuery<'a> {
    /// Key.
    pub key: &'a [u8],
}

impl<'a> VersionQuery<'a> {
    /// The query's only encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(QUERY, bytes_size(self.key));
        writer.bytes(self.key);
        writer.finish()
    }

    /// Reads a query, borrowing the key from `message`.
    ///
    /// # Errors
    ///
    /// Anything but the encoding of exactly one query. [`DecodeError::UnknownTag`] may be a message
    /// of `rkv:kv@1`.
    pub fn decode(message: &'a [u8]) -> Result<Self, DecodeError> {
        let (tag, mut reader) = Reader::new(message)?;
        if tag != QUERY {
            return Err(DecodeError::UnknownTag(tag));
        }
        let key = reader.bytes()?;
        reader.finish()?;
        Ok(Self { key })
    }
}

/// What a [`VersionQuery`] is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionAnswer {
    /// How often the key was set since it came to be, from 1.
    Version(u64),
    /// There is no such key.
    Missing,
}

impl VersionAnswer {
    /// The answer's only encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match *self {
            Self::Version(version) => {
                let mut writer = Writer::new(VERSION, number_size(version));
                writer.number(version);
                writer.finish()
            }
            Self::Missing => Writer::new(MISSING, 0).finish(),
        }
    }

    /// Reads an answer.
    ///
    /// # Errors
    ///
    /// Anything but the encoding of exactly one answer.
    pub fn decode(message: &[u8]) -> Result<Self, DecodeError> {
        let (tag, mut reader) = Reader::new(message)?;
        let answer = match tag {
            VERSION => Self::Version(reader.number()?),
            MISSING => Self::Missing,
            other => return Err(DecodeError::UnknownTag(other)),
        };
        reader.finish()?;
        Ok(answer)
    }
}
