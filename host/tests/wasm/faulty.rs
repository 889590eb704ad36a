//! The faulty state machine (`fsm-guest/faulty`), as the Rust compiler makes it: `faults.rs` has
//! the same and more in hand-written code.

use std::sync::OnceLock;

use rkv_host::types::{Limits, TrapKind};
use rkv_host::wasm::{Fault, Instance, Module};

use crate::guests;
use crate::kit::{self, NOW, entries, load, on_guest_stack, trap};

/// Fuel enough to fill the memory: each byte costs one.
const LIMITS: Limits = Limits {
    fuel_per_entry: 500_000_000,
    ..kit::LIMITS
};

fn module() -> &'static Module {
    static MODULE: OnceLock<Module> = OnceLock::new();
    MODULE.get_or_init(|| load(&guests::faulty()))
}

fn with_faulty<R: Send>(test: impl FnOnce(&mut Instance) -> R + Send) -> R {
    let module = module();
    on_guest_stack(|| test(&mut module.instantiate(&LIMITS).expect("an instance")))
}

fn apply(instance: &mut Instance, command: &str) -> Result<Vec<u8>, Fault> {
    let mut results = instance.apply(&entries(&[command.as_bytes()]))?;
    Ok(results.remove(0).expect("the command is accepted").response)
}

fn snapshot(instance: &mut Instance, chunk_bytes: u32) -> Result<Vec<u8>, Fault> {
    let snapshot = instance.open_snapshot()?;
    let mut bytes = Vec::new();
    loop {
        match instance.read_snapshot(&snapshot, chunk_bytes)? {
            chunk if chunk.is_empty() => return Ok(bytes),
            chunk => bytes.extend(chunk),
        }
    }
}

#[test]
fn a_rust_guest_fails_in_ways_that_every_node_sees_alike() {
    for (command, kind) in [
        ("panic", TrapKind::Unreachable),
        ("spin", TrapKind::OutOfFuel),
        ("recurse", TrapKind::MemoryOutOfBounds),
    ] {
        let applied = with_faulty(|instance| apply(instance, command));
        assert_eq!(applied, Err(trap(kind)), "{command}");
        let answer = with_faulty(|instance| instance.query(NOW, &[command.as_bytes()]));
        assert_eq!(answer, Err(trap(kind)), "the query {command}");
    }
}

#[test]
fn a_rust_guest_that_eats_all_memory_is_not_at_fault_for_it() {
    with_faulty(|instance| {
        assert_eq!(apply(instance, "eat"), Err(Fault::Memory));
        assert!(instance.memory_bytes() > LIMITS.memory_bytes / 2);
    });
}

#[test]
fn memory_that_a_rust_guest_keeps_is_counted() {
    with_faulty(|instance| {
        apply(instance, "keep 20").expect("applies");
        assert!(instance.memory_bytes() > 20 << 20);
        assert!(!instance.memory_refused());
    });
}

#[test]
fn a_snapshot_that_breaks_half_way_is_a_trap() {
    with_faulty(|instance| {
        apply(instance, "break-snapshot").expect("applies");
        assert_eq!(snapshot(instance, 4), Err(trap(TrapKind::Unreachable)));
    });
}

#[test]
fn a_restore_can_be_refused_or_trap() {
    for (command, refused) in [("break-restore", true), ("trap-restore", false)] {
        with_faulty(|instance| {
            apply(instance, "add").expect("applies");
            apply(instance, command).expect("applies");
            let bytes = snapshot(instance, 100).expect("a snapshot");
            let restore = instance
                .begin_restore(module().description())
                .expect("begins");
            assert_eq!(instance.restore_chunk(&restore, &bytes), Ok(Ok(())));
            let finished = instance.finish_restore(restore);
            if refused {
                assert!(matches!(finished, Ok(Err(_))), "{finished:?}");
                assert_eq!(
                    apply(instance, "add"),
                    Ok(b"2".to_vec()),
                    "the state is as it was"
                );
            } else {
                assert_eq!(finished, Err(trap(TrapKind::Unreachable)));
            }
        });
    }
}
