//! Commands and queries.

use std::time::Instant;

use rkv_guest_tools::Language;

use crate::model::{Expected, Model};
use crate::subject::{
    Applied, apply, ask, for_each_counter, load, on_guest_stack, restore, snapshot, start,
};

/// Always the same numbers.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn seen(applied: Applied) -> Expected {
    let outcome = applied.map_err(|failure| failure.code)?;
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let [event] = <[_; 1]>::try_from(outcome.events).expect("one event");
    Ok((text(outcome.response), event.topic, text(event.data)))
}

#[test]
fn random_histories_in_batches_of_any_size_do_what_the_model_does() {
    for_each_counter(|module| {
        let mut numbers = Numbers(1);
        let mut instance = start(module);
        let mut model = Model::default();
        for _ in 0..60 {
            let mut batch = Vec::new();
            let mut expected = Vec::new();
            for _ in 0..numbers.below(20) {
                let name = format!("counter-{}", numbers.below(30));
                let amount = match numbers.below(10) {
                    0 => i64::MAX,
                    1 => i64::MIN,
                    _ => i64::try_from(numbers.below(2_000)).expect("small") - 1_000,
                };
                if numbers.below(5) == 0 {
                    batch.push(format!("remove {name}"));
                    expected.push(model.remove(&name));
                } else {
                    batch.push(format!("add {name} {amount}"));
                    expected.push(model.add(&name, amount));
                }
            }
            let got: Vec<_> = apply(&mut instance, &batch).into_iter().map(seen).collect();
            assert_eq!(got, expected, "{batch:?}");
        }
        assert_eq!(ask(&mut instance, "list"), Ok(model.list()));
        assert_eq!(snapshot(&mut instance, 1 << 20), model.snapshot());
    });
}

#[test]
fn what_is_no_command_is_refused_and_changes_nothing() {
    let long = format!("add {} 1", "n".repeat(65));
    let cases: [(&[u8], u32); 26] = [
        (b"", 1),
        (b"\n", 1),
        (b" ", 1),
        (b"add", 1),
        (b"add a", 1),
        (b"add a 1 ", 1),
        (b"add  a 1", 1),
        (b" add a 1", 1),
        (b"add a 1\n\n", 1),
        (b"ADD a 1", 1),
        (b"add a b 1", 1),
        (b"add a +1", 1),
        (b"add a 1.0", 1),
        (b"add a 1_0", 1),
        (b"add a -", 1),
        (b"add a --1", 1),
        (b"add a 9223372036854775808", 1),
        (b"add a -9223372036854775809", 1),
        (b"add a 00000000000000000001", 1),
        (b"add a\0 1", 1),
        (b"add \xc3\xa9 1", 1),
        (b"add \xff\xfe 1", 1),
        (long.as_bytes(), 1),
        (b"remove", 1),
        (b"remove a b", 1),
        (b"remove a", 10),
    ];
    for_each_counter(|module| {
        let mut instance = start(module);
        for (command, code) in cases {
            let applied = apply(&mut instance, &[command]).remove(0);
            let failure = applied.expect_err("is refused");
            assert_eq!(failure.code, code, "{command:?}: {}", failure.message);
        }
        assert_eq!(ask(&mut instance, "list"), Ok(String::new()));
        assert!(apply::<&[u8]>(&mut instance, &[]).is_empty());
    });
}

#[test]
fn values_go_to_the_ends_of_64_bits_and_not_beyond() {
    let longest = "n".repeat(64);
    let mut cases: Vec<(String, Result<&str, u32>)> = [
        ("add up 9223372036854775807", Ok("9223372036854775807")),
        ("add up 0", Ok("9223372036854775807")),
        ("add up 1", Err(11)),
        ("add up -1", Ok("9223372036854775806")),
        ("add down -9223372036854775808", Ok("-9223372036854775808")),
        ("add down -1", Err(11)),
        ("add down 9223372036854775807", Ok("-1")),
        ("add down 0001\n", Ok("0")),
        ("add !~ -0", Ok("0")),
    ]
    .map(|(command, expected)| (command.to_owned(), expected))
    .into();
    cases.push((format!("add {longest} 5"), Ok("5")));
    for_each_counter(|module| {
        let mut instance = start(module);
        for (command, expected) in &cases {
            let applied = seen(apply(&mut instance, &[command]).remove(0));
            let response = applied.map(|(response, ..)| response);
            assert_eq!(
                response.as_deref().map_err(|code| *code),
                *expected,
                "{command}"
            );
        }
        assert_eq!(
            ask(&mut instance, "get up").as_deref(),
            Ok("9223372036854775806")
        );
    });
}

#[test]
fn lists_come_in_pages_of_a_thousand() {
    let commands: Vec<_> = (0..1_500).map(|n| format!("add c{n:04} {n}")).collect();
    for_each_counter(|module| {
        let mut instance = start(module);
        apply(&mut instance, &commands);
        let first = ask(&mut instance, "list").expect("a page");
        assert_eq!(first.lines().count(), 1_000);
        assert!(first.ends_with("c0999 999\n"), "{first}");
        let second = ask(&mut instance, "list c0999").expect("a page");
        assert_eq!(second.lines().next(), Some("c1000 1000"));
        assert_eq!(second.lines().count(), 500);
        assert_eq!(
            ask(&mut instance, "list c1498x").as_deref(),
            Ok("c1499 1499\n")
        );
        assert_eq!(ask(&mut instance, "list z").as_deref(), Ok(""));

        assert_eq!(ask(&mut instance, "get c1499\n").as_deref(), Ok("1499"));
        assert_eq!(ask(&mut instance, "get missing"), Err(10));
        for malformed in ["", "get", "get ", "get a b", "list a b", "LIST"] {
            assert_eq!(ask(&mut instance, malformed), Err(1), "{malformed:?}");
        }
    });
}

#[test]
fn there_is_a_bound_to_the_number_of_counters() {
    // In C alone: that it takes Python some seconds teaches nothing.
    let Some(module) = load(Language::C) else {
        return;
    };
    on_guest_stack(|| {
        let mut instance = start(&module);
        for thousands in 0..65 {
            let commands: Vec<_> = (0..1_000)
                .map(|n| format!("add c{} 1", 1_000 * thousands + n))
                .collect();
            assert!(apply(&mut instance, &commands).iter().all(Result::is_ok));
        }
        let commands: Vec<_> = (65_000..=65_536).map(|n| format!("add c{n} 1")).collect();
        let mut applied = apply(&mut instance, &commands);
        let last = applied.pop().expect("a result");
        assert!(applied.iter().all(Result::is_ok));
        assert_eq!(seen(last), Err(12));
        assert_eq!(
            seen(apply(&mut instance, &["add c0 1"]).remove(0)).map(|seen| seen.0),
            Ok("2".to_owned())
        );
    });
}

#[test]
fn memory_stays_as_it_is_over_a_hundred_thousand_commands() {
    for (language, rounds) in [(Language::C, 100), (Language::Python, 20)] {
        let Some(module) = load(language) else {
            continue;
        };
        on_guest_stack(|| {
            let mut instance = start(&module);
            // Changes, removals and refusals, of all sizes; and no counters at the end of a round.
            let mut commands: Vec<String> = Vec::new();
            for n in 0..100 {
                let name = format!("{n}{}", "x".repeat(n % 60));
                commands.extend((0..7).map(|amount| format!("add {name} {amount}")));
                commands.push(format!("remove {name}"));
                commands.push(format!("remove {name}"));
                commands.push("?".repeat(20 * n));
            }
            let saved = module.description();
            let mut round = || {
                assert_eq!(restore(&mut instance, saved, b"1\n0 1\n", 3), Ok(()));
                assert_eq!(restore(&mut instance, saved, b"9\n0 1\n1 1\n0", 3), Err(4));
                assert_eq!(restore(&mut instance, saved, b"1\n0 1\n0 1\n", 3), Err(4));
                assert_eq!(apply(&mut instance, &commands).len(), 1_000);
                let bytes = snapshot(&mut instance, 100);
                assert_eq!(bytes, b"0\n");
                assert_eq!(ask(&mut instance, "list").as_deref(), Ok(""));
                assert_eq!(ask(&mut instance, "get a"), Err(10));
                instance.memory_bytes()
            };
            // The first rounds find out how much a batch takes.
            let before = (0..5).map(|_| round()).last();
            let began = Instant::now();
            let after = (0..rounds).map(|_| round()).last();
            let each = began.elapsed() / (1_000 * rounds);
            println!("{language}: {each:.1?} a command");
            assert_eq!(before, after, "{language}");
        });
    }
}
