//! What commands do and queries answer.

use rkv_fsm::{Failure, StateMachine, testing::context};
use rkv_kv::Kv;
use rkv_kv_protocol::{Answer, Command, Query, Reply, failure};

fn apply(kv: &mut Kv, command: &Command<'_>) -> Result<Reply, Failure> {
    let outcome = kv.apply(context(1), command.encode())?;
    assert!(outcome.events.is_empty());
    Ok(Reply::decode(&outcome.response).expect("a reply"))
}

fn query(kv: &Kv, query: &Query<'_>) -> Result<Vec<u8>, Failure> {
    kv.query(context(1), query.encode())
}

#[track_caller]
fn assert_answer(kv: &Kv, asked: &Query<'_>, expected: &Answer<'_>) {
    let bytes = query(kv, asked).expect("an answer");
    assert_eq!(Answer::decode(&bytes), Ok(expected.clone()));
}

fn kv_with(keys: &[&str]) -> Kv {
    let mut kv = Kv::default();
    let pairs = keys
        .iter()
        .map(|key| (key.as_bytes(), key.as_bytes()))
        .collect();
    assert_eq!(apply(&mut kv, &Command::Batch(pairs)), Ok(Reply::Done));
    kv
}

#[test]
fn a_key_has_the_value_that_was_set_last_until_it_is_deleted() {
    let mut kv = Kv::default();
    assert_answer(&kv, &Query::Get { key: b"a" }, &Answer::Missing);
    for value in [&b"first"[..], b"", &[0xff, 0x00]] {
        let set = Command::Set { key: b"a", value };
        assert_eq!(apply(&mut kv, &set), Ok(Reply::Done));
        assert_answer(&kv, &Query::Get { key: b"a" }, &Answer::Value(value));
    }
    let delete = Command::Delete { key: b"a" };
    assert_eq!(
        apply(&mut kv, &delete),
        Ok(Reply::Deleted { existed: true })
    );
    assert_answer(&kv, &Query::Get { key: b"a" }, &Answer::Missing);
    assert_eq!(
        apply(&mut kv, &delete),
        Ok(Reply::Deleted { existed: false })
    );
}

#[test]
fn the_last_value_of_a_key_counts_in_a_batch() {
    let mut kv = Kv::default();
    let batch = Command::Batch(vec![(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]);
    assert_eq!(apply(&mut kv, &batch), Ok(Reply::Done));
    assert_answer(&kv, &Query::Get { key: b"a" }, &Answer::Value(b"3"));
    assert_answer(&kv, &Query::Get { key: b"b" }, &Answer::Value(b"2"));
}

#[test]
fn a_batch_with_an_invalid_key_writes_nothing() {
    let mut kv = kv_with(&["a"]);
    let batch = Command::Batch(vec![(b"a", b"new"), (b"b", b"new"), (b"\xff", b"new")]);
    assert_eq!(
        apply(&mut kv, &batch).unwrap_err().code,
        failure::INVALID_KEY
    );
    assert_answer(&kv, &Query::Get { key: b"a" }, &Answer::Value(b"a"));
    assert_answer(&kv, &Query::Get { key: b"b" }, &Answer::Missing);
}

#[test]
fn keys_that_are_empty_or_not_utf8_are_refused_everywhere() {
    let mut kv = Kv::default();
    for (key, message) in [
        (&b""[..], "a key is empty"),
        (b"ab\xc3", "a key is not UTF-8 at byte 2"),
    ] {
        let refusal = Failure {
            code: failure::INVALID_KEY,
            message: message.to_owned(),
        };
        for command in [
            Command::Set { key, value: b"" },
            Command::Delete { key },
            Command::Batch(vec![(key, b"")]),
        ] {
            assert_eq!(apply(&mut kv, &command), Err(refusal.clone()));
        }
        assert_eq!(query(&kv, &Query::Get { key }), Err(refusal));
    }
}

#[test]
fn bytes_that_are_no_command_are_refused_with_the_reason() {
    let mut kv = Kv::default();
    for (bytes, code) in [
        (&b""[..], failure::MALFORMED),
        (&[1], failure::MALFORMED),
        (&[1, 1, 1, b'a', 0, 0], failure::MALFORMED),
        (&[2, 1], failure::UNSUPPORTED),
        (&[1, 200], failure::UNSUPPORTED),
    ] {
        assert_eq!(
            kv.apply(context(1), bytes.to_vec()).unwrap_err().code,
            code,
            "{bytes:?}"
        );
        assert_eq!(
            kv.query(context(1), bytes.to_vec()).unwrap_err().code,
            code,
            "{bytes:?}"
        );
    }
}

#[test]
fn keys_are_listed_in_order_with_prefix_and_limit() {
    let kv = kv_with(&["b/2", "a", "b/1", "c", "b/3", "b", "b/", "bb"]);
    let list = |prefix: &'static str, after: Option<&'static str>, limit| Query::Keys {
        prefix: prefix.as_bytes(),
        after: after.map(str::as_bytes),
        limit,
    };
    let keys = |keys: &[&'static str], more| Answer::Keys {
        keys: keys.iter().map(|key| key.as_bytes()).collect(),
        more,
    };
    let all = ["a", "b", "b/", "b/1", "b/2", "b/3", "bb", "c"];
    assert_answer(&kv, &list("", None, 0), &keys(&all, false));
    assert_answer(&kv, &list("", None, 8), &keys(&all, false));
    assert_answer(&kv, &list("", None, 7), &keys(&all[..7], true));
    assert_answer(&kv, &list("b/", None, 0), &keys(&all[2..6], false));
    assert_answer(&kv, &list("b/", None, 4), &keys(&all[2..6], false));
    assert_answer(&kv, &list("b/", None, 3), &keys(&all[2..5], true));
    assert_answer(&kv, &list("b/", Some("b/1"), 1), &keys(&["b/2"], true));
    // The key to go on from need be neither present nor below the prefix.
    assert_answer(
        &kv,
        &list("b/", Some("b/15"), 0),
        &keys(&["b/2", "b/3"], false),
    );
    assert_answer(&kv, &list("b/", Some("a"), 1), &keys(&["b/"], true));
    assert_answer(&kv, &list("b/", Some("c"), 0), &keys(&[], false));
    assert_answer(&kv, &list("x", None, 0), &keys(&[], false));
    assert_answer(&Kv::default(), &list("", None, 0), &keys(&[], false));
}

#[test]
fn pages_of_any_size_list_every_key_once() {
    let names: Vec<String> = (0..100).map(|number| format!("key-{number:03}")).collect();
    let kv = kv_with(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for limit in [1, 7, 50, 99, 100, 101] {
        let mut listed: Vec<String> = Vec::new();
        loop {
            let after = listed.last().map(String::as_bytes);
            let bytes = query(
                &kv,
                &Query::Keys {
                    prefix: b"key",
                    after,
                    limit,
                },
            )
            .expect("a page");
            let Ok(Answer::Keys { keys, more }) = Answer::decode(&bytes) else {
                panic!("not a list of keys: {bytes:?}");
            };
            let page = keys
                .iter()
                .map(|key| String::from_utf8_lossy(key).into_owned());
            listed.extend(page.collect::<Vec<_>>());
            if !more {
                break;
            }
        }
        assert_eq!(listed, names, "in pages of {limit}");
    }
}

#[test]
fn the_description_names_schema_and_protocol() {
    let description = Kv::describe();
    assert_eq!(description.name, "kv");
    assert_eq!(description.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(description.schema, 1);
    assert_eq!(description.reads_schemas, [1, 2]);
    assert_eq!(description.protocols, ["rkv:kv@1"]);
}
