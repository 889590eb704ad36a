//! What asks about the state, and what it answers.

use alloc::vec::Vec;

use crate::DecodeError;
use crate::wire::{Reader, Writer, bytes_size, number_size};

const GET: u8 = 1;
const KEYS: u8 = 2;

const VALUE: u8 = 1;
const MISSING: u8 = 2;
const KEY_LIST: u8 = 3;

/// A question, borrowed from whoever wrote or received it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query<'a> {
    /// The value of a key. Answered by [`Answer::Value`] or [`Answer::Missing`].
    Get {
        /// Key.
        key: &'a [u8],
    },
    /// Keys in the order of their bytes. Answered by [`Answer::Keys`].
    Keys {
        /// What the keys start with. Empty: all keys.
        prefix: &'a [u8],
        /// Only keys behind this one, which need not exist: the last of the page before.
        after: Option<&'a [u8]>,
        /// The most keys to list. 0: all of them.
        limit: u32,
    },
}

impl<'a> Query<'a> {
    /// The query's only encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer;
        match self {
            Self::Get { key } => {
                writer = Writer::new(GET, bytes_size(key));
                writer.bytes(key);
            }
            Self::Keys {
                prefix,
                after,
                limit,
            } => {
                let size = bytes_size(prefix) + 1 + after.map_or(0, bytes_size);
                writer = Writer::new(KEYS, size + number_size((*limit).into()));
                writer.bytes(prefix);
                writer.flag(after.is_some());
                if let Some(after) = after {
                    writer.bytes(after);
                }
                writer.number((*limit).into());
            }
        }
        writer.finish()
    }

    /// Reads a query, borrowing keys from `message`.
    ///
    /// # Errors
    ///
    /// Anything but the encoding of exactly one query.
    pub fn decode(message: &'a [u8]) -> Result<Self, DecodeError> {
        let (tag, mut reader) = Reader::new(message)?;
        let query = match tag {
            GET => Self::Get {
                key: reader.bytes()?,
            },
            KEYS => Self::Keys {
                prefix: reader.bytes()?,
                after: if reader.flag()? {
                    Some(reader.bytes()?)
                } else {
                    None
                },
                limit: reader.small_number()?,
            },
            other => return Err(DecodeError::UnknownTag(other)),
        };
        reader.finish()?;
        Ok(query)
    }
}

/// What a query answers, borrowed from the state or the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The key has this value.
    Value(&'a [u8]),
    /// There is no such key.
    Missing,
    /// Keys in order.
    Keys {
        /// The keys.
        keys: Vec<&'a [u8]>,
        /// Whether the limit left some out.
        more: bool,
    },
}

impl<'a> Answer<'a> {
    /// The answer's only encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer;
        match self {
            Self::Value(value) => {
                writer = Writer::new(VALUE, bytes_size(value));
                writer.bytes(value);
            }
            Self::Missing => writer = Writer::new(MISSING, 0),
            Self::Keys { keys, more } => {
                let size = keys.iter().map(|key| bytes_size(key)).sum::<usize>();
                writer = Writer::new(KEY_LIST, 1 + number_size(keys.len() as u64) + size);
                writer.flag(*more);
                writer.number(keys.len() as u64);
                for key in keys {
                    writer.bytes(key);
                }
            }
        }
        writer.finish()
    }

    /// Reads an answer, borrowing from `message`.
    ///
    /// # Errors
    ///
    /// Anything but the encoding of exactly one answer.
    pub fn decode(message: &'a [u8]) -> Result<Self, DecodeError> {
        let (tag, mut reader) = Reader::new(message)?;
        let answer = match tag {
            VALUE => Self::Value(reader.bytes()?),
            MISSING => Self::Missing,
            KEY_LIST => {
                let more = reader.flag()?;
                let count = reader.count(1)?;
                let mut keys = Vec::with_capacity(count);
                for _ in 0..count {
                    keys.push(reader.bytes()?);
                }
                Self::Keys { keys, more }
            }
            other => return Err(DecodeError::UnknownTag(other)),
        };
        reader.finish()?;
        Ok(answer)
    }
}
