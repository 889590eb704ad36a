//! What arrives at the raft port, as the fuzzer makes it up.

use bytes::BytesMut;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::codec::Decoder;

use super::frame::{FrameCodec, MAX_HANDSHAKE_BYTES, decode_message};
use super::handshake::{Hello, Lane, Refusal, Welcome, decode_greeting, greeting};
use super::message::{
    Append, AppendResponse, ControlRequest, ControlResponse, Envelope, SnapshotOffer, SnapshotPart,
    SnapshotReply,
};

/// Bytes that arrive at once.
const PIECE_BYTES: usize = 61;

/// Reads a stream of one lane in one direction, which the first byte tells.
pub(crate) fn frames(data: &[u8]) {
    let Some((kind, stream)) = data.split_first() else {
        return;
    };
    let (max_bytes, check): (usize, fn(&[u8])) = match kind {
        b'h' => (MAX_HANDSHAKE_BYTES, check_greeting::<Hello>),
        b'w' => (
            MAX_HANDSHAKE_BYTES,
            check_greeting::<Result<Welcome, Refusal>>,
        ),
        b'c' => (
            bytes_of(Lane::Control),
            check_message::<Envelope<ControlRequest>>,
        ),
        b'C' => (
            bytes_of(Lane::Control),
            check_message::<Envelope<ControlResponse>>,
        ),
        b'a' => (bytes_of(Lane::Append), check_message::<Envelope<Append>>),
        b'A' => (
            bytes_of(Lane::Append),
            check_message::<Envelope<AppendResponse>>,
        ),
        b'o' => (bytes_of(Lane::Snapshot), check_message::<SnapshotOffer>),
        b's' => (bytes_of(Lane::Snapshot), check_message::<SnapshotPart>),
        b'S' => (bytes_of(Lane::Snapshot), check_message::<SnapshotReply>),
        _ => return,
    };
    let mut codec = FrameCodec::new(max_bytes);
    let mut arrived = BytesMut::new();
    for piece in stream.chunks(PIECE_BYTES) {
        arrived.extend_from_slice(piece);
        loop {
            match codec.decode(&mut arrived) {
                Ok(Some(frame)) => check(&frame),
                Ok(None) => break,
                Err(_) => return,
            }
        }
        let room = arrived.capacity();
        assert!(room < (1 << 20) + 2 * stream.len(), "room for {room} bytes");
    }
}

fn bytes_of(lane: Lane) -> usize {
    lane.max_frame_bytes()
}

fn check_greeting<B: Serialize + DeserializeOwned>(frame: &[u8]) {
    let decode = |frame: &[u8]| match decode_greeting::<B>(frame) {
        Ok(Ok(body)) => Some(encode(&greeting(body))),
        Ok(Err(_)) | Err(_) => None,
    };
    if let Some(encoded) = decode(frame) {
        assert_eq!(decode(&encoded), Some(encoded));
    }
}

fn check_message<M: Serialize + DeserializeOwned>(frame: &[u8]) {
    let decode = |frame: &[u8]| Some(encode(&decode_message::<M>(frame).ok()?));
    if let Some(encoded) = decode(frame) {
        assert_eq!(decode(&encoded), Some(encoded));
    }
}

fn encode<M: Serialize>(message: &M) -> Vec<u8> {
    postcard::to_stdvec(message).expect("a message that was decoded can be encoded")
}

/// One stream of each kind.
#[cfg(test)]
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use openraft::entry::RaftEntry;
    use openraft::raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest,
    };
    use openraft::{EntryPayload, Membership};

    use super::message::Purpose;
    use crate::storage::SnapshotId;
    use crate::types::{
        Checkpoint, ClusterId, Entry, InstanceId, LogId, Mark, ModuleId, NodeInfo, Proposal,
        StateDigest, Vote,
    };

    fn stream<M: Serialize>(kind: u8, messages: &[M]) -> Vec<u8> {
        let mut bytes = vec![kind];
        for message in messages {
            let body = encode(message);
            let length = u32::try_from(body.len()).expect("a small message");
            bytes.extend(length.to_be_bytes());
            bytes.extend(body);
        }
        bytes
    }
    let id = |index| LogId::new_term_index(3, index);
    let vote = Vote::new_committed(3, 1);
    let hello = Hello {
        cluster: ClusterId([1; 16]),
        from: 1,
        from_instance: InstanceId([2; 16]),
        to: 300,
        to_instance: Some(InstanceId([3; 16])),
        lane: Lane::Append,
    };
    let welcome = Welcome {
        id: 2,
        instance: InstanceId([3; 16]),
        raft_addr: "a.example:1".to_owned(),
        http_addr: "a.example:2".to_owned(),
    };
    let greetings: [Result<Welcome, Refusal>; 4] = [
        Ok(welcome),
        Err(Refusal::Version { ours: 1, theirs: 2 }),
        Err(Refusal::OtherCluster(ClusterId([4; 16]))),
        Err(Refusal::Other("no".to_owned())),
    ];
    let nodes: BTreeMap<u64, NodeInfo> = (1..4).map(|id| (id, NodeInfo::default())).collect();
    let membership = Membership::new_with_defaults(vec![(1..4).collect()], nodes.into_keys());
    let command = Proposal::Command {
        time_ms: 1 << 40,
        command: Bytes::from_static(b"\x01\x01\x01a\x03xyz"),
    };
    let chunk = Proposal::ModuleChunk {
        module: ModuleId([5; 32]),
        offset: 0,
        bytes: Bytes::from_static(b"\0asm"),
    };
    let checkpoint = Proposal::Checkpoint(Checkpoint {
        outcomes: Some(Mark {
            index: 7,
            digest: StateDigest([6; 32]),
        }),
        state: None,
        snapshot: true,
    });
    let request = AppendEntriesRequest {
        vote,
        prev_log_id: Some(id(9)),
        entries: vec![
            Entry::new_blank(id(10)),
            Entry::new_normal(id(11), command),
            Entry::new_normal(id(12), chunk),
            Entry::new_normal(id(13), checkpoint),
            Entry::new(id(14), EntryPayload::Membership(membership)),
        ],
        leader_commit: Some(id(8)),
    };
    let heartbeat = AppendEntriesRequest {
        entries: Vec::new(),
        ..request.clone()
    };
    let enveloped = |message| Envelope { id: 5, message };
    let control = [
        ControlRequest::Vote(VoteRequest::new(vote, Some(id(9)))),
        ControlRequest::Heartbeat(heartbeat),
        ControlRequest::ReadIndex,
        ControlRequest::Donate {
            to: 2,
            least: Some(7),
        },
    ];
    let answers = [
        ControlResponse::Heartbeat(AppendEntriesResponse::Success),
        ControlResponse::ReadIndex(12),
        ControlResponse::Failed("no".to_owned()),
        ControlResponse::Digest(Some(StateDigest([8; 32]))),
    ];
    let append = Append {
        session: 2,
        request,
    };
    let appended: [AppendResponse; 2] = [Ok(Ok(Some(id(14)))), Err("no".to_owned())];
    let offer = SnapshotOffer {
        vote,
        id: SnapshotId {
            last_log_id: Some(id(9)),
            size: 1 << 30,
            checksum: [9; 32],
        },
        purpose: Purpose::CatchUp,
    };
    let parts = [
        SnapshotPart::Bytes(Bytes::from_static(b"RKVSNAP\0")),
        SnapshotPart::End,
    ];
    let replies = [
        SnapshotReply::Resume(1 << 20),
        SnapshotReply::Installing,
        SnapshotReply::Installed(SnapshotResponse::new(vote)),
        SnapshotReply::Failed("no".to_owned()),
    ];
    vec![
        ("hello", stream(b'h', &[greeting(hello)])),
        ("welcome", stream(b'w', &greetings.map(greeting))),
        ("control", stream(b'c', &control.map(enveloped))),
        (
            "control-answers",
            stream(b'C', &answers.map(|message| Envelope { id: 5, message })),
        ),
        (
            "append",
            stream(
                b'a',
                &[Envelope {
                    id: 1,
                    message: append,
                }],
            ),
        ),
        (
            "append-answers",
            stream(b'A', &appended.map(|message| Envelope { id: 1, message })),
        ),
        ("snapshot-offer", stream(b'o', &[offer])),
        ("snapshot-parts", stream(b's', &parts)),
        ("snapshot-answers", stream(b'S', &replies)),
        ("huge-length", b"a\x04\0\0\x01\0".to_vec()),
    ]
}
