//! The vocabulary that every layer shares. Imports no other module of this crate.

mod identifier;
mod proposal;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use identifier::{ClusterId, InstanceId, InvalidHex, ModuleId, StateDigest};
pub use proposal::{Activation, Checkpoint, MODULE_CHUNK_BYTES, Proposal, Reply, StateSource};

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

/// A digest, and the entry up to which it covers the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The last entry covered.
    pub index: LogIndex,
    /// The digest.
    pub digest: StateDigest,
}

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
