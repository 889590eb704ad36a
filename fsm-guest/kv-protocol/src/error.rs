//! Why bytes are not a message.

use core::fmt;

/// Bytes that are not a message of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// They end inside of a field.
    Truncated,
    /// The message is complete, and this many bytes follow it.
    TrailingBytes(usize),
    /// The version byte is not [`VERSION`](crate::VERSION).
    UnsupportedVersion(u8),
    /// No message has this tag.
    UnknownTag(u8),
    /// A number in more than its shortest form, or above the range of its field.
    InvalidNumber,
    /// A flag that is neither 0 nor 1.
    InvalidFlag(u8),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the message is truncated"),
            Self::TrailingBytes(count) => write!(f, "{count} bytes follow the message"),
            Self::UnsupportedVersion(version) => {
                write!(f, "version {version} of the protocol is not supported")
            }
            Self::UnknownTag(tag) => write!(f, "no message has tag {tag}"),
            Self::InvalidNumber => f.write_str("a number is overlong or out of range"),
            Self::InvalidFlag(flag) => write!(f, "a flag is {flag} instead of 0 or 1"),
        }
    }
}

impl core::error::Error for DecodeError {}
