//! A counter component, loaded, and what tests do with an instance of it.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rkv_guest_tools::{Language, counter};
use rkv_host::types::{Description, Failure, Limits};
use rkv_host::wasm::{
    ApplyEntry, Context, Engine, Instance, MAX_MODULE_BYTES, Module, Outcome, with_guest_stack,
};

pub(crate) const NOW: Context = Context {
    index: 7,
    term: 1,
    time_ms: 1_000,
    seed: 42,
};

pub(crate) type Applied = Result<Outcome, Failure>;

/// Runs `test` once for each language that can be built here.
pub(crate) fn for_each_counter(test: impl Fn(&Module) + Sync) {
    for language in [Language::C, Language::Python] {
        if let Some(module) = load(language) {
            eprintln!("the counter in {language}");
            on_guest_stack(|| test(&module));
        }
    }
}

/// The component, compiled. `None` where it cannot be built.
pub(crate) fn load(language: Language) -> Option<Module> {
    // The compiled form of a module in Python takes many seconds to make, so it is kept, and one
    // test at a time looks for it.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let bytes = counter(language)?;
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("counters");
    let engine = Engine::new(Some(cache)).expect("an engine");
    let module = engine.load(bytes, MAX_MODULE_BYTES);
    Some(module.expect("a state machine"))
}

pub(crate) fn on_guest_stack<R: Send>(test: impl FnOnce() -> R + Send) -> R {
    with_guest_stack(test).expect("a thread, and no panic on it")
}

pub(crate) fn start(module: &Module) -> Instance {
    module.instantiate(&Limits::DEFAULT).expect("an instance")
}

pub(crate) fn apply<C: AsRef<[u8]>>(instance: &mut Instance, commands: &[C]) -> Vec<Applied> {
    let entry = |command| ApplyEntry {
        context: NOW,
        command,
    };
    let batch: Vec<_> = commands.iter().map(AsRef::as_ref).map(entry).collect();
    instance.apply(&batch).expect("no trap")
}

/// The answer to one query, or the code of its refusal.
pub(crate) fn ask(instance: &mut Instance, query: &str) -> Result<String, u32> {
    let answers = instance.query(NOW, &[query.as_bytes()]).expect("no trap");
    let [answer] = <[_; 1]>::try_from(answers).expect("one answer");
    answer
        .map(|bytes| String::from_utf8(bytes).expect("text"))
        .map_err(|failure| failure.code)
}

pub(crate) fn snapshot(instance: &mut Instance, chunk_bytes: u32) -> Vec<u8> {
    let snapshot = instance.open_snapshot().expect("opens");
    let mut bytes = Vec::new();
    loop {
        let chunk = instance.read_snapshot(&snapshot, chunk_bytes);
        let chunk = chunk.expect("reads");
        if chunk.is_empty() {
            break;
        }
        bytes.extend(chunk);
    }
    instance.close_snapshot(snapshot).expect("closes");
    bytes
}

/// Restores in pieces of `chunk_bytes`. An error is the code of the refusal.
pub(crate) fn restore(
    instance: &mut Instance,
    saved: &Description,
    bytes: &[u8],
    chunk_bytes: usize,
) -> Result<(), u32> {
    let restore = instance.begin_restore(saved).expect("begins");
    for chunk in bytes.chunks(chunk_bytes) {
        let written = instance.restore_chunk(&restore, chunk).expect("no trap");
        if let Err(failure) = written {
            instance.abort_restore(restore).expect("is dropped");
            return Err(failure.code);
        }
    }
    let finished = instance.finish_restore(restore).expect("no trap");
    finished.map_err(|failure| failure.code)
}
