//! What goes through the log, and what comes of it.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Failure, Limits, LogIndex, Mark, ModuleId, TrapKind};

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
    fn debug_of_a_proposal_hides_the_data() {
        let proposal = Proposal::Command {
            time_ms: 1,
            command: Bytes::from_static(b"secret"),
        };
        assert_eq!(format!("{proposal:?}"), "Command(6 bytes, 1 ms)");
    }
}
