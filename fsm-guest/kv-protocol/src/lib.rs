//! The encoding of `rkv:kv@1`: what a key-value state machine of rkv is told, asked, and answers.
//!
//! Every message is a version byte, a tag byte, and the fields of that tag:
//!
//! | message | tag | fields |
//! | --- | --- | --- |
//! | [`Command::Set`] | 1 | key `bytes`, value `bytes` |
//! | [`Command::Delete`] | 2 | key `bytes` |
//! | [`Command::Batch`] | 3 | count `number`, then count times key `bytes`, value `bytes` |
//! | [`Reply::Done`] | 1 | |
//! | [`Reply::Deleted`] | 2 | existed `flag` |
//! | [`Query::Get`] | 1 | key `bytes` |
//! | [`Query::Keys`] | 2 | prefix `bytes`, has after `flag`, after `bytes` if so, limit `number` |
//! | [`Answer::Value`] | 1 | value `bytes` |
//! | [`Answer::Missing`] | 2 | |
//! | [`Answer::Keys`] | 3 | more `flag`, count `number`, then count times key `bytes` |
//!
//! - The version is [`VERSION`], 1.
//! - A `number` is an unsigned LEB128: seven bits per byte, lowest first, the high bit set on all
//!   but the last. The shortest form is the only one.
//! - `bytes` are their length as a `number`, then themselves.
//! - A `flag` is one byte, 0 or 1.
//! - Nothing follows the last field.
//! - Tags from 16 on are left to protocols that are spoken beside this one, such as [`version`].
//!
//! So each message has exactly one encoding. Values are any bytes, empty ones included. Keys are
//! UTF-8 of at least one byte: the encoding carries any bytes, the state machine refuses what is
//! not a key ([`failure::INVALID_KEY`]).
//!
//! # Test vectors
//!
//! For implementations in other languages, in hexadecimal:
//!
//! | message | encoding |
//! | --- | --- |
//! | Set `a` = `xyz` | `01 01 01 61 03 78 79 7a` |
//! | Set `a` = 200 times `00` | `01 01 01 61 c8 01 00...` |
//! | Delete `ключ` | `01 02 08 d0 ba d0 bb d1 8e d1 87` |
//! | Batch `a` = `1`, `b` = empty | `01 03 02 01 61 01 31 01 62 00` |
//! | Done | `01 01` |
//! | Deleted, had existed | `01 02 01` |
//! | Get `a` | `01 01 01 61` |
//! | Keys, prefix empty, from the start, no limit | `01 02 00 00 00` |
//! | Keys, prefix `a/`, after `a/1`, limit 300 | `01 02 02 61 2f 01 03 61 2f 31 ac 02` |
//! | Value `00 ff` | `01 01 02 00 ff` |
//! | Missing | `01 02` |
//! | Keys `a`, `b` and more of them | `01 03 01 02 01 61 01 62` |

#![no_std]

extern crate alloc;

mod command;
mod error;
mod query;
pub mod version;
mod wire;

pub use command::{Command, Reply};
pub use error::DecodeError;
pub use query::{Answer, Query};

/// The name under which a state machine's description lists this protocol.
pub const PROTOCOL: &str = "rkv:kv@1";

/// The first byte of every message.
pub const VERSION: u8 = 1;

/// The failure codes of a key-value state machine.
pub mod failure {
    /// The command or query is not an encoding of this protocol.
    pub const MALFORMED: u32 = 1;
    /// The version byte or the tag is none that the state machine knows: the sender is newer.
    pub const UNSUPPORTED: u32 = 2;
    /// A key that is empty or not UTF-8.
    pub const INVALID_KEY: u32 = 3;
    /// The bytes of a snapshot are truncated or garbled.
    pub const BAD_SNAPSHOT: u32 = 4;
    /// A snapshot of another state machine, or of a schema or format that this one does not read.
    pub const FOREIGN_SNAPSHOT: u32 = 5;
}
