//! The vocabulary that every layer shares. Imports no other module of this crate.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A node's number in its cluster. Never used twice: see [`NodeInfo::instance`].
pub type NodeId = u64;

/// Position of an entry in the replicated log. The first entry has index 0 (openraft's convention;
/// it is the bootstrap membership).
pub type LogIndex = u64;

openraft::declare_raft_types!(
    /// The types that openraft is instantiated with.
    pub TypeConfig:
        D = Proposal,
        R = Reply,
        NodeId = NodeId,
        Node = NodeInfo,
        Term = u64,
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
);

/// A log entry as openraft sees it.
pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
/// Term and index of an entry.
pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
/// A vote, durable before it is answered (Raft §5.2).
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
/// A membership with the id of the entry that set it.
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
/// Last log id and membership that a snapshot covers.
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;

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
/// A node whose disk was wiped has the same [`NodeId`] but another `InstanceId`, and that is how
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

/// A digest, and the entry up to which it covers the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The last entry covered.
    pub index: LogIndex,
    /// The digest.
    pub digest: StateDigest,
}

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

/// What the membership knows of a node. Addresses are `host:port`, resolved at each dial.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Where the node's peers reach it.
    pub raft_addr: String,
    /// Where clients reach it: the target of redirects.
    pub http_addr: String,
    /// Which data directory this membership was granted to.
    pub instance: InstanceId,
}

/// Bounds of a module's run. Cluster-wide: they travel with the activation in the log, because two
/// nodes with different limits would compute different states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Linear memory of the guest, in bytes. At most 4 GiB.
    pub memory_bytes: u64,
    /// Elements over all tables of the guest.
    pub table_elements: u32,
    /// Fuel (wasm operators, roughly) that one entry may burn. A batch gets the fuel of one entry.
    pub fuel_per_entry: u64,
}

impl Limits {
    /// The limits of a new cluster: 4 GiB, 100,000 elements, 10^10 operators (some seconds).
    pub const DEFAULT: Self = Self {
        memory_bytes: 4 << 30,
        table_elements: 100_000,
        fuel_per_entry: 10_000_000_000,
    };
}

/// What a module says of itself (`describe` in `rkv:fsm`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Name of the state machine, such as `kv`.
    pub name: String,
    /// Version of its code, for people.
    pub version: String,
    /// Version of its state.
    pub schema: u32,
    /// Versions of state that it can restore.
    pub reads_schemas: Vec<u32>,
    /// What it speaks, such as `rkv:kv@1`.
    pub protocols: Vec<String>,
}

/// A deterministic refusal by the module, with the module's own code and message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A number that the module documents.
    pub code: u32,
    /// One line for people.
    pub message: String,
}

/// Why a command failed without the module saying so. Part of replicated state, so it holds only
/// what is equal on every node: never a trap's text, backtrace or remaining fuel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrapKind {
    /// The module executed `unreachable`: a panic or an abort.
    Unreachable,
    /// Access outside of linear memory, which includes a guest's own stack overflow.
    MemoryOutOfBounds,
    /// Access outside of a table, a null or ill-typed indirect call.
    Table,
    /// Integer overflow, division by zero or an impossible conversion.
    Arithmetic,
    /// The entry's fuel ran out.
    OutOfFuel,
    /// The module broke the interface: bad lifted values, or another number of outcomes than
    /// entries.
    Interface,
    /// The entry needs more memory than the limit leaves, even alone and in a heap that holds
    /// nothing but the state.
    OutOfMemory,
}

impl fmt::Display for TrapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "the module panicked or aborted",
            Self::MemoryOutOfBounds => "the module accessed memory out of bounds",
            Self::Table => "the module made a bad table access or indirect call",
            Self::Arithmetic => "the module trapped on integer arithmetic",
            Self::OutOfFuel => "the module ran out of fuel",
            Self::Interface => "the module broke the rkv:fsm interface",
            Self::OutOfMemory => "the module ran out of memory",
        })
    }
}

/// The host's envelope around everything that goes through the log.
///
/// Stored and sent as a postcard enum: variants and fields are only ever added at the end.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proposal {
    /// A command for the module, opaque to the host.
    Command {
        /// The proposer's wall clock in ms since 1970. Clamped at apply so that it never goes back.
        time_ms: u64,
        /// The module's own encoding.
        command: Bytes,
    },
    /// A piece of a module's bytes. At most [`MODULE_CHUNK_BYTES`] each.
    ModuleChunk {
        /// The module that the piece belongs to.
        module: ModuleId,
        /// Offset of the piece in the module.
        offset: u64,
        /// The piece.
        bytes: Bytes,
    },
    /// All chunks of the module are in the log before this entry.
    ModuleCommit {
        /// The module.
        module: ModuleId,
        /// Its size in bytes.
        size: u64,
    },
    /// The module becomes the state machine at this index.
    Activate(Activation),
    /// The module is forgotten, unless it is needed.
    RemoveModule {
        /// The module.
        module: ModuleId,
    },
    /// Every node compares what it computed with what the leader did.
    Checkpoint(Checkpoint),
    /// The state that was kept from before the last activation is forgotten.
    DropPrevious,
    /// A command whose client named its request, so that every node can log the name.
    NamedCommand {
        /// As in [`Proposal::Command`].
        time_ms: u64,
        /// As in [`Proposal::Command`].
        command: Bytes,
        /// What the client calls the request. The module does not see it.
        request_id: String,
    },
}

impl Proposal {
    /// The command for the module and the proposer's clock, if this is one.
    pub fn command(&self) -> Option<(u64, &Bytes)> {
        match self {
            Self::Command { time_ms, command }
            | Self::NamedCommand {
                time_ms, command, ..
            } => Some((*time_ms, command)),
            Self::ModuleChunk { .. }
            | Self::ModuleCommit { .. }
            | Self::Activate(_)
            | Self::RemoveModule { .. }
            | Self::Checkpoint(_)
            | Self::DropPrevious => None,
        }
    }
}

/// The size of the pieces that modules travel in, so that heartbeats and writes go between them.
pub const MODULE_CHUNK_BYTES: usize = 256 << 10;

/// A point of the log at which nodes compare themselves with the leader. Each of them writes its
/// digest of all outcomes down here; the next checkpoint brings what the leader wrote down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The leader's digest at an earlier checkpoint.
    pub outcomes: Option<Mark>,
    /// The sha256 of the module's bytes in a snapshot of the leader's.
    pub state: Option<Mark>,
    /// Whether every node takes a snapshot of exactly this state.
    pub snapshot: bool,
}

/// One switch of the state machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// The module that becomes active.
    pub module: ModuleId,
    /// The proposer's wall clock in ms since 1970.
    pub time_ms: u64,
    /// The limits that it runs under.
    pub limits: Limits,
    /// The engine that the proposer runs. A node with another one must not apply further.
    pub fingerprint: [u8; 32],
    /// The module that has to be active before; `None` for any.
    pub expect: Option<ModuleId>,
    /// What the module starts with.
    pub state: StateSource,
    /// Whether the state of the module before it is kept, for [`StateSource::Previous`].
    pub keep_previous: bool,
    /// With [`StateSource::Snapshot`]: commands that failed with a trap, and stay failed.
    pub skip: Vec<LogIndex>,
}

/// What a module starts with when it is activated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateSource {
    /// The state of the module before it, which it has to be able to restore.
    #[default]
    Migrate,
    /// Nothing.
    Reset,
    /// The state that was kept from before the last activation. What was written since is dropped.
    Previous,
    /// The snapshot that every node took at this entry, and the commands behind it, run once more.
    /// The module before it is not asked for anything.
    Snapshot(LogIndex),
}

impl fmt::Debug for Proposal {
    /// Sizes only: a log line never prints a user's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command { time_ms, command } => {
                write!(f, "Command({} bytes, {time_ms} ms)", command.len())
            }
            Self::ModuleChunk {
                module,
                offset,
                bytes,
            } => {
                write!(
                    f,
                    "ModuleChunk({module}, {} bytes at {offset})",
                    bytes.len()
                )
            }
            Self::ModuleCommit { module, size } => {
                write!(f, "ModuleCommit({module}, {size} bytes)")
            }
            Self::Activate(activation) => write!(f, "Activate({})", activation.module),
            Self::RemoveModule { module } => write!(f, "RemoveModule({module})"),
            Self::Checkpoint(checkpoint) => write!(f, "{checkpoint:?}"),
            Self::DropPrevious => f.write_str("DropPrevious"),
            Self::NamedCommand {
                time_ms,
                command,
                request_id,
            } => {
                let bytes = command.len();
                write!(
                    f,
                    "Command({bytes} bytes, {time_ms} ms, request {request_id})"
                )
            }
        }
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What applying an entry answers to its proposer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// A blank or membership entry, a module chunk or commit: done.
    Done,
    /// The module accepted the command.
    Response(Bytes),
    /// The module refused the command.
    Refused(Failure),
    /// The command trapped. Its effect is as if it had never run.
    Trapped(TrapKind),
    /// A command that met no active module.
    NoModule,
    /// A host entry that could not be carried out, the same on every node: one line for people.
    Rejected(String),
    /// The module is active.
    Activated {
        /// Commands whose effect the state that it started with does not have.
        dropped: u64,
    },
    /// This node could not apply the entry, others may have: why.
    Unapplied(String),
}

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

    #[test]
    fn debug_of_a_proposal_hides_the_data() {
        let proposal = Proposal::Command {
            time_ms: 1,
            command: Bytes::from_static(b"secret"),
        };
        assert_eq!(format!("{proposal:?}"), "Command(6 bytes, 1 ms)");
    }
}
