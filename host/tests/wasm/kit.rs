//! Small faulty state machines, and the thread to run them on.

use rkv_host::types::{Limits, TrapKind};
use rkv_host::wasm::{
    ApplyEntry, Context, Engine, Fault, Instance, MAX_MODULE_BYTES, Module, with_guest_stack,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Limits under which endless loops end soon.
pub(crate) const LIMITS: Limits = Limits {
    memory_bytes: 128 << 20,
    table_elements: 100,
    fuel_per_entry: 1_000_000,
};

pub(crate) const NOW: Context = Context {
    index: 7,
    term: 1,
    time_ms: 1_000,
    seed: 42,
};

/// The guest of `guest.wat` with each named place filled in.
pub(crate) fn guest(bodies: &[(&str, &str)]) -> Vec<u8> {
    guest_of(WIT, "0.1.0", bodies)
}

pub(crate) const WIT: &str = include_str!("../../../wit/fsm.wit");

/// The same against another interface, or another version of it.
pub(crate) fn guest_of(wit: &str, version: &str, bodies: &[(&str, &str)]) -> Vec<u8> {
    let wit = &wit.replace("@0.1.0", &format!("@{version}"));
    let text = include_str!("guest.wat").replace("@0.1.0", &format!("@{version}"));
    component(wit, text, bodies)
}

/// The guest of `counter.wat` with each named place filled in.
pub(crate) fn counter(bodies: &[(&str, &str)]) -> Vec<u8> {
    component(WIT, include_str!("counter.wat").to_owned(), bodies)
}

fn component(wit: &str, mut text: String, bodies: &[(&str, &str)]) -> Vec<u8> {
    for (place, body) in bodies {
        let mark = format!(";;{place}\n");
        assert!(text.contains(&mark), "there is no place called {place}");
        text = text.replace(&mark, &format!("{body}\n"));
    }
    let mut core = wat::parse_str(&text).expect("the guest assembles");
    let mut resolve = Resolve::default();
    let package = resolve.push_str("fsm.wit", wit).expect("the WIT parses");
    let world = resolve
        .select_world(&[package], Some("fsm"))
        .expect("the world exists");
    embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8)
        .expect("the interface can be embedded");
    ComponentEncoder::default()
        .validate(true)
        .module(&core)
        .and_then(|encoder| encoder.encode())
        .expect("the guest becomes a component")
}

pub(crate) fn load(wasm: &[u8]) -> Module {
    let engine = Engine::new(None).expect("an engine");
    engine
        .load(wasm, MAX_MODULE_BYTES)
        .expect("the module is good")
}

/// Runs `test` on an instance of the guest with these bodies, on a thread with enough stack.
pub(crate) fn with_instance<R: Send>(
    bodies: &[(&str, &str)],
    limits: &Limits,
    test: impl FnOnce(&mut Instance) -> R + Send,
) -> R {
    let module = load(&guest(bodies));
    on_guest_stack(|| test(&mut module.instantiate(limits).expect("an instance")))
}

pub(crate) fn on_guest_stack<R: Send>(test: impl FnOnce() -> R + Send) -> R {
    with_guest_stack(test).expect("a thread, and no panic on it")
}

pub(crate) fn entries<'a>(commands: &[&'a [u8]]) -> Vec<ApplyEntry<'a>> {
    commands
        .iter()
        .map(|command| ApplyEntry {
            context: NOW,
            command,
        })
        .collect()
}

/// What becomes of one entry when `apply` has this body.
pub(crate) fn fault_of_apply(body: &str) -> Fault {
    with_instance(&[("apply", body)], &LIMITS, |instance| {
        instance
            .apply(&entries(&[b"command"]))
            .expect_err("apply fails")
    })
}

pub(crate) fn trap(kind: TrapKind) -> Fault {
    Fault::Trap(kind)
}
