//! From the bundled store to its next version and back, without losing a key.

use std::collections::BTreeMap;

use rkv_fsm::testing::{
    Random, Replicated, context, entries, migrate, replicate, restore, snapshot,
};
use rkv_fsm::{Failure, StateMachine};
use rkv_kv::Kv;
use rkv_kv_protocol::version::{VersionAnswer, VersionQuery};
use rkv_kv_protocol::{Answer, Command, Query, Reply, failure};
use rkv_kv_v2::KvV2;

const CHUNK_SIZES: [usize; 3] = [1, 7, 4096];

const ALL_KEYS: Query<'_> = Query::Keys {
    prefix: b"",
    after: None,
    limit: 0,
};

fn set<M: StateMachine>(kv: &mut M, key: &str, value: &str) {
    let (key, value) = (key.as_bytes(), value.as_bytes());
    let command = Command::Set { key, value }.encode();
    kv.apply(context(1), command).expect("a valid command");
}

fn version(kv: &KvV2, key: &str) -> Result<VersionAnswer, Failure> {
    let key = key.as_bytes();
    let answer = kv.query(context(1), VersionQuery { key }.encode())?;
    Ok(VersionAnswer::decode(&answer).expect("an answer"))
}

fn is_version(version: u64) -> Result<VersionAnswer, Failure> {
    Ok(VersionAnswer::Version(version))
}

/// Commands over few keys, a part of which are refused.
fn random_commands(seed: u64) -> Vec<Vec<u8>> {
    let mut random = Random::new(seed);
    let key = |random: &mut Random| format!("key {}", random.below(50)).into_bytes();
    (0..500)
        .map(|_| match random.below(10) {
            0..5 => {
                let (key, value) = (key(&mut random), random.bytes(300));
                Command::Set {
                    key: &key,
                    value: &value,
                }
                .encode()
            }
            5..7 => Command::Delete {
                key: &key(&mut random),
            }
            .encode(),
            7 => Command::Set {
                key: b"\xff",
                value: b"",
            }
            .encode(),
            8 => {
                let (one, other, value) = (key(&mut random), key(&mut random), random.bytes(30));
                Command::Batch(vec![(&one, &value), (&other, &value), (&one, b"last")]).encode()
            }
            _ => random.bytes(40),
        })
        .collect()
}

/// How often each key was set since it came to be, by the commands that were carried out.
fn versions<M>(commands: &[Vec<u8>], run: &Replicated<M>) -> BTreeMap<String, u64> {
    let mut versions = BTreeMap::new();
    let name = |key: &[u8]| String::from_utf8(key.to_vec()).expect("a valid key");
    let done = commands
        .iter()
        .zip(&run.outcomes)
        .filter(|(_, outcome)| outcome.is_ok());
    for (command, _) in done {
        match Command::decode(command).expect("a valid command") {
            Command::Set { key, .. } => *versions.entry(name(key)).or_insert(0) += 1,
            Command::Delete { key } => drop(versions.remove(&name(key))),
            Command::Batch(pairs) => {
                for (key, _) in pairs {
                    *versions.entry(name(key)).or_insert(0) += 1;
                }
            }
        }
    }
    versions
}

#[test]
fn both_versions_answer_every_command_and_query_alike_and_the_new_one_counts() {
    let queries = [ALL_KEYS.encode(), Query::Get { key: b"key 7" }.encode()];
    for seed in 0..10 {
        let commands = random_commands(seed);
        let history = entries(commands.clone());
        let old = replicate::<Kv>(&history, &queries, seed);
        let new = replicate::<KvV2>(&history, &queries, seed);
        assert_eq!(old.outcomes, new.outcomes);
        for query in &queries {
            let answers = (
                old.machine.query(context(1), query.clone()),
                new.machine.query(context(1), query.clone()),
            );
            assert_eq!(answers.0, answers.1);
        }
        let versions = versions(&commands, &new);
        assert!(
            versions.values().any(|&version| version > 3),
            "{versions:?}"
        );
        for (key, &expected) in &versions {
            assert_eq!(version(&new.machine, key), is_version(expected), "{key}");
        }
    }
}

#[test]
fn a_state_goes_there_and_back_with_every_key_and_value() {
    for seed in 0..10 {
        let run = replicate::<Kv>(&entries(random_commands(seed)), &[], seed);
        let old = snapshot(&run.machine, 4096);
        for chunk_bytes in CHUNK_SIZES {
            let upgraded: KvV2 = migrate(Kv::describe(), &old, chunk_bytes).expect("schema 1");
            let new = snapshot(&upgraded, chunk_bytes);
            let again: KvV2 = restore(&new, chunk_bytes).expect("its own snapshot");
            assert!(snapshot(&again, 4096) == new, "seed {seed}: not canonical");
            let back: Kv = migrate(KvV2::describe(), &new, chunk_bytes).expect("schema 2");
            assert!(
                snapshot(&back, 4096) == old,
                "seed {seed}: not the same state"
            );
        }
    }
}

#[test]
fn a_migrated_key_has_version_1_and_each_set_raises_it() {
    let mut old = Kv::default();
    for value in ["1", "2", "3"] {
        set(&mut old, "a", value);
    }
    let bytes = snapshot(&old, 4096);
    let mut new: KvV2 = migrate(Kv::describe(), &bytes, 7).expect("schema 1");
    assert_eq!(version(&new, "a"), is_version(1));
    assert_eq!(version(&new, "b"), Ok(VersionAnswer::Missing));
    set(&mut new, "a", "4");
    set(&mut new, "b", "1");
    assert_eq!(version(&new, "a"), is_version(2));
    assert_eq!(version(&new, "b"), is_version(1));
    let restored: KvV2 = restore(&snapshot(&new, 7), 7).expect("its own snapshot");
    assert_eq!(version(&restored, "a"), is_version(2));
}

#[test]
fn a_key_that_is_deleted_starts_anew() {
    let mut kv = KvV2::default();
    set(&mut kv, "a", "1");
    set(&mut kv, "a", "2");
    let delete = Command::Delete { key: b"a" }.encode();
    let outcome = kv.apply(context(1), delete).expect("a valid command");
    assert_eq!(
        Reply::decode(&outcome.response),
        Ok(Reply::Deleted { existed: true })
    );
    assert_eq!(version(&kv, "a"), Ok(VersionAnswer::Missing));
    set(&mut kv, "a", "3");
    assert_eq!(version(&kv, "a"), is_version(1));
    let answer = kv
        .query(context(1), Query::Get { key: b"a" }.encode())
        .expect("an answer");
    assert_eq!(Answer::decode(&answer), Ok(Answer::Value(b"3")));
}

#[test]
fn the_bytes_are_those_of_the_documented_format() {
    let mut kv = KvV2::default();
    set(&mut kv, "bc", "");
    set(&mut kv, "a", "x");
    set(&mut kv, "a", "yz");
    let expected = b"rkv:kv\0\x02\
        \x01\x01\0\0\0\x02\0\0\0\x02\0\0\0\0\0\0\0ayz\
        \x01\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0bc\
        \x00\x02\0\0\0\0\0\0\0";
    assert_eq!(snapshot(&kv, 4096), expected);
}

/// Neither version takes bytes that are not a snapshot of the schema they are said to have.
#[test]
fn truncated_garbled_and_mislabelled_snapshots_are_refused() {
    let mut kv = KvV2::default();
    set(&mut kv, "a", "x");
    set(&mut kv, "b", "y");
    let bytes = snapshot(&kv, 4096);
    for end in 0..bytes.len() {
        let failure = restore::<KvV2>(&bytes[..end], 7).unwrap_err();
        assert_eq!(failure.code, failure::BAD_SNAPSHOT);
    }
    for position in 0..bytes.len() {
        for bit in 0..8 {
            let mut garbled = bytes.clone();
            garbled[position] ^= 1 << bit;
            match restore::<KvV2>(&garbled, 7) {
                Ok(kv) => assert_eq!(snapshot(&kv, 7), garbled),
                Err(failure) => assert!(failure.code >= failure::BAD_SNAPSHOT, "{failure:?}"),
            }
        }
    }
    let mut version_0 = bytes.clone();
    assert_eq!(version_0[17], 1);
    version_0[17] = 0;
    let failure = migrate::<Kv>(KvV2::describe(), &version_0, 7).unwrap_err();
    assert_eq!(failure.message, "bad snapshot: a key has version 0");

    let mislabelled = migrate::<KvV2>(Kv::describe(), &bytes, 7).unwrap_err();
    assert_eq!(mislabelled.message, "snapshot format 2 instead of 1");
    let mut newer = KvV2::describe();
    newer.schema = 3;
    let failure = migrate::<KvV2>(newer, &bytes, 7).unwrap_err();
    assert_eq!(failure.code, failure::FOREIGN_SNAPSHOT);
}

#[test]
fn questions_that_are_no_query_of_either_protocol_are_refused() {
    let kv = KvV2::default();
    let mut trailing = VersionQuery { key: b"a" }.encode();
    trailing.push(0);
    for (request, code) in [
        (vec![], failure::MALFORMED),
        (trailing, failure::MALFORMED),
        (vec![1, 16], failure::MALFORMED),
        (vec![1, 17], failure::UNSUPPORTED),
        (vec![2, 16, 1, b'a'], failure::UNSUPPORTED),
        (VersionQuery { key: b"" }.encode(), failure::INVALID_KEY),
    ] {
        let refused = kv.query(context(1), request.clone()).unwrap_err();
        assert_eq!(refused.code, code, "{request:?}");
    }
}

#[test]
fn the_description_is_that_of_the_same_store_with_a_later_schema() {
    let (old, new) = (Kv::describe(), KvV2::describe());
    assert_eq!(new.name, old.name);
    assert_eq!(new.schema, 2);
    assert_eq!(new.reads_schemas, [1, 2]);
    assert_eq!(new.protocols, ["rkv:kv@1", "rkv:kv-version@1"]);
    assert!(new.version > old.version);
}
