//! The encoding as other languages see it: golden vectors, and bytes that are no message.

use std::fmt::Debug;

use rkv_kv_protocol::version::{VersionAnswer, VersionQuery};
use rkv_kv_protocol::{Answer, Command, DecodeError, Query, Reply};

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.split_whitespace();
    digits
        .map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal digits"))
        .collect()
}

/// Checks one golden vector both ways, and that no message comes of any proper prefix of it nor of
/// it with a byte appended.
#[track_caller]
fn check<T: PartialEq + Debug>(
    message: &T,
    vector: &[u8],
    encode: fn(&T) -> Vec<u8>,
    decode: impl Fn(Vec<u8>) -> Result<(), DecodeError>,
) {
    assert_eq!(encode(message), vector);
    assert_eq!(decode(vector.to_vec()), Ok(()));
    for end in 0..vector.len() {
        assert_eq!(
            decode(vector[..end].to_vec()),
            Err(DecodeError::Truncated),
            "of {end} bytes"
        );
    }
    let mut longer = vector.to_vec();
    longer.push(0);
    assert_eq!(decode(longer), Err(DecodeError::TrailingBytes(1)));
    for version in [0, 2, 255] {
        let mut other = vector.to_vec();
        other[0] = version;
        assert_eq!(decode(other), Err(DecodeError::UnsupportedVersion(version)));
    }
    for tag in [0, 9, 255] {
        let mut other = vector.to_vec();
        other[1] = tag;
        assert_eq!(decode(other), Err(DecodeError::UnknownTag(tag)));
    }
}

macro_rules! golden {
    ($message:expr, $type:ident, $vector:expr) => {{
        let message = $message;
        check(
            &message,
            &$vector,
            |message| message.encode(),
            |bytes| $type::decode(&bytes).map(|decoded| assert_eq!(decoded, message)),
        );
    }};
}

#[test]
fn questions_for_versions_and_their_answers_match_their_golden_vectors() {
    golden!(
        VersionQuery { key: b"a" },
        VersionQuery,
        unhex("01 10 01 61")
    );
    golden!(
        VersionAnswer::Version(300),
        VersionAnswer,
        unhex("01 10 ac 02")
    );
    golden!(VersionAnswer::Missing, VersionAnswer, unhex("01 11"));
}

/// A state machine that speaks both tells by the tag which one it is.
#[test]
fn no_protocol_reads_a_query_of_the_other() {
    let version = VersionQuery { key: b"a" }.encode();
    assert_eq!(Query::decode(&version), Err(DecodeError::UnknownTag(16)));
    let get = Query::Get { key: b"a" }.encode();
    assert_eq!(VersionQuery::decode(&get), Err(DecodeError::UnknownTag(1)));
}

#[test]
fn commands_match_their_golden_vectors() {
    golden!(
        Command::Set {
            key: b"a",
            value: b"xyz"
        },
        Command,
        unhex("01 01 01 61 03 78 79 7a")
    );
    let mut long = unhex("01 01 01 61 c8 01");
    long.extend([0; 200]);
    golden!(
        Command::Set {
            key: b"a",
            value: &[0; 200]
        },
        Command,
        long
    );
    golden!(
        Command::Delete {
            key: "ключ".as_bytes()
        },
        Command,
        unhex("01 02 08 d0 ba d0 bb d1 8e d1 87")
    );
    golden!(
        Command::Batch(vec![(b"a", b"1"), (b"b", b"")]),
        Command,
        unhex("01 03 02 01 61 01 31 01 62 00")
    );
}

#[test]
fn replies_match_their_golden_vectors() {
    golden!(Reply::Done, Reply, unhex("01 01"));
    golden!(Reply::Deleted { existed: true }, Reply, unhex("01 02 01"));
    golden!(Reply::Deleted { existed: false }, Reply, unhex("01 02 00"));
}

#[test]
fn queries_match_their_golden_vectors() {
    golden!(Query::Get { key: b"a" }, Query, unhex("01 01 01 61"));
    golden!(
        Query::Keys {
            prefix: b"",
            after: None,
            limit: 0
        },
        Query,
        unhex("01 02 00 00 00")
    );
    golden!(
        Query::Keys {
            prefix: b"a/",
            after: Some(b"a/1"),
            limit: 300
        },
        Query,
        unhex("01 02 02 61 2f 01 03 61 2f 31 ac 02")
    );
}

#[test]
fn answers_match_their_golden_vectors() {
    golden!(
        Answer::Value(&[0x00, 0xff]),
        Answer,
        unhex("01 01 02 00 ff")
    );
    golden!(Answer::Missing, Answer, unhex("01 02"));
    golden!(
        Answer::Keys {
            keys: vec![b"a", b"b"],
            more: true
        },
        Answer,
        unhex("01 03 01 02 01 61 01 62")
    );
}

#[test]
fn a_count_without_items_allocates_nothing_and_is_refused() {
    let huge = unhex("01 03 ff ff ff ff ff ff ff ff ff 01");
    assert_eq!(Command::decode(&huge), Err(DecodeError::Truncated));
    let huge = unhex("01 03 00 ff ff ff ff ff ff ff ff ff 01");
    assert_eq!(Answer::decode(&huge), Err(DecodeError::Truncated));
}

#[test]
fn fields_out_of_range_are_refused() {
    let flag = unhex("01 02 02");
    assert_eq!(Reply::decode(&flag), Err(DecodeError::InvalidFlag(2)));
    let limit_of_33_bits = unhex("01 02 00 00 ff ff ff ff 1f");
    assert_eq!(
        Query::decode(&limit_of_33_bits),
        Err(DecodeError::InvalidNumber)
    );
}

/// What decodes encodes back to the same bytes, so no message has two encodings.
#[test]
fn any_bytes_decode_to_an_error_or_to_their_only_message() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    let mut decoded = 0;
    for _ in 0..200_000 {
        let mut bytes = vec![1, next() % 4];
        bytes.extend((0..next() % 12).map(|_| next() % 8));
        if let Ok(command) = Command::decode(&bytes) {
            assert_eq!(command.encode(), bytes);
            decoded += 1;
        }
        if let Ok(query) = Query::decode(&bytes) {
            assert_eq!(query.encode(), bytes);
            decoded += 1;
        }
        if let Ok(answer) = Answer::decode(&bytes) {
            assert_eq!(answer.encode(), bytes);
            decoded += 1;
        }
    }
    assert!(
        decoded > 1000,
        "only {decoded} of the random messages were valid"
    );
}
