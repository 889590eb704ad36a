//! Every way in which a guest can fail, and whose fault it is held to be.

use rkv_host::types::{Limits, TrapKind};
use rkv_host::wasm::Fault;

use crate::kit::{LIMITS, NOW, entries, fault_of_apply, trap, with_instance};

#[test]
fn a_panic_is_the_modules_fault() {
    assert_eq!(fault_of_apply("unreachable"), trap(TrapKind::Unreachable));
}

#[test]
fn a_wild_pointer_is_the_modules_fault() {
    let body = "(drop (i32.load (i32.const -8)))";
    assert_eq!(fault_of_apply(body), trap(TrapKind::MemoryOutOfBounds));
}

#[test]
fn a_bad_indirect_call_is_the_modules_fault() {
    for slot in ["0", "99"] {
        let body = format!("(call_indirect $table (type $nothing) (i32.const {slot}))");
        assert_eq!(fault_of_apply(&body), trap(TrapKind::Table), "slot {slot}");
    }
}

#[test]
fn impossible_arithmetic_is_the_modules_fault() {
    for body in [
        "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
        "(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))",
        "(drop (i32.trunc_f32_s (f32.const nan)))",
    ] {
        assert_eq!(fault_of_apply(body), trap(TrapKind::Arithmetic), "{body}");
    }
}

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    assert_eq!(
        fault_of_apply("(loop $l (br $l))"),
        trap(TrapKind::OutOfFuel)
    );
}

#[test]
fn bulk_operations_cost_fuel_by_the_byte() {
    let body = "(loop $l (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536)) (br $l))";
    assert_eq!(fault_of_apply(body), trap(TrapKind::OutOfFuel));
}

#[test]
fn queries_and_snapshots_and_restores_are_bounded_like_applies() {
    let faulty = [
        ("query", "(loop $l (br $l))"),
        ("read", "unreachable"),
        ("write", "unreachable"),
    ];
    with_instance(&faulty, &LIMITS, |instance| {
        assert_eq!(instance.query(NOW, &[b"q"]), Err(trap(TrapKind::OutOfFuel)));
    });
    with_instance(&faulty, &LIMITS, |instance| {
        let snapshot = instance.open_snapshot().expect("opens");
        assert_eq!(
            instance.read_snapshot(&snapshot, 100),
            Err(trap(TrapKind::Unreachable))
        );
    });
    with_instance(&faulty, &LIMITS, |instance| {
        let saved = instance.describe().expect("describes itself");
        let restore = instance.begin_restore(&saved).expect("begins");
        assert_eq!(
            instance.restore_chunk(&restore, b"x"),
            Err(trap(TrapKind::Unreachable))
        );
    });
}

#[test]
fn endless_recursion_ends_at_the_guests_own_stack() {
    let body = "(drop (call $recurse_on_shadow_stack (i32.const 0)))";
    assert_eq!(fault_of_apply(body), trap(TrapKind::MemoryOutOfBounds));
}

/// How deep native frames go is the compiler's choice, so this must never become an outcome.
#[test]
fn recursion_without_a_shadow_stack_stops_the_node() {
    let body = "(drop (call $recurse (i32.const 0)))";
    let limits = Limits {
        fuel_per_entry: 1 << 40,
        ..LIMITS
    };
    let fault = with_instance(&[("apply", body)], &limits, |instance| {
        instance.apply(&entries(&[b""])).expect_err("apply fails")
    });
    assert_eq!(
        fault,
        Fault::Node("wasm trap: call stack exhausted".to_owned())
    );
}

#[test]
fn another_number_of_results_than_entries_breaks_the_interface() {
    for n in [0, 1, 3] {
        let fault = with_instance(
            &[(
                "apply",
                &format!("(return (call $list (i32.const {n}) (i32.const 20)))"),
            )],
            &LIMITS,
            |instance| instance.apply(&entries(&[b"a", b"b"])),
        );
        assert_eq!(fault, Err(trap(TrapKind::Interface)), "{n} results");
    }
    let body = "(return (call $list (i32.const 2) (i32.const 16)))";
    let fault = with_instance(&[("query", body)], &LIMITS, |instance| {
        instance.query(NOW, &[b""])
    });
    assert_eq!(fault, Err(trap(TrapKind::Interface)));
}

#[test]
fn a_chunk_that_is_longer_than_asked_breaks_the_interface() {
    let body = "(return (call $list (i32.const 101) (i32.const 1)))";
    with_instance(&[("read", body)], &LIMITS, |instance| {
        let snapshot = instance.open_snapshot().expect("opens");
        assert_eq!(
            instance.read_snapshot(&snapshot, 100),
            Err(trap(TrapKind::Interface))
        );
    });
}

/// Each of these is an error text of wasmtime, not a trap: a text that an upgrade of wasmtime
/// changes would turn a module's fault into one that stops every node.
#[test]
fn values_that_the_canonical_abi_forbids_break_the_interface() {
    // One result at address 1024: the bodies store what is wrong with it.
    let result = |stores: &str| {
        format!(
            "(local.set $area (call $alloc (i32.const 8)))
             (i32.store (local.get $area) (i32.const 1024))
             (i32.store offset=4 (local.get $area) (i32.const 1))
             {stores}
             (return (local.get $area))"
        )
    };
    let cases = [
        (
            "return area out of bounds",
            "(return (i32.const -8))".to_owned(),
        ),
        (
            "return area not aligned",
            "(return (i32.const 1023))".to_owned(),
        ),
        (
            "list out of bounds",
            result("(i32.store offset=4 (local.get $area) (i32.const 1000000))"),
        ),
        (
            "list not aligned",
            result("(i32.store (local.get $area) (i32.const 1025))"),
        ),
        (
            "neither ok nor error",
            result("(i32.store8 (i32.const 1024) (i32.const 2))"),
        ),
        (
            "response out of bounds",
            result("(i32.store offset=8 (i32.const 1024) (i32.const -1))"),
        ),
        (
            "message not UTF-8",
            result(
                "(i32.store8 (i32.const 1024) (i32.const 1))
                 (i32.store offset=8 (i32.const 1024) (i32.const 192))
                 (i32.store offset=12 (i32.const 1024) (i32.const 2))",
            ),
        ),
        (
            "message out of bounds",
            result(
                "(i32.store8 (i32.const 1024) (i32.const 1))
                 (i32.store offset=8 (i32.const 1024) (i32.const 192))
                 (i32.store offset=12 (i32.const 1024) (i32.const -200))",
            ),
        ),
        (
            "unknown handle",
            "(call $restore_drop (i32.const 77))".to_owned(),
        ),
    ];
    for (what, body) in cases {
        assert_eq!(fault_of_apply(&body), trap(TrapKind::Interface), "{what}");
    }
}

#[test]
fn an_allocator_that_breaks_the_canonical_abi_breaks_the_interface() {
    for body in [
        // Not where the batch, which holds 64-bit numbers, can lie.
        "(if (i32.eq (local.get 2) (i32.const 8)) (then (return (i32.const 1025))))",
        "(if (i32.eq (local.get 2) (i32.const 8)) (then (return (i32.const -8))))",
        // Calls out of the allocator are forbidden.
        "(call $log (i32.const 0) (i32.const 64) (i32.const 5))",
    ] {
        let fault = with_instance(&[("realloc", body)], &LIMITS, |instance| {
            instance
                .apply(&entries(&[b"command"]))
                .expect_err("apply fails")
        });
        assert_eq!(fault, trap(TrapKind::Interface), "{body}");
    }
}

#[test]
fn more_output_than_the_host_takes_breaks_the_interface() {
    // An answer of 65 MiB, in a memory that was grown to hold it.
    let body = "(drop (memory.grow (i32.const 1050)))
        (local.set $area (call $list (i32.const 1) (i32.const 16)))
        (i32.store offset=8 (i32.load (local.get $area)) (i32.const 68157440))
        (return (local.get $area))";
    let fault = with_instance(&[("query", body)], &LIMITS, |instance| {
        instance.query(NOW, &[b""])
    });
    assert_eq!(fault, Err(trap(TrapKind::Interface)));
}

const GROW_TOO_FAR: &str = "(drop (memory.grow (i32.const 10000)))";

#[test]
fn a_trap_for_want_of_memory_is_not_the_commands_fault() {
    let body = format!("{GROW_TOO_FAR} unreachable");
    with_instance(&[("apply", &body)], &LIMITS, |instance| {
        assert_eq!(instance.apply(&entries(&[b""])), Err(Fault::Memory));
        assert!(instance.memory_refused());
        assert_eq!(
            instance.memory_bytes(),
            16 << 16,
            "known after the fault, too"
        );
    });
}

#[test]
fn a_guest_that_copes_with_refused_memory_is_reported_all_the_same() {
    with_instance(&[("apply", GROW_TOO_FAR)], &LIMITS, |instance| {
        assert!(!instance.memory_refused());
        assert!(instance.apply(&entries(&[b""])).is_ok());
        assert!(instance.memory_refused());
    });
}

#[test]
fn a_guest_that_leaks_handles_is_not_the_commands_fault() {
    let body = "(loop $l (drop (call $snapshot_new (i32.const 1))) (br $l))";
    let limits = Limits {
        fuel_per_entry: 1 << 40,
        ..LIMITS
    };
    with_instance(&[("apply", body)], &limits, |instance| {
        assert_eq!(instance.apply(&entries(&[b""])), Err(Fault::Memory));
    });
}

#[test]
fn a_faulty_instance_answers_nothing_any_more() {
    with_instance(&[("apply", "unreachable")], &LIMITS, |instance| {
        let snapshot = instance.open_snapshot().expect("opens");
        let saved = instance.describe().expect("describes itself");
        let restore = instance.begin_restore(&saved).expect("begins");
        assert_eq!(
            instance.apply(&entries(&[b""])),
            Err(trap(TrapKind::Unreachable))
        );
        assert_eq!(instance.apply(&entries(&[b""])), Err(Fault::Poisoned));
        assert_eq!(instance.query(NOW, &[b""]), Err(Fault::Poisoned));
        assert_eq!(instance.describe(), Err(Fault::Poisoned));
        assert_eq!(instance.read_snapshot(&snapshot, 1), Err(Fault::Poisoned));
        assert_eq!(instance.close_snapshot(snapshot), Err(Fault::Poisoned));
        assert_eq!(instance.restore_chunk(&restore, b""), Err(Fault::Poisoned));
        assert_eq!(instance.finish_restore(restore), Err(Fault::Poisoned));
    });
}
