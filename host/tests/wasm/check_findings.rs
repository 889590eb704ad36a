//! Modules that break one rule each: the check names it.

use rkv_host::check::{Finding, Plain, Random, Way, history};
use rkv_host::types::{Limits, TrapKind};
use rkv_host::wasm::Fault;

use crate::check::{LIMITS, commands};
use crate::guests;
use crate::kit::{counter, load, on_guest_stack};

/// What is found in `wasm`, by the plain run or in the first way in which it is.
fn find(wasm: &[u8], commands: Vec<Vec<u8>>) -> (Option<Way>, Finding) {
    let module = load(wasm);
    let entries = history(commands, &mut Random::new(1));
    on_guest_stack(|| {
        let plain = match Plain::run(&module, &LIMITS, &entries) {
            Ok(plain) => plain,
            Err(finding) => return (None, finding),
        };
        let found = Way::ALL.into_iter().find_map(|way| {
            plain
                .compare(way, 1)
                .err()
                .map(|finding| (Some(way), finding))
        });
        found.expect("something is found")
    })
}

fn find_in_counter(place: &str, body: &str) -> (Option<Way>, Finding) {
    find(&counter(&[(place, body)]), commands(300))
}

fn snapshot_of(finding: &Finding) -> &'static str {
    match finding {
        Finding::Snapshot { what, .. } => what,
        other => panic!("{other}"),
    }
}

#[test]
fn an_outcome_that_depends_on_the_batch_is_found_with_its_entry() {
    let (way, finding) = find_in_counter(
        "each",
        "(local.set $value (i64.extend_i32_u (local.get $n)))",
    );
    assert_eq!(way, Some(Way::Batches));
    let Finding::Outcome {
        entry,
        command,
        plain,
        here,
    } = &finding
    else {
        panic!("{finding}")
    };
    assert!((1..=8).contains(entry), "{entry}");
    assert!(!command.is_empty());
    assert_eq!(plain, "accepted, response hex:0100000000000000");
    assert_ne!(plain, here);
    assert_eq!(finding.details().len(), 3);
}

#[test]
fn a_command_that_traps_only_alone_is_found() {
    let (way, finding) = find_in_counter(
        "each",
        "(if (i32.and
            (i32.eq (local.get $n) (i32.const 1))
            (i64.eqz (i64.rem_u (i64.load (local.get $entry)) (i64.const 20))))
          (then unreachable))",
    );
    assert_eq!(way, Some(Way::Batches));
    let details = finding.details().join("\n");
    assert!(
        details.contains("trapped: the module panicked"),
        "{details}"
    );
}

#[test]
fn a_snapshot_of_more_than_the_state_is_found() {
    let (way, finding) = find_in_counter(
        "freeze",
        "(i64.store offset=8 (local.get $self)
          (i64.or (global.get $count) (i64.shl (global.get $calls) (i64.const 32))))",
    );
    assert_eq!(way, Some(Way::Batches));
    assert_eq!(snapshot_of(&finding), "the snapshot at the end");
    assert!(
        matches!(finding, Finding::Snapshot { offset: 4, .. }),
        "{finding}"
    );
}

#[test]
fn state_that_is_not_in_the_snapshot_is_found() {
    let (way, finding) = find_in_counter("each", "(local.set $value (global.get $unsaved))");
    assert_eq!(way, Some(Way::Restarts));
    assert!(matches!(finding, Finding::Outcome { .. }), "{finding}");
}

#[test]
fn a_restore_that_loses_something_is_found() {
    let (way, finding) = find_in_counter("finish", "(global.set $count (i64.const 0))");
    assert_eq!(way, Some(Way::Restarts));
    assert_eq!(snapshot_of(&finding), "the snapshot of a restored state");
}

#[test]
fn a_module_that_refuses_its_own_snapshot_is_found_with_its_reason() {
    let (way, finding) = find_in_counter("finish", "(call $fail (local.get $area) (i32.const 5))");
    assert_eq!(way, Some(Way::Restarts));
    let Finding::Restore { size: 8, failure } = finding else {
        panic!("{finding}")
    };
    assert_eq!(failure.code, 5);
}

#[test]
fn a_snapshot_that_later_commands_change_is_found() {
    let (way, finding) = find_in_counter(
        "read",
        "(i64.store offset=8 (local.get $self) (global.get $count))",
    );
    assert_eq!(way, Some(Way::OpenSnapshots));
    let what = snapshot_of(&finding);
    assert_eq!(what, "a snapshot that was read while entries were applied");
}

#[test]
fn a_refusal_that_has_an_effect_is_found() {
    let (way, finding) = find_in_counter(
        "refuse",
        "(global.set $count (i64.add (global.get $count) (i64.const 1)))",
    );
    assert_eq!(way, Some(Way::WithoutRefused));
    assert!(matches!(finding, Finding::Outcome { .. }), "{finding}");
}

#[test]
fn a_restore_that_depends_on_its_chunks_is_found() {
    let (way, finding) = find_in_counter(
        "write",
        "(if (i32.eq (local.get $size) (i32.const 7)) (then unreachable))",
    );
    assert_eq!(way, Some(Way::Chunks));
    let Finding::Fault { doing, fault, .. } = finding else {
        panic!("{finding}")
    };
    assert_eq!(doing, "restoring a snapshot");
    assert_eq!(fault, Fault::Trap(TrapKind::Unreachable));
}

#[test]
fn a_query_that_changes_the_state_is_found() {
    let (way, finding) = find_in_counter(
        "query",
        "(global.set $count (i64.add (global.get $count) (i64.const 1)))",
    );
    assert_eq!(way, Some(Way::Queries));
    assert_eq!(snapshot_of(&finding), "the snapshot after queries");
}

#[test]
fn a_query_about_what_a_restored_state_has_lost_is_found() {
    let (way, finding) = find_in_counter("query", "(local.set $value (global.get $unsaved))");
    assert_eq!(way, Some(Way::Queries));
    let Finding::Query { plain, here, .. } = finding else {
        panic!("{finding}")
    };
    assert_eq!(here, "accepted, response hex:0000000000000000");
    assert_ne!(plain, here);
}

#[test]
fn a_description_that_changes_is_found() {
    let (way, finding) = find_in_counter(
        "describe",
        "(i32.store offset=16 (local.get $area) (i32.wrap_i64 (global.get $calls)))",
    );
    assert_eq!(way, Some(Way::Description));
    let when = "after it has applied entries";
    assert_eq!(finding, Finding::Description { when });
}

#[test]
fn a_snapshot_without_an_end_is_given_up() {
    // All of the memory again and again.
    let (way, finding) = find_in_counter(
        "read",
        "(i32.store (i32.const 0) (i32.const 0))
        (i32.store (i32.const 4) (local.get $max))
        (return (i32.const 0))",
    );
    assert_eq!(way, None);
    assert!(
        matches!(finding, Finding::SnapshotTooLarge { .. }),
        "{finding}"
    );
}

#[test]
fn a_snapshot_that_goes_on_after_its_end_is_found() {
    // Behind the empty chunk comes the first byte again.
    let (way, finding) = find_in_counter(
        "read",
        "(if (i32.eqz (local.get $size))
          (then
            (i32.store (local.get $self) (i32.const 7))
            (return (call $list (i32.const 0) (i32.const 1)))))",
    );
    assert_eq!(way, None);
    assert_eq!(finding, Finding::SnapshotGoesOn);
}

#[test]
fn a_check_gives_up_what_takes_too_long() {
    let spin = "(local.set $from (i32.const 100000))
        (loop $l (br_if $l (local.tee $from (i32.sub (local.get $from) (i32.const 1)))))";
    let module = load(&counter(&[("read", spin)]));
    let limits = Limits {
        fuel_per_entry: 10_000,
        ..LIMITS
    };
    let entries = history(commands(3), &mut Random::new(1));
    let finding = on_guest_stack(|| Plain::run(&module, &limits, &entries).unwrap_err());
    assert_eq!(finding, Finding::TooSlow { limit: 200_000 });
}

fn text(commands: &[&str]) -> Vec<Vec<u8>> {
    commands
        .iter()
        .map(|command| command.as_bytes().to_vec())
        .collect()
}

#[test]
fn a_snapshot_that_traps_is_found() {
    let (way, finding) = find(&guests::faulty(), text(&["add", "break-snapshot"]));
    assert_eq!(way, None);
    let Finding::Fault {
        doing, applied: 2, ..
    } = finding
    else {
        panic!("{finding}")
    };
    assert_eq!(doing, "reading a snapshot");
}

#[test]
fn an_answer_that_depends_on_the_heap_is_found() {
    let mut commands = vec!["add"; 40];
    commands.extend(["keep 3", "address", "address"]);
    let (_, finding) = find(&guests::faulty(), text(&commands));
    assert!(matches!(finding, Finding::Outcome { .. }), "{finding}");
}
