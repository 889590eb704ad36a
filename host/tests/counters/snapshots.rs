//! Snapshots: one form, for both languages.

use rkv_guest_tools::Language;
use rkv_host::types::Description;

use crate::subject::{
    apply, ask, for_each_counter, load, on_guest_stack, restore, snapshot, start,
};

const SOME: [&str; 4] = ["add b -2", "add a 1", "add c 30", "add a 9"];
const SAVED: &[u8] = b"3\na 10\nb -2\nc 30\n";

#[test]
fn a_snapshot_is_the_same_however_it_is_cut_and_restores_however_it_is_cut() {
    for_each_counter(|module| {
        let mut instance = start(module);
        apply(&mut instance, &SOME);
        for chunk_bytes in [0, 1, 3, 1 << 20] {
            assert_eq!(snapshot(&mut instance, chunk_bytes), SAVED);
        }
        for chunk_bytes in [1, 2, 7, 1 << 20] {
            let mut other = start(module);
            apply(&mut other, &["add gone 1"]);
            let restored = restore(&mut other, module.description(), SAVED, chunk_bytes);
            assert_eq!(restored, Ok(()));
            assert_eq!(snapshot(&mut other, 1 << 20), SAVED);
        }
    });
}

#[test]
fn a_snapshot_is_of_the_moment_in_which_it_was_opened() {
    for_each_counter(|module| {
        let mut instance = start(module);
        apply(&mut instance, &SOME);
        let frozen = instance.open_snapshot().expect("opens");
        let mut bytes = instance.read_snapshot(&frozen, 4).expect("reads");
        apply(&mut instance, &["remove c", "add a 1", "add d 1"]);
        for _ in 0..SAVED.len() {
            bytes.extend(instance.read_snapshot(&frozen, 4).expect("reads"));
        }
        assert_eq!(bytes, SAVED);
        instance.close_snapshot(frozen).expect("closes");
    });
}

#[test]
fn what_is_no_snapshot_is_refused_and_the_state_stays() {
    let long = [b"1\n", "x".repeat(10_000).as_bytes()].concat();
    let mut cases: Vec<&[u8]> = vec![
        b"",
        b"\n",
        b"1",
        b"-1\n",
        b"00\n",
        b"x\n",
        b"1\na\n",
        b"1\na 1",
        b"1\na 1\n\n",
        b"1\na 1\nb 2\n",
        b"2\na 1\n",
        b"2\nb 1\na 1\n",
        b"2\na 1\na 1\n",
        b"1\na 01\n",
        b"1\na -0\n",
        b"1\na +1\n",
        b"1\na 9223372036854775808\n",
        b"1\n 1\n",
        b"1\na b 1\n",
        b"1\n\xff 1\n",
        b"1 1\n",
    ];
    cases.push(&long);
    for_each_counter(|module| {
        let mut instance = start(module);
        apply(&mut instance, &SOME);
        let own = module.description();
        for bytes in &cases {
            for chunk_bytes in [1, 1 << 20] {
                let refused = restore(&mut instance, own, bytes, chunk_bytes);
                assert_eq!(refused, Err(4), "{:?}", String::from_utf8_lossy(bytes));
            }
        }
        let other_name = Description {
            name: "kv".to_owned(),
            ..own.clone()
        };
        let other_schema = Description {
            schema: 2,
            ..own.clone()
        };
        for foreign in [other_name, other_schema] {
            assert_eq!(restore(&mut instance, &foreign, SAVED, 5), Err(5));
            assert_eq!(restore(&mut instance, &foreign, b"", 5), Err(5));
        }
        assert_eq!(snapshot(&mut instance, 1 << 20), SAVED);
    });
}

#[test]
fn one_language_takes_over_the_state_of_the_other() {
    let (Some(c), Some(python)) = (load(Language::C), load(Language::Python)) else {
        return;
    };
    for (from, to) in [(&c, &python), (&python, &c)] {
        on_guest_stack(|| {
            let mut old = start(from);
            apply(&mut old, &SOME);
            let bytes = snapshot(&mut old, 1 << 20);
            let mut new = start(to);
            assert_eq!(restore(&mut new, from.description(), &bytes, 5), Ok(()));
            assert_eq!(ask(&mut new, "get a").as_deref(), Ok("10"));
            assert_eq!(snapshot(&mut new, 1 << 20), bytes);
        });
    }
}
