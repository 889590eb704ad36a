//! The folder of compiled modules.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rkv_host::wasm::{Engine, EngineError, MAX_MODULE_BYTES};
use tempfile::TempDir;

use crate::kit::guest;

/// Loads `wasm` with an engine that has just started, and says whether it had to compile.
fn compiles(dir: &Path, wasm: &[u8]) -> bool {
    let engine = Engine::new(Some(dir.to_owned())).expect("an engine");
    engine
        .load(wasm, MAX_MODULE_BYTES)
        .expect("the module is good");
    engine.compilations() == 1
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

fn only_entry(dir: &Path) -> PathBuf {
    let entries = entries(dir);
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries[0].clone()
}

#[test]
fn a_module_is_compiled_once() {
    let dir = TempDir::new().expect("a folder");
    let (one, two) = (guest(&[]), guest(&[("apply", "unreachable")]));
    assert!(compiles(dir.path(), &one));
    assert!(!compiles(dir.path(), &one));
    assert!(
        compiles(dir.path(), &two),
        "another module is another entry"
    );
    assert_eq!(entries(dir.path()).len(), 2);
}

#[test]
fn a_damaged_entry_is_rebuilt() {
    let dir = TempDir::new().expect("a folder");
    let wasm = guest(&[]);
    assert!(compiles(dir.path(), &wasm));
    let path = only_entry(dir.path());
    let good = fs::read(&path).expect("the entry");
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for damaged in [&flipped[..], &good[..good.len() / 2], &good[..10], b""] {
        fs::write(&path, damaged).expect("the entry can be damaged");
        assert!(compiles(dir.path(), &wasm), "{} bytes", damaged.len());
        assert_eq!(fs::read(&path).expect("the entry").len(), good.len());
        assert!(!compiles(dir.path(), &wasm), "the entry is good again");
    }
}

#[test]
fn entries_of_other_engines_are_removed() {
    let dir = TempDir::new().expect("a folder");
    let wasm = guest(&[]);
    assert!(compiles(dir.path(), &wasm));
    let ours = only_entry(dir.path());
    let id = "00".repeat(32);
    fs::copy(
        &ours,
        dir.path()
            .join(format!("{id}-47.0.0-0000000000000000.cwasm")),
    )
    .expect("copy");
    assert!(!compiles(dir.path(), &wasm));
    assert_eq!(only_entry(dir.path()), ours);
}

#[test]
fn the_folder_is_closed_to_other_users() {
    let dir = TempDir::new().expect("a folder");
    let cache = dir.path().join("compiled");
    fs::create_dir(&cache).expect("a folder");
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).expect("open to all");
    assert!(compiles(&cache, &guest(&[])));
    let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    assert_eq!(mode(&cache), 0o700);
    assert_eq!(mode(&only_entry(&cache)), 0o600);
}

#[test]
fn only_so_many_entries_are_kept() {
    let dir = TempDir::new().expect("a folder");
    let engine = Engine::new(Some(dir.path().to_owned())).expect("an engine");
    for n in 0..18 {
        let wasm = guest(&[("apply", &format!("(drop (i32.const {n}))"))]);
        engine
            .load(&wasm, MAX_MODULE_BYTES)
            .expect("the module is good");
    }
    assert_eq!(entries(dir.path()).len(), 16);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let dir = TempDir::new().expect("a folder");
    let file = dir.path().join("file");
    fs::write(&file, b"").expect("a file");
    let error = Engine::new(Some(file.join("compiled"))).expect_err("no engine");
    assert!(matches!(&error, EngineError::CacheDir { path, .. } if path.starts_with(&file)));
    assert!(error.to_string().contains("compiled"), "{error}");
}
