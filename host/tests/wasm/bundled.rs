//! The bundled key-value store, as a component.

use rkv_host::bundled;
use rkv_host::types::Limits;
use rkv_host::wasm::{ApplyEntry, Context, Instance, Module};
use rkv_kv_protocol::{Answer, Command, PROTOCOL, Query, failure};

use crate::kit::{NOW, load, on_guest_stack};

/// A module and an instance of it, for `test` on a thread with enough stack.
fn with_kv(test: impl FnOnce(&Module, &mut Instance) + Send) {
    let module = load(bundled::KV);
    on_guest_stack(|| test(&module, &mut start(&module)));
}

fn start(module: &Module) -> Instance {
    module.instantiate(&Limits::DEFAULT).expect("an instance")
}

fn set(key: &str, value: &[u8]) -> Vec<u8> {
    Command::Set {
        key: key.as_bytes(),
        value,
    }
    .encode()
}

/// Some hundred commands over few keys, a part of which are refused. Always the same ones.
fn commands() -> Vec<Vec<u8>> {
    let mut state = 1_u64;
    let mut random = |bound: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % bound
    };
    let command = |_| {
        let (key, value) = (
            format!("key-{}", random(40)),
            vec![b'v'; random(300) as usize],
        );
        match random(8) {
            0 => Command::Delete {
                key: key.as_bytes(),
            }
            .encode(),
            1 => Command::Batch(vec![(key.as_bytes(), &value), (b"other", b"value")]).encode(),
            2 => value,
            _ => set(&key, &value),
        }
    };
    (0..500).map(command).collect()
}

fn entries(commands: &[Vec<u8>]) -> Vec<ApplyEntry<'_>> {
    let entry = |(index, command)| {
        let context = Context {
            index: index as u64 + 1,
            ..NOW
        };
        ApplyEntry { context, command }
    };
    commands
        .iter()
        .map(Vec::as_slice)
        .enumerate()
        .map(entry)
        .collect()
}

fn snapshot(instance: &mut Instance, chunk_bytes: u32) -> Vec<u8> {
    let snapshot = instance.open_snapshot().expect("opens");
    let mut bytes = Vec::new();
    loop {
        let chunk = instance
            .read_snapshot(&snapshot, chunk_bytes)
            .expect("reads");
        if chunk.is_empty() {
            break;
        }
        bytes.extend(chunk);
    }
    instance.close_snapshot(snapshot).expect("closes");
    bytes
}

fn get(instance: &mut Instance, key: &str) -> Option<Vec<u8>> {
    let query = Query::Get {
        key: key.as_bytes(),
    }
    .encode();
    let answers = instance.query(NOW, &[&query]).expect("no fault");
    let answer = answers[0].as_ref().expect("an answer");
    match Answer::decode(answer).expect("decodes") {
        Answer::Value(value) => Some(value.to_vec()),
        Answer::Missing => None,
        Answer::Keys { .. } => panic!("keys instead of a value"),
    }
}

#[test]
fn it_speaks_the_protocol_of_the_key_routes() {
    let module = load(bundled::KV);
    assert_eq!(module.description().name, "kv");
    assert_eq!(module.description().protocols, [PROTOCOL]);
}

#[test]
fn what_was_set_is_found_until_it_is_deleted() {
    with_kv(|_, kv| {
        let commands = [set("a", b"1"), set("b", b"\0\xff"), set("a", b"2")];
        kv.apply(&entries(&commands)).expect("applies");
        assert_eq!(get(kv, "a"), Some(b"2".to_vec()));
        assert_eq!(get(kv, "b"), Some(b"\0\xff".to_vec()));
        kv.apply(&entries(&[Command::Delete { key: b"a" }.encode()]))
            .expect("applies");
        assert_eq!(get(kv, "a"), None);
    });
}

#[test]
fn bytes_that_are_no_command_are_refused_and_never_trap() {
    with_kv(|_, kv| {
        let junk: Vec<Vec<u8>> = (0..=u8::MAX)
            .flat_map(|byte| {
                [
                    vec![byte],
                    vec![1, byte],
                    vec![1, byte, 255, 255, 255, 255, 255],
                ]
            })
            .chain([Vec::new()])
            .collect();
        let results = kv.apply(&entries(&junk)).expect("no fault");
        for (junk, result) in junk.iter().zip(results) {
            let refused = result.expect_err(&format!("{junk:?} is refused"));
            assert!(refused.code >= failure::MALFORMED, "{junk:?}: {refused:?}");
        }
        assert!(
            kv.query(NOW, &[b"", b"\xff"])
                .expect("no fault")
                .iter()
                .all(Result::is_err)
        );
    });
}

#[test]
fn where_a_batch_ends_changes_nothing() {
    let commands = commands();
    let entries = entries(&commands);
    with_kv(|module, kv| {
        let outcomes = kv.apply(&entries).expect("applies");
        assert!(outcomes.iter().any(Result::is_ok) && outcomes.iter().any(Result::is_err));
        let state = snapshot(kv, 1 << 20);
        for size in [1, 7, 64] {
            let mut other = start(module);
            let cut: Vec<_> = entries
                .chunks(size)
                .flat_map(|batch| other.apply(batch).expect("applies"))
                .collect();
            assert_eq!(cut, outcomes, "batches of {size}");
            assert_eq!(snapshot(&mut other, 1 << 20), state, "batches of {size}");
        }
    });
}

#[test]
fn a_snapshot_has_the_state_at_its_opening_whatever_is_applied_meanwhile() {
    with_kv(|_, kv| {
        kv.apply(&entries(&commands())).expect("applies");
        let before = snapshot(kv, 1 << 20);
        let open = kv.open_snapshot().expect("opens");
        let mut bytes = Vec::new();
        for round in 0.. {
            let chunk = kv.read_snapshot(&open, 100).expect("reads");
            if chunk.is_empty() {
                break;
            }
            bytes.extend(chunk);
            kv.apply(&entries(&[set(&format!("key-{}", round % 50), b"new")]))
                .expect("applies");
        }
        assert_eq!(bytes, before);
        assert_ne!(snapshot(kv, 1 << 20), before);
    });
}

#[test]
fn a_restored_state_is_the_same_to_the_byte() {
    with_kv(|module, kv| {
        kv.apply(&entries(&commands())).expect("applies");
        let state = snapshot(kv, 1 << 20);
        for chunk_bytes in [1, 7, 4096] {
            assert_eq!(snapshot(kv, chunk_bytes), state, "read by {chunk_bytes}");
            let mut other = start(module);
            let restore = other.begin_restore(module.description()).expect("begins");
            for chunk in state.chunks(chunk_bytes as usize) {
                assert_eq!(other.restore_chunk(&restore, chunk), Ok(Ok(())));
            }
            assert_eq!(other.finish_restore(restore), Ok(Ok(())));
            assert_eq!(
                snapshot(&mut other, 1 << 20),
                state,
                "written by {chunk_bytes}"
            );
        }
    });
}

#[test]
fn a_torn_snapshot_is_refused_and_the_state_stays() {
    with_kv(|module, kv| {
        kv.apply(&entries(&commands())).expect("applies");
        let state = snapshot(kv, 1 << 20);
        let restore = kv.begin_restore(module.description()).expect("begins");
        let written = kv
            .restore_chunk(&restore, &state[..state.len() - 1])
            .expect("no fault");
        assert_eq!(written, Ok(()));
        let refused = kv
            .finish_restore(restore)
            .expect("no fault")
            .expect_err("refused");
        assert_eq!(refused.code, failure::BAD_SNAPSHOT);
        assert_eq!(snapshot(kv, 1 << 20), state);
    });
}
