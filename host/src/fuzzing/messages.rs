//! Commands, queries and their answers, and the envelope that log entries come in.

use rkv_kv_protocol::version::{VersionAnswer, VersionQuery};
use rkv_kv_protocol::{Answer, Command, Query, Reply};

use crate::types::Proposal;

/// A message of the key-value protocol, of any kind, or a log entry. A message has one encoding: what
/// can be read is written as it was.
pub fn messages(data: &[u8]) {
    let written = [
        Command::decode(data).map(|command| command.encode()),
        Reply::decode(data).map(|reply| reply.encode()),
        Query::decode(data).map(|query| query.encode()),
        Answer::decode(data).map(|answer| answer.encode()),
        VersionQuery::decode(data).map(|query| query.encode()),
        VersionAnswer::decode(data).map(|answer| answer.encode()),
    ];
    for written in written.into_iter().flatten() {
        assert_eq!(written, data);
    }
    if let Ok(proposal) = postcard::from_bytes::<Proposal>(data) {
        let written = postcard::to_stdvec(&proposal).expect("a proposal can be encoded");
        assert_eq!(postcard::from_bytes(&written), Ok(proposal));
    }
}

/// Messages of each kind, with those of the documentation among them.
#[cfg(test)]
pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    use bytes::Bytes;

    use crate::types::{Activation, Limits, ModuleId, StateSource};

    let activation = Proposal::Activate(Activation {
        module: ModuleId([1; 32]),
        time_ms: 1 << 40,
        limits: Limits::DEFAULT,
        fingerprint: [2; 32],
        expect: Some(ModuleId([3; 32])),
        state: StateSource::Snapshot(7),
        keep_previous: true,
        skip: vec![8, 300],
    });
    let command = Proposal::Command {
        time_ms: 1 << 40,
        command: Bytes::from_static(b"\x01\x01\x01a\x03xyz"),
    };
    let key = b"a".as_slice();
    vec![
        (
            "set",
            Command::Set {
                key,
                value: &[0; 200],
            }
            .encode(),
        ),
        (
            "delete",
            Command::Delete {
                key: "ключ".as_bytes(),
            }
            .encode(),
        ),
        (
            "batch",
            Command::Batch(vec![(key, b"1"), (b"b", b"")]).encode(),
        ),
        ("deleted", Reply::Deleted { existed: true }.encode()),
        ("get", Query::Get { key }.encode()),
        (
            "keys",
            Query::Keys {
                prefix: b"a/",
                after: Some(b"a/1"),
                limit: 300,
            }
            .encode(),
        ),
        ("value", Answer::Value(b"\0\xff").encode()),
        (
            "key-list",
            Answer::Keys {
                keys: vec![b"a", b"b"],
                more: true,
            }
            .encode(),
        ),
        ("version-of", VersionQuery { key }.encode()),
        ("version", VersionAnswer::Version(300).encode()),
        (
            "batch-of-many",
            b"\x01\x03\xff\xff\xff\xff\x0f\x01a\0".to_vec(),
        ),
        (
            "entry-command",
            postcard::to_stdvec(&command).expect("plain data"),
        ),
        (
            "entry-activate",
            postcard::to_stdvec(&activation).expect("plain data"),
        ),
    ]
}
