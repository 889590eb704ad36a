//! What peers say to each other, after the handshake.
//!
//! Messages are postcard enums: variants are only ever added at the end, and a change that an older
//! peer could misread raises [`PROTOCOL_VERSION`](super::handshake::PROTOCOL_VERSION).

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use crate::fsm::Subject;
use crate::raft::status::NodeStatus;
use crate::storage::SnapshotId;
use crate::types::{LogIndex, NodeId, StateDigest, TypeConfig, Vote};

/// A request with the id that its answer carries.
///
/// On the append lane the id of a request is above all earlier ones of its connection, and answers
/// come in the order of the requests.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Envelope<M> {
    pub(crate) id: u64,
    pub(crate) message: M,
}

/// Short questions: elections, heartbeats, reads. One request at a time per connection.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ControlRequest {
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    Heartbeat(AppendEntriesRequest<TypeConfig>),
    TransferLeader(TransferLeaderRequest<TypeConfig>),
    /// Asks a leader for a read index (Raft thesis §6.4).
    ReadIndex,
    /// Asks for the figures of `/stats`.
    Status,
    /// Asks what the peer computed.
    Digest {
        subject: Subject,
        index: LogIndex,
    },
    /// Asks for a snapshot that covers `least`, to put it in the place of the asker's own state. It
    /// comes over the snapshot lane.
    Donate {
        to: NodeId,
        least: Option<LogIndex>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ControlResponse {
    Vote(VoteResponse<TypeConfig>),
    Heartbeat(AppendEntriesResponse<TypeConfig>),
    TransferLeader(TransferLeaderResponse<TypeConfig>),
    ReadIndex(LogIndex),
    Status(Box<NodeStatus>),
    /// The peer could not answer: one line for its log and ours.
    Failed(String),
    /// `None`: the peer does not know any more, or not yet.
    Digest(Option<StateDigest>),
    /// The snapshot is on its way.
    Donating,
}

/// A step of replication. `session` groups the requests of one openraft stream: a stream that ends
/// in a conflict leaves requests behind that must not be taken for those of the next.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Append {
    pub(crate) session: u64,
    pub(crate) request: AppendEntriesRequest<TypeConfig>,
}

/// The answer to one [`Append`], or the peer's reason for not giving one.
pub(crate) type AppendResponse = Result<StreamAppendResult<TypeConfig>, String>;

/// Names one snapshot file: equal ids mean equal bytes, so a broken transfer can go on from there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotOffer {
    pub(crate) vote: Vote,
    pub(crate) id: SnapshotId,
    pub(crate) purpose: Purpose,
}

/// What the receiver of a snapshot does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// It lacks what the log no longer has (Raft §7).
    CatchUp,
    /// It asked for a state in the place of its own.
    Repair,
}

/// What the sender of a snapshot says after the receiver's [`SnapshotReply::Resume`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SnapshotPart {
    Bytes(Bytes),
    End,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SnapshotReply {
    /// The receiver holds the bytes before this offset already.
    Resume(u64),
    /// Everything arrived; verifying and installing takes a while. Said again and again meanwhile.
    Installing,
    Installed(SnapshotResponse<TypeConfig>),
    Failed(String),
}

#[cfg(test)]
mod tests {
    use openraft::entry::RaftEntry;

    use super::super::frame::decode_message;
    use super::*;
    use crate::types::{Checkpoint, Entry, LogId, Mark, Proposal};

    /// A bound on the small parts of a message that no append can reach: one that did could never be
    /// replicated.
    #[test]
    fn the_largest_append_of_the_costliest_entries_is_taken() {
        const MOST_ENTRIES: u64 = 4_096;
        let mark = Some(Mark {
            index: u64::MAX,
            digest: StateDigest([0xff; 32]),
        });
        let checkpoint = Checkpoint {
            outcomes: mark,
            state: mark,
            snapshot: true,
        };
        let id = |back| LogId::new_term_index(u64::MAX, u64::MAX - back);
        let entry = |back| Entry::new_normal(id(back), Proposal::Checkpoint(checkpoint.clone()));
        let request = AppendEntriesRequest {
            vote: Vote::new_committed(u64::MAX, u64::MAX),
            prev_log_id: Some(id(MOST_ENTRIES)),
            entries: (0..MOST_ENTRIES).rev().map(entry).collect(),
            leader_commit: Some(id(0)),
        };
        let message = Append {
            session: u64::MAX,
            request,
        };
        let bytes = postcard::to_stdvec(&Envelope { id: 1, message }).unwrap();
        let decoded: Envelope<Append> = decode_message(&bytes).unwrap();
        assert_eq!(decoded.message.request.entries.len() as u64, MOST_ENTRIES);
    }
}
