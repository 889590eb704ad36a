//! Names that are random or computed, which people read as hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Sixteen random bytes that name a cluster, made when it is bootstrapped.
///
/// The first half stays for the life of the log: what commands compute depends on it, and has to be
/// the same whenever they are run again. `rkvd recover` draws the second half anew, so that nodes
/// that were left behind are of another cluster.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterId(pub [u8; 16]);

impl ClusterId {
    const HALF: usize = 8;

    /// The half that stays.
    pub fn lineage(&self) -> &[u8] {
        &self.0[..Self::HALF]
    }

    /// The cluster that goes on with this one's log, under a name that this one's nodes refuse.
    #[must_use]
    pub fn successor(mut self, random: Self) -> Self {
        self.0[Self::HALF..].copy_from_slice(&random.0[Self::HALF..]);
        self
    }
}

/// Sixteen random bytes that name one data directory of one node.
///
/// A node whose disk was wiped has the same [`NodeId`](super::NodeId) but another `InstanceId`, and that is how
/// its peers tell it from the node that voted: it is refused, because the votes and log entries
/// that it promised to keep are gone (Raft §5.2 assumes that they never are).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct InstanceId(pub [u8; 16]);

/// The sha256 of a component's bytes: the name of a module everywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleId(pub [u8; 32]);

/// A sha256 by which nodes compare what they computed.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateDigest(pub [u8; 32]);

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

macro_rules! hex_identifier {
    ($name:ident, $what:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidHex;

            fn from_str(text: &str) -> Result<Self, InvalidHex> {
                parse_hex(text).map(Self).ok_or(InvalidHex($what))
            }
        }

        /// Digits in text formats, plain bytes in binary ones.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?
                        .parse()
                        .map_err(D::Error::custom)
                } else {
                    Deserialize::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

hex_identifier!(ClusterId, "a cluster id is 32 hexadecimal digits");
hex_identifier!(InstanceId, "an instance id is 32 hexadecimal digits");
hex_identifier!(ModuleId, "a module id is a sha256: 64 hexadecimal digits");
hex_identifier!(StateDigest, "a digest is a sha256: 64 hexadecimal digits");

/// A text that should have been an identifier in hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidHex(&'static str);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_round_trip_as_hex() {
        let id = ModuleId([0xab; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{id}\""));
        assert_eq!(postcard::to_stdvec(&id).unwrap(), id.0);
        assert!("zz".parse::<ClusterId>().is_err());
        assert!("é".repeat(16).parse::<ClusterId>().is_err());
    }
}
