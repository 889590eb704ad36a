//! The compiler against wasmtime's interpreter: results may depend on neither.

use std::time::Instant;

use rkv_host::check::Plain;
use rkv_host::wasm::{Engine, MAX_MODULE_BYTES, Module};

use crate::check::LIMITS;
use crate::histories::{self, Subject};
use crate::kit::{NOW, guest, on_guest_stack};

const SEEDS: u64 = 3;

fn engines() -> [Engine; 2] {
    let compiled = Engine::new(None).expect("an engine");
    let interpreted = Engine::interpreted().expect("an engine");
    [compiled, interpreted]
}

fn load(engine: &Engine, wasm: &[u8]) -> Module {
    engine.load(wasm, MAX_MODULE_BYTES).expect("a good module")
}

/// Runs the subject's histories on both engines.
fn agree(subject: &Subject, mut compare: impl FnMut(&Plain<'_>, &Plain<'_>) + Send) {
    let [compiled, interpreted] = engines().map(|engine| load(&engine, &subject.wasm));
    assert_eq!(compiled.description(), interpreted.description());
    let history = |seed| subject.history(compiled.description(), seed);
    on_guest_stack(|| {
        for seed in 0..SEEDS {
            let entries = history(seed);
            let run = |module| {
                let started = Instant::now();
                let plain = Plain::run(module, &LIMITS, &entries).expect("runs");
                (plain, started.elapsed())
            };
            let ((compiled, fast), (interpreted, slow)) = (run(&compiled), run(&interpreted));
            eprintln!("{} compiled {fast:?}, interpreted {slow:?}", subject.name);
            let place = format!("{}, seed {seed}", subject.name);
            for (number, (one, other)) in
                (1..).zip(compiled.answers.iter().zip(&interpreted.answers))
            {
                assert_eq!(one, other, "{place}: entry {number}");
            }
            assert_eq!(compiled.answers.len(), interpreted.answers.len(), "{place}");
            assert!(
                compiled.snapshot == interpreted.snapshot,
                "{place}: the snapshot"
            );
            compare(&compiled, &interpreted);
        }
    });
}

#[test]
fn the_bundled_store_and_the_examples_compute_the_same_and_burn_the_same_fuel() {
    for subject in histories::examples() {
        agree(&subject, |compiled, interpreted| {
            assert_eq!(compiled.fuel_burnt, interpreted.fuel_burnt);
        });
    }
}

#[test]
fn the_fingerprint_does_not_depend_on_what_runs_the_code() {
    let [compiled, interpreted] = engines().map(|engine| engine.fingerprint());
    assert_eq!(compiled, interpreted);
}

#[test]
fn commands_trap_in_the_same_way() {
    let mut trapped = 0;
    agree(&histories::faulty(), |compiled, _| {
        trapped += usize::from(compiled.first_trap().is_some());
    });
    assert_eq!(trapped as u64, SEEDS);
}

#[test]
fn floating_point_numbers_have_the_same_bits() {
    // Answers with 0/0, a rounded square root, and a conversion that saturates.
    let body = "(local.set $area (call $list (i32.const 1) (i32.const 16)))
        (f32.store (i32.const 1024) (f32.div (f32.const 0) (f32.const 0)))
        (f64.store (i32.const 1032) (f64.sqrt (f64.convert_i64_u (local.get $seed))))
        (i64.store (i32.const 1040) (i64.trunc_sat_f64_s (f64.const 1e300)))
        (i32.store offset=4 (i32.load (local.get $area)) (i32.const 1024))
        (i32.store offset=8 (i32.load (local.get $area)) (i32.const 24))
        (return (local.get $area))";
    let wasm = guest(&[("query", body)]);
    let answers = engines().map(|engine| {
        let module = load(&engine, &wasm);
        on_guest_stack(|| {
            let mut instance = module.instantiate(&LIMITS).expect("an instance");
            instance.query(NOW, &[b""]).expect("no fault")
        })
    });
    assert_eq!(answers[0], answers[1]);
}
