//! Modules that keep to the rules: the check finds nothing.

use rkv_host::check::{AnswerKind, Cut, Finding, Plain, Random, Way, history};
use rkv_host::types::{Limits, TrapKind};

use crate::guests;
use crate::histories::{self, Subject};
use crate::kit::{counter, load, on_guest_stack};

/// Fuel for loops that end soon, and for the memory of what is restored.
pub(crate) const LIMITS: Limits = Limits {
    fuel_per_entry: 50_000_000,
    memory_bytes: 128 << 20,
    table_elements: 100,
};

fn holds_in_every_way(subject: &Subject) {
    let module = load(&subject.wasm);
    let entries = subject.history(module.description(), 1);
    on_guest_stack(|| {
        let plain = Plain::run(&module, &LIMITS, &entries).expect("runs");
        for kind in [AnswerKind::Accepted, AnswerKind::Refused] {
            let count = plain
                .answers
                .iter()
                .filter(|answer| answer.kind == kind)
                .count();
            assert!(count > 20, "{}: {count} {kind:?}", subject.name);
        }
        for way in Way::ALL {
            let compared = plain.compare(way, 1);
            assert_eq!(compared, Ok(()), "{}: {way}", subject.name);
        }
    });
}

#[test]
fn nothing_is_found_in_the_bundled_store_and_the_examples() {
    for subject in histories::examples() {
        holds_in_every_way(&subject);
    }
}

#[test]
fn commands_that_trap_are_no_finding_as_long_as_they_trap_alike() {
    holds_in_every_way(&histories::faulty());
}

/// Accepted and refused commands.
pub(crate) fn commands(count: usize) -> Vec<Vec<u8>> {
    let mut random = Random::new(1);
    (0..count).map(|_| vec![random.number() as u8]).collect()
}

/// Compares in all ways what is left of a history of 300 commands.
fn check(bodies: &[(&str, &str)], verify: impl FnOnce(&Plain<'_>) + Send) {
    let module = load(&counter(bodies));
    let entries = history(commands(300), &mut Random::new(1));
    on_guest_stack(|| {
        let plain = Plain::run(&module, &LIMITS, &entries).expect("runs");
        verify(&plain);
        for way in Way::ALL {
            assert_eq!(plain.compare(way, 7), Ok(()), "{way}");
        }
    });
}

#[test]
fn nothing_is_found_in_a_module_that_keeps_to_the_rules() {
    check(&[], |plain| {
        assert_eq!((plain.answers.len(), plain.cut), (300, None));
        assert_eq!(plain.snapshot.len(), 8);
    });
}

#[test]
fn a_command_that_traps_only_in_company_is_applied_alone() {
    check(
        &[(
            "each",
            "(if (i32.gt_u (local.get $n) (i32.const 2)) (then unreachable))",
        )],
        |plain| assert!(plain.first_trap().is_none()),
    );
}

#[test]
fn the_history_ends_when_too_many_commands_trap() {
    check(&[("refuse", "unreachable")], |plain| {
        assert_eq!(plain.cut, Some(Cut::Traps));
        let trapped = |kind| kind == AnswerKind::Trapped(TrapKind::Unreachable);
        let count = plain
            .answers
            .iter()
            .filter(|answer| trapped(answer.kind))
            .count();
        assert_eq!(count, 32);
        let (entry, kind) = plain.first_trap().expect("a trap");
        assert_eq!(entry.command[0] & 1, 1);
        assert_eq!(kind, TrapKind::Unreachable);
    });
}

#[test]
fn the_history_ends_when_commands_burn_too_much() {
    check(&[("refuse", "(loop $l (br $l))")], |plain| {
        assert_eq!(plain.cut, Some(Cut::Fuel));
        let (_, kind) = plain.first_trap().expect("a trap");
        assert_eq!(kind, TrapKind::OutOfFuel);
        assert!(plain.answers.len() < 20, "{}", plain.answers.len());
    });
}

fn check_faulty(commands: &[&str], verify: impl FnOnce(&Plain<'_>) + Send) {
    let module = load(&guests::faulty());
    let commands = commands.iter().map(|command| command.as_bytes().to_vec());
    let entries = history(commands.collect(), &mut Random::new(1));
    // Each byte of memory costs fuel, each time that it is filled.
    let limits = Limits {
        fuel_per_entry: 2_000_000_000,
        ..LIMITS
    };
    on_guest_stack(|| {
        let plain = Plain::run(&module, &limits, &entries).expect("runs");
        verify(&plain);
        for way in Way::ALL {
            assert_eq!(plain.compare(way, 1), Ok(()), "{way}");
        }
    });
}

#[test]
fn a_command_that_needs_more_memory_than_there_is_fails_alone() {
    check_faulty(&["add", "eat", "add"], |plain| {
        let kinds = [
            AnswerKind::Accepted,
            AnswerKind::Trapped(TrapKind::OutOfMemory),
            AnswerKind::Accepted,
        ];
        assert!(plain.answers.iter().map(|answer| answer.kind).eq(kinds));
    });
}

#[test]
fn memory_that_a_restart_gives_back_fails_no_command() {
    let mut commands = vec!["keep 50"; 6];
    commands.extend(["add"; 20]);
    check_faulty(&commands, |plain| {
        assert!(plain.first_trap().is_none());
        assert_eq!(plain.cut, None);
    });
}

#[test]
fn a_history_of_nothing_is_compared_too() {
    let module = load(&counter(&[]));
    on_guest_stack(|| {
        let plain = Plain::run(&module, &LIMITS, &[]).expect("runs");
        let compared: Result<(), Finding> = Way::ALL
            .into_iter()
            .try_for_each(|way| plain.compare(way, 1));
        assert_eq!(compared, Ok(()));
    });
}
