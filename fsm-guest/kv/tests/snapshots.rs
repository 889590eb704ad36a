//! Snapshots are frozen, canonical, and the only bytes that restore accepts.

use std::collections::BTreeMap;

use rkv_fsm::testing::{Random, context, read_all, restore, snapshot};
use rkv_fsm::{Restore, Snapshot, StateMachine};
use rkv_kv::Kv;
use rkv_kv_protocol::{Answer, Command, Query, Reply, failure};

const CHUNK_SIZES: [usize; 3] = [1, 7, 4096];

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn random_key(random: &mut Random) -> Vec<u8> {
    format!("{:x}", random.below(600)).into_bytes()
}

fn random_value(random: &mut Random) -> Vec<u8> {
    match random.below(50) {
        0 => vec![random.below(256) as u8; 10_000],
        _ => random.bytes(20),
    }
}

/// Runs one random command on the state machine and on the model of it.
fn step(random: &mut Random, kv: &mut Kv, model: &mut Model) {
    let (command, expected) = match random.below(10) {
        0..4 => {
            let (key, value) = (random_key(random), random_value(random));
            let command = Command::Set {
                key: &key,
                value: &value,
            }
            .encode();
            model.insert(key, value);
            (command, Reply::Done)
        }
        4..9 => {
            let key = random_key(random);
            let existed = model.remove(&key).is_some();
            (
                Command::Delete { key: &key }.encode(),
                Reply::Deleted { existed },
            )
        }
        _ => {
            let pairs: Vec<_> = (0..random.below(12))
                .map(|_| (random_key(random), random_value(random)))
                .collect();
            let borrowed = pairs
                .iter()
                .map(|(key, value)| (&key[..], &value[..]))
                .collect();
            let command = Command::Batch(borrowed).encode();
            model.extend(pairs);
            (command, Reply::Done)
        }
    };
    let outcome = kv.apply(context(1), command).expect("a valid command");
    assert_eq!(Reply::decode(&outcome.response), Ok(expected));
}

#[track_caller]
fn assert_is(kv: &Kv, model: &Model) {
    let all = Query::Keys {
        prefix: b"",
        after: None,
        limit: 0,
    }
    .encode();
    let answer = kv.query(context(1), all).expect("an answer");
    let keys = model.keys().map(|key| &key[..]).collect();
    assert_eq!(
        Answer::decode(&answer),
        Ok(Answer::Keys { keys, more: false })
    );
    for (key, value) in model {
        let answer = kv
            .query(context(1), Query::Get { key }.encode())
            .expect("an answer");
        assert_eq!(Answer::decode(&answer), Ok(Answer::Value(value)));
    }
}

/// A state with the pairs of a model, whose history is that of a sorted load.
fn load(model: &Model) -> Kv {
    let pairs = model
        .iter()
        .map(|(key, value)| (&key[..], &value[..]))
        .collect();
    let mut kv = Kv::default();
    kv.apply(context(1), Command::Batch(pairs).encode())
        .expect("a valid command");
    kv
}

fn small() -> Kv {
    load(&Model::from([
        ("a".into(), vec![0, 255]),
        ("bc".into(), vec![]),
    ]))
}

#[test]
fn random_histories_equal_the_model_and_its_canonical_snapshot() {
    for seed in 0..8 {
        let mut random = Random::new(seed);
        let (mut kv, mut model) = (Kv::default(), Model::new());
        for _ in 0..2000 {
            step(&mut random, &mut kv, &mut model);
        }
        assert_is(&kv, &model);
        let bytes = snapshot(&kv, 4096);
        assert!(
            bytes == snapshot(&load(&model), 4096),
            "seed {seed}: another history, other bytes"
        );
        for chunk_bytes in CHUNK_SIZES {
            assert!(
                snapshot(&kv, chunk_bytes) == bytes,
                "seed {seed}: cut at {chunk_bytes}"
            );
            let restored: Kv = restore(&bytes, chunk_bytes).expect("a good snapshot");
            assert_is(&restored, &model);
            assert!(
                snapshot(&restored, 4096) == bytes,
                "seed {seed}: restored at {chunk_bytes}"
            );
        }
    }
}

#[test]
fn a_snapshot_is_the_state_at_its_making_while_commands_go_on() {
    let mut random = Random::new(99);
    let (mut kv, mut model) = (Kv::default(), Model::new());
    for _ in 0..1000 {
        step(&mut random, &mut kv, &mut model);
    }
    for chunk_bytes in CHUNK_SIZES {
        let expected = snapshot(&kv, 4096);
        let mut frozen = kv.freeze();
        let mut bytes = Vec::new();
        loop {
            let chunk = frozen.read(chunk_bytes);
            if chunk.is_empty() {
                break;
            }
            bytes.extend(chunk);
            step(&mut random, &mut kv, &mut model);
        }
        assert!(bytes == expected, "in chunks of {chunk_bytes}");
        assert_is(&kv, &model);
        assert!(snapshot(&kv, 4096) != expected, "the state went on");
    }
}

#[test]
fn a_value_of_megabytes_spans_chunks() {
    let value: Vec<u8> = (0..5_000_000_u32)
        .map(|index| (index % 251) as u8)
        .collect();
    let model = Model::from([
        ("a".into(), b"before".to_vec()),
        ("b".into(), value),
        ("c".into(), b"behind".to_vec()),
    ]);
    let kv = load(&model);
    let bytes = snapshot(&kv, 4096);
    assert_is(&restore(&bytes, 4096).expect("a good snapshot"), &model);
    assert_is(&restore(&bytes, 1 << 20).expect("a good snapshot"), &model);
}

#[test]
fn the_bytes_are_those_of_the_documented_format() {
    let expected = b"rkv:kv\0\x01\
        \x01\x01\0\0\0\x02\0\0\0a\x00\xff\
        \x01\x02\0\0\0\0\0\0\0bc\
        \x00\x02\0\0\0\0\0\0\0";
    assert_eq!(snapshot(&small(), 4096), expected);
    assert_eq!(
        snapshot(&Kv::default(), 4096),
        b"rkv:kv\0\x01\x00\0\0\0\0\0\0\0\0"
    );
}

#[test]
fn the_end_of_a_snapshot_stays_its_end() {
    let mut frozen = small().freeze();
    let _ = read_all(&mut frozen, 5);
    assert!(frozen.read(5).is_empty());
    assert!(frozen.read(1).is_empty());
}

#[test]
fn a_truncated_snapshot_is_refused_wherever_it_ends() {
    let bytes = snapshot(&small(), 4096);
    for end in 0..bytes.len() {
        for chunk_bytes in CHUNK_SIZES {
            let failure = restore::<Kv>(&bytes[..end], chunk_bytes).unwrap_err();
            assert_eq!(
                failure.code,
                failure::BAD_SNAPSHOT,
                "{end} bytes: {failure:?}"
            );
        }
    }
}

#[test]
fn a_byte_behind_the_end_is_refused() {
    let mut bytes = snapshot(&small(), 4096);
    bytes.push(0);
    for chunk_bytes in CHUNK_SIZES {
        let failure = restore::<Kv>(&bytes, chunk_bytes).unwrap_err();
        assert_eq!(failure.code, failure::BAD_SNAPSHOT);
    }
}

/// Whatever is accepted is a snapshot of the state that came of it: no two streams give one state.
#[test]
fn a_garbled_snapshot_is_refused_or_is_another_snapshot() {
    let bytes = snapshot(&small(), 4096);
    let mut refused = 0;
    for position in 0..bytes.len() {
        for bit in 0..8 {
            let mut garbled = bytes.clone();
            garbled[position] ^= 1 << bit;
            match restore::<Kv>(&garbled, 7) {
                Ok(kv) => assert_eq!(snapshot(&kv, 7), garbled),
                Err(failure) => {
                    let known = [failure::BAD_SNAPSHOT, failure::FOREIGN_SNAPSHOT];
                    assert!(known.contains(&failure.code), "{failure:?}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > bytes.len(), "{refused} refused");
}

#[test]
fn random_bytes_are_never_more_than_a_failure() {
    let mut random = Random::new(5);
    for _ in 0..20_000 {
        let mut bytes = b"rkv:kv\0\x01".to_vec();
        bytes.extend((0..random.below(40)).map(|_| random.below(3) as u8));
        if let Ok(kv) = restore::<Kv>(&bytes, 7) {
            assert_eq!(snapshot(&kv, 7), bytes);
        }
        let noise = random.bytes(30);
        assert!(restore::<Kv>(&noise, 7).is_err());
        let mut kv = Kv::default();
        if kv.apply(context(1), noise.clone()).is_err() {
            assert_is(&kv, &Model::new());
        }
        let _ = kv.query(context(1), noise);
    }
}

#[test]
fn snapshots_of_other_machines_schemas_and_formats_are_refused_by_name() {
    let refused = |name: &str, schema| {
        let mut saved = Kv::describe();
        saved.name = name.to_owned();
        saved.schema = schema;
        let failure = Kv::restore(saved).expect_err("a refusal");
        assert_eq!(failure.code, failure::FOREIGN_SNAPSHOT);
        failure.message
    };
    assert_eq!(
        refused("ledger", 1),
        "kv reads no snapshot of ledger with schema 1"
    );
    assert_eq!(refused("kv", 3), "kv reads no snapshot of kv with schema 3");

    let mut newer = snapshot(&small(), 4096);
    newer[7] = 9;
    let failure = restore::<Kv>(&newer, 7).unwrap_err();
    assert_eq!(failure.code, failure::FOREIGN_SNAPSHOT);
    assert_eq!(failure.message, "snapshot format 9 instead of 1");
}

#[test]
fn keys_out_of_order_or_twice_are_refused() {
    for keys in [["b", "a"], ["a", "a"]] {
        let mut bytes = b"rkv:kv\0\x01".to_vec();
        for key in keys {
            bytes.extend(b"\x01\x01\0\0\0\0\0\0\0");
            bytes.extend(key.as_bytes());
        }
        bytes.extend(b"\x00\x02\0\0\0\0\0\0\0");
        let failure = restore::<Kv>(&bytes, 4096).unwrap_err();
        assert_eq!(failure.message, "bad snapshot: its keys are out of order");
    }
}

#[test]
fn a_restore_that_is_given_nothing_is_refused() {
    let restore = Kv::restore(Kv::describe()).expect("its own description");
    assert_eq!(
        restore.finish().unwrap_err().message,
        "bad snapshot: it ends after 0 keys"
    );
}
