//! Instances of modules that keep to the rules.

use rkv_host::types::{Description, Failure, Limits};
use rkv_host::wasm::{Fault, Outcome};

use crate::kit::{LIMITS, NOW, entries, guest, load, on_guest_stack, with_instance};

#[test]
fn an_instance_can_move_to_another_thread() {
    let module = load(&guest(&[]));
    let mut instance = on_guest_stack(|| module.instantiate(&LIMITS).expect("an instance"));
    let results = on_guest_stack(|| instance.apply(&entries(&[b""])));
    assert_eq!(results.map(|results| results.len()), Ok(1));
}

#[test]
fn each_entry_has_its_result_in_order() {
    // Refuses the second entry with code 9 and the message "probe".
    let body = "(local.set $area (call $list (local.get $n) (i32.const 20)))
        (i32.store8 offset=20 (i32.load (local.get $area)) (i32.const 1))
        (i32.store offset=24 (i32.load (local.get $area)) (i32.const 9))
        (i32.store offset=28 (i32.load (local.get $area)) (i32.const 64))
        (i32.store offset=32 (i32.load (local.get $area)) (i32.const 5))
        (return (local.get $area))";
    let results = with_instance(&[("apply", body)], &LIMITS, |i| {
        i.apply(&entries(&[b"a", b"b", b"c"]))
    });
    let done = || {
        Ok(Outcome {
            response: Vec::new(),
            events: Vec::new(),
        })
    };
    let refused = Err(Failure {
        code: 9,
        message: "probe".to_owned(),
    });
    assert_eq!(results, Ok(vec![done(), refused, done()]));
}

#[test]
fn an_empty_batch_has_no_results() {
    with_instance(&[], &LIMITS, |instance| {
        assert_eq!(instance.apply(&[]), Ok(Vec::new()));
        assert_eq!(instance.query(NOW, &[]), Ok(Vec::new()));
    });
}

#[test]
fn nan_has_the_same_bits_everywhere() {
    // Answers with the bits of 0/0, which x86 makes a negative NaN by itself.
    let body = "(local.set $area (call $list (i32.const 1) (i32.const 16)))
        (f32.store (i32.const 1024) (f32.div (f32.const 0) (f32.const 0)))
        (i32.store offset=4 (i32.load (local.get $area)) (i32.const 1024))
        (i32.store offset=8 (i32.load (local.get $area)) (i32.const 4))
        (return (local.get $area))";
    let answers = with_instance(&[("query", body)], &LIMITS, |i| i.query(NOW, &[b""]));
    assert_eq!(
        answers,
        Ok(vec![Ok(0x7fc0_0000_u32.to_le_bytes().to_vec())])
    );
}

#[test]
fn logging_never_fails() {
    let body = "(local.set $area (i32.const 100000))
        (loop $again
          (call $log (i32.const 5) (i32.const 64) (i32.const 5))
          (call $log (i32.const 5) (i32.const 192) (i32.const 2))
          (call $log (i32.const 5) (i32.const 0) (i32.const 100000))
          (local.set $area (i32.sub (local.get $area) (i32.const 1)))
          (br_if $again (local.get $area)))";
    let limits = Limits {
        fuel_per_entry: 1 << 40,
        ..LIMITS
    };
    with_instance(&[("apply", body)], &limits, |instance| {
        assert!(instance.apply(&entries(&[b""])).is_ok());
    });
}

#[test]
fn fuel_and_memory_are_counted() {
    with_instance(
        &[("apply", "(drop (memory.grow (i32.const 16)))")],
        &LIMITS,
        |instance| {
            assert_eq!(
                (instance.fuel_burnt(), instance.memory_bytes()),
                (0, 1 << 20)
            );
            instance.apply(&entries(&[b""])).expect("applies");
            assert!(instance.fuel_burnt() > 0);
            assert_eq!(instance.memory_bytes(), 2 << 20);
        },
    );
}

#[test]
fn little_fuel_for_entries_does_not_keep_the_state_from_being_saved() {
    let spin = "(local $i i32) (local.set $i (i32.const 100000))
        (loop $l (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))";
    let limits = Limits {
        fuel_per_entry: 1_000,
        ..LIMITS
    };
    with_instance(&[("read", spin)], &limits, |instance| {
        let snapshot = instance.open_snapshot().expect("opens");
        assert_eq!(instance.read_snapshot(&snapshot, 100), Ok(Vec::new()));
    });
}

#[test]
fn a_snapshot_of_an_earlier_instance_is_not_read_from_a_later_one() {
    let module = load(&guest(&[]));
    on_guest_stack(|| {
        let mut earlier = module.instantiate(&LIMITS).expect("an instance");
        let mut later = module.instantiate(&LIMITS).expect("an instance");
        let snapshot = earlier.open_snapshot().expect("opens");
        let own = later.open_snapshot().expect("opens");
        assert_eq!(later.read_snapshot(&snapshot, 10), Err(Fault::Poisoned));
        assert_eq!(
            later.read_snapshot(&own, 10),
            Ok(Vec::new()),
            "the later one is unharmed"
        );
        later.close_snapshot(own).expect("closes");
    });
}

#[test]
fn a_restore_reports_what_the_module_finds_wrong() {
    let refuse = "(i32.store8 (local.get $area) (i32.const 1))
        (i32.store offset=4 (local.get $area) (i32.const 3))";
    let saved = Description {
        name: "another".to_owned(),
        version: "1".to_owned(),
        schema: 1,
        reads_schemas: vec![1],
        protocols: vec!["rkv:kv@1".to_owned()],
    };
    with_instance(&[("finish", refuse)], &LIMITS, |instance| {
        let restore = instance.begin_restore(&saved).expect("begins");
        assert_eq!(instance.restore_chunk(&restore, b"chunk"), Ok(Ok(())));
        let refused = Failure {
            code: 3,
            message: String::new(),
        };
        assert_eq!(instance.finish_restore(restore), Ok(Err(refused)));
        let restore = instance.begin_restore(&saved).expect("begins again");
        assert_eq!(instance.abort_restore(restore), Ok(()));
    });
}

#[test]
fn long_messages_of_failures_are_cut() {
    let refuse = "(i32.store8 (local.get $area) (i32.const 1))
        (i32.store offset=8 (local.get $area) (i32.const 1024))
        (i32.store offset=12 (local.get $area) (i32.const 2000))";
    with_instance(&[("write", refuse)], &LIMITS, |instance| {
        let saved = instance.describe().expect("describes itself");
        let restore = instance.begin_restore(&saved).expect("begins");
        let refused = instance.restore_chunk(&restore, b"x").expect("no fault");
        assert_eq!(refused.expect_err("refused").message.len(), 1024);
    });
}

#[test]
fn the_memory_of_a_dropped_instance_is_free_at_once() {
    // Touches 96 MiB.
    let body = "(drop (memory.grow (i32.const 1536)))
        (memory.fill (i32.const 1048576) (i32.const 1) (i32.const 100000000))";
    let limits = Limits {
        fuel_per_entry: 1 << 40,
        ..LIMITS
    };
    let module = load(&guest(&[("apply", body)]));
    on_guest_stack(|| {
        let mut instance = module.instantiate(&limits).expect("an instance");
        instance.apply(&entries(&[b""])).expect("applies");
        let full = resident_bytes();
        drop(instance);
        let freed = full.saturating_sub(resident_bytes());
        assert!(freed > 80 << 20, "{freed} bytes were freed");
    });
}

/// Resident memory of this process, in bytes. Other tests run in it, with far less memory each.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("a number of pages") * 4096
}
