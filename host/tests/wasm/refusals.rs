//! Modules that are refused, and what their authors are told.

use rkv_host::types::TrapKind;
use rkv_host::wasm::{Engine, Fault, MAX_MODULE_BYTES, ModuleError};

use crate::kit::{WIT, guest, guest_of};

fn refusal(wasm: &[u8]) -> ModuleError {
    let engine = Engine::new(None).expect("an engine");
    engine
        .load(wasm, MAX_MODULE_BYTES)
        .expect_err("the module is refused")
}

fn assemble(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("assembles")
}

#[test]
fn a_module_over_the_size_limit_is_refused() {
    let engine = Engine::new(None).expect("an engine");
    let error = engine.load(&[0; 11], 10).expect_err("refused");
    assert_eq!(
        error,
        ModuleError::TooLarge {
            size: 11,
            limit: 10
        }
    );
    assert!(error.to_string().contains("11 bytes"), "{error}");
}

#[test]
fn bytes_that_are_no_wasm_are_refused() {
    for bytes in [
        &b""[..],
        b"\0asm",
        b"(component)",
        b"\x7fELF\x02\x01\x01\0\0",
    ] {
        assert_eq!(refusal(bytes), ModuleError::NotWasm, "{bytes:?}");
    }
}

#[test]
fn the_author_of_a_core_module_is_told_how_to_wrap_it() {
    let error = refusal(&assemble("(module)"));
    assert_eq!(error, ModuleError::CoreModule);
    assert!(
        error.to_string().contains("wasm-tools component new"),
        "{error}"
    );
}

/// A module could have its author, and the log, told of each of its imports by its whole name.
#[test]
fn a_refusal_is_short_however_much_there_is_to_refuse() {
    let imports: String = (0..900)
        .map(|n| format!(r#"(import "{}:a/i{n}" (instance))"#, "x".repeat(200)))
        .collect();
    let text = refusal(&assemble(&format!("(component {imports})"))).to_string();
    assert!(text.len() < 4 << 10, "{} bytes", text.len());
    assert!(text.contains("and 884 more"), "{text}");
}

#[test]
fn a_torn_module_is_refused() {
    let whole = guest(&[]);
    let error = refusal(&whole[..whole.len() / 2]);
    assert!(matches!(error, ModuleError::Invalid(_)), "{error}");
}

#[test]
fn features_that_are_not_deterministic_are_refused() {
    for (feature, module) in [
        ("threads", "(memory 1 1 shared)"),
        (
            "relaxed SIMD",
            "(func (param v128 v128 v128) (result v128) (f32x4.relaxed_madd (local.get 0) (local.get 1) (local.get 2)))",
        ),
        ("GC", "(type (struct))"),
        ("exceptions", "(tag)"),
        ("memory64", "(memory i64 1)"),
        ("several memories", "(memory 1) (memory 1)"),
    ] {
        let component = assemble(&format!("(component (core module {module}))"));
        let error = refusal(&component);
        assert!(
            matches!(error, ModuleError::Invalid(_)),
            "{feature}: {error}"
        );
    }
}

#[test]
fn async_exports_are_refused() {
    let component = assemble(
        r#"(component
            (core module $m (func (export "f") unreachable))
            (core instance $i (instantiate $m))
            (func (export "f") async (canon lift (core func $i "f") async)))"#,
    );
    let error = refusal(&component);
    assert!(matches!(error, ModuleError::Invalid(_)), "{error}");
    assert!(error.to_string().contains("async"), "{error}");
}

#[test]
fn foreign_imports_are_listed() {
    let component = assemble(
        r#"(component
            (import "wasi:clocks/wall-clock@0.2.0" (instance))
            (import "acme:store/blobs" (instance)))"#,
    );
    let error = refusal(&component);
    let imports = vec![
        "wasi:clocks/wall-clock@0.2.0".to_owned(),
        "acme:store/blobs".to_owned(),
    ];
    assert_eq!(error, ModuleError::ForeignImports(imports));
    let text = error.to_string();
    assert!(
        text.contains("wasi:clocks/wall-clock@0.2.0, acme:store/blobs"),
        "{text}"
    );
    assert!(
        text.contains("wasm32-unknown-unknown") && text.contains("--stub-wasi"),
        "{text}"
    );
}

#[test]
fn only_wasi_imports_earn_the_sentence_about_wasi() {
    let error = refusal(&assemble(
        r#"(component (import "acme:store/blobs" (instance)))"#,
    ));
    assert!(!error.to_string().contains("WASI"), "{error}");
}

#[test]
fn missing_exports_are_listed() {
    let error = refusal(&assemble("(component)"));
    assert!(
        error.to_string().contains("rkv:fsm/state-machine"),
        "{error}"
    );
    let error = refusal(&assemble(
        r#"(component
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (instance (export "rkv:fsm/state-machine@0.1.0") (export "apply" (func $f))))"#,
    ));
    let ModuleError::MissingExports(missing) = &error else {
        panic!("{error}")
    };
    assert!(missing.iter().any(|name| name == "query"), "{error}");
    assert!(!missing.iter().any(|name| name == "apply"), "{error}");
}

#[test]
fn exports_of_another_type_are_refused() {
    let other = WIT.replace("code: u32", "code: s32");
    assert_ne!(WIT, other);
    let error = refusal(&guest_of(&other, "0.1.0", &[]));
    assert!(matches!(error, ModuleError::WrongTypes(_)), "{error}");
    assert!(
        error.to_string().contains("expected `u32` found `s32`"),
        "{error}"
    );
}

#[test]
fn a_point_release_of_the_interface_is_accepted_and_another_release_refused() {
    let engine = Engine::new(None).expect("an engine");
    engine
        .load(&guest_of(WIT, "0.1.9", &[]), MAX_MODULE_BYTES)
        .expect("a good module");
    let error = refusal(&guest_of(WIT, "0.2.0", &[]));
    assert!(matches!(error, ModuleError::WrongTypes(_)), "{error}");
    assert!(error.to_string().contains("rkv:fsm@0.1.0"), "{error}");
}

#[test]
fn a_module_of_several_memories_is_refused() {
    let component = assemble(
        "(component
            (core module $m (memory 1))
            (core instance (instantiate $m))
            (core instance (instantiate $m)))",
    );
    let error = refusal(&component);
    assert_eq!(
        error,
        ModuleError::TooManyResources {
            memories: 2,
            tables: 0
        }
    );
}

#[test]
fn a_module_that_fails_to_describe_itself_is_refused() {
    let error = refusal(&guest(&[("describe", "unreachable")]));
    assert_eq!(
        error,
        ModuleError::Describe(Fault::Trap(TrapKind::Unreachable))
    );
    let error = refusal(&guest(&[("describe", "(loop $l (br $l))")]));
    assert_eq!(
        error,
        ModuleError::Describe(Fault::Trap(TrapKind::OutOfFuel))
    );
}

#[test]
fn a_description_that_nobody_can_use_is_refused() {
    for (what, body) in [
        (
            "no name",
            "(i32.store offset=4 (local.get $area) (i32.const 0))",
        ),
        (
            "a long name",
            "(i32.store offset=4 (local.get $area) (i32.const 65))",
        ),
        (
            "control characters",
            "(i32.store (local.get $area) (i32.const 0))",
        ),
        (
            "many schemas",
            "(i32.store offset=24 (local.get $area) (i32.const 65))",
        ),
        (
            "an empty protocol",
            "(i32.store offset=32 (local.get $area) (i32.const 1))",
        ),
    ] {
        let error = refusal(&guest(&[("describe", body)]));
        assert!(
            matches!(error, ModuleError::BadDescription(_)),
            "{what}: {error}"
        );
    }
}

#[test]
fn a_good_module_says_what_it_is() {
    let wasm = guest(&[]);
    let engine = Engine::new(None).expect("an engine");
    let module = engine.load(&wasm, MAX_MODULE_BYTES).expect("a good module");
    assert_eq!(module.size(), wasm.len());
    assert_eq!(module.description().name, "probe");
}
