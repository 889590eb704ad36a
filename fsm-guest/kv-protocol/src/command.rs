//! What changes the state, and what comes back of it.

use alloc::vec::Vec;

use crate::DecodeError;
use crate::wire::{Reader, Writer, bytes_size, number_size};

const SET: u8 = 1;
const DELETE: u8 = 2;
const BATCH: u8 = 3;

const DONE: u8 = 1;
const DELETED: u8 = 2;

/// A change, borrowed from whoever wrote or received it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// Gives the key this value, whether or not it had one. Answered by [`Reply::Done`].
    Set {
        /// Key.
        key: &'a [u8],
        /// Any bytes.
        value: &'a [u8],
    },
    /// Removes the key, if there is one. Answered by [`Reply::Deleted`].
    Delete {
        /// Key.
        key: &'a [u8],
    },
    /// Sets all of these keys to their values, or none when one of the keys is invalid. Of a key
    /// that comes twice the last value counts. Answered by [`Reply::Done`].
    Batch(Vec<(&'a [u8], &'a [u8])>),
}

impl<'a> Command<'a> {
    /// The command's only encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer;
        match self {
            Self::Set { key, value } => {
                writer = Writer::new(SET, bytes_size(key) + bytes_size(value));
                writer.bytes(key);
                writer.bytes(value);
            }
            Self::Delete { key } => {
                writer = Writer::new(DELETE, bytes_size(key));
                writer.bytes(key);
            }
            Self::Batch(pairs) => {
                let size: usize = pairs
                    .iter()
                    .map(|(key, value)| bytes_size(key) + bytes_size(value))
                    .sum();
                writer = Writer::new(BATCH, number_size(pairs.len() as u64) + size);
                writer.number(pairs.len() as u64);
                for (key, value) in pairs {
                    writer.bytes(key);
                    writer.bytes(value);
                }
            }
        }
        writer.finish()
    }

    /// Reads a command, borrowing keys and values from `message`.
    ///
    /// # Errors
    ///
    /// Anything but the encoding of exactly one command.
    pub fn decode(message: &'a [u8]) -> Result<Self, DecodeError> {
        let (tag, mut reader) = Reader::new(message)?;
        let command = match tag {
            SET => Self::Set {
                key: reader.bytes()?,
                value: reader.bytes()?,
            },
            DELETE => Self::Delete {
                key: reader.bytes()?,
            },
            BATCH => {
                let count = reader.count(2)?;
                let mut pairs = Vec::with_capacity(count);
                for _ in 0..count {
                    pairs.push((reader.bytes()?, reader.bytes()?));
                }
                Self::Batch(pairs)
            }
            other => return Err(DecodeError::UnknownTag(other)),
        };
        reader.finish()?;
        Ok(command)
    }
}

/// What a command that was carried out answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The keys have their values.
    Done,
    /// The key is gone.
    Deleted {
        /// Whether there was one.
        existed: bool,
    },
}

impl Reply {
    /// The reply's only encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Done => Writer::new(DONE, 0).finish(),
            Self::Deleted { existed } => {
                let mut writer = Writer::new(DELETED, 1);
                writer.flag(*existed);
                writer.finish()
            }
        }
    }

    /// Reads a reply.
    ///
    /// # Errors
    ///
    /// Anything but the encoding of exactly one reply.
    pub fn decode(message: &[u8]) -> Result<Self, DecodeError> {
        let (tag, mut reader) = Reader::new(message)?;
        let reply = match tag {
            DONE => Self::Done,
            DELETED => Self::Deleted {
                existed: reader.flag()?,
            },
            other => return Err(DecodeError::UnknownTag(other)),
        };
        reader.finish()?;
        Ok(reply)
    }
}
