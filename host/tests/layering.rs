//! Layers import only what is below them. Inside one crate the compiler does not check that, so
//! this test reads the `crate::` paths of every file.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module, and what it may import beside itself.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("tasks", &[]),
    ("clock", &[]),
    ("crowd", &[]),
    ("telemetry", &[]),
    ("metrics", &[]),
    ("request_id", &[]),
    ("bundled", &[]),
    ("progress", &[]),
    ("settle", &[]),
    ("failpoint", &[]),
    ("config", &["types"]),
    ("probe", &[]),
    (
        "cli",
        &["check", "config", "probe", "recovery", "telemetry", "types"],
    ),
    ("wasm", &["types"]),
    ("check", &["wasm", "types"]),
    ("storage", &["types", "failpoint", "metrics"]),
    ("fsm", &["storage", "wasm", "types", "failpoint", "metrics"]),
    (
        "raft",
        &[
            "fsm",
            "storage",
            "types",
            "tasks",
            "clock",
            "config",
            "crowd",
            "failpoint",
            "metrics",
            "request_id",
        ],
    ),
    (
        "api",
        &[
            "raft",
            "types",
            "tasks",
            "clock",
            "config",
            "crowd",
            "metrics",
            "request_id",
            "settle",
        ],
    ),
    (
        "recovery",
        &[
            "fsm",
            "storage",
            "wasm",
            "types",
            "config",
            "progress",
            "failpoint",
        ],
    ),
    (
        "fuzzing",
        &["api", "raft", "fsm", "storage", "wasm", "types", "bundled"],
    ),
    (
        "node",
        &[
            "api", "raft", "fsm", "storage", "wasm", "types", "tasks", "clock", "config", "bundled",
        ],
    ),
];

/// External crates that belong to one layer, and the modules that may name them.
const OWNED_CRATES: &[(&str, &[&str])] = &[
    ("redb", &["storage"]),
    ("wasmtime", &["wasm"]),
    ("axum", &["api"]),
    ("hyper", &["api"]),
    ("fail", &["failpoint"]),
    ("prometheus", &["metrics"]),
    ("toml", &["cli"]),
    ("rustix", &["metrics", "node"]),
    ("indicatif", &["progress"]),
    (
        "openraft",
        &["types", "storage", "fsm", "raft", "recovery", "node"],
    ),
];

#[test]
fn layers_import_only_what_is_below_them() {
    let mut violations = Vec::new();
    for (module, file) in source_files() {
        let text = fs::read_to_string(&file).expect("a source file is readable");
        let allowed: BTreeSet<&str> = MAY_IMPORT
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("{module} is in no layer: add it to MAY_IMPORT"))
            .1
            .iter()
            .copied()
            .collect();
        for imported in paths_after(&text, "crate::") {
            if imported != module && !allowed.contains(imported.as_str()) {
                violations.push(format!("{} imports crate::{imported}", file.display()));
            }
        }
        for (owned, owners) in OWNED_CRATES {
            let named = text.lines().any(|line| names_crate(line, owned));
            if named && !owners.contains(&module.as_str()) {
                violations.push(format!("{} names {owned}", file.display()));
            }
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// Every file of the library, with its top-level module.
fn source_files() -> Vec<(String, PathBuf)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![source.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a source folder is readable") {
            let path = entry.expect("a source folder is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path
                    .strip_prefix(&source)
                    .expect("it is in the source folder");
                let first = inside.components().next().expect("a file has a name");
                let module = first.as_os_str().to_string_lossy().replace(".rs", "");
                files.push((module, path));
            }
        }
    }
    files.retain(|(module, _)| module != "lib" && module != "bin");
    files
}

/// The first segment of every path that begins with `prefix`, comments left out.
fn paths_after(text: &str, prefix: &str) -> BTreeSet<String> {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let mut found = BTreeSet::new();
    for line in code {
        for (at, _) in line.match_indices(prefix) {
            let before = line[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
                continue;
            }
            let rest = &line[at + prefix.len()..];
            let end = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            if end > 0 {
                found.insert(rest[..end].to_owned());
            }
        }
    }
    found
}

fn names_crate(line: &str, name: &str) -> bool {
    let line = line.trim_start();
    !line.starts_with("//")
        && line.match_indices(&format!("{name}::")).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
        })
}
