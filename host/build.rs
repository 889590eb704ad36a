//! Builds the bundled state machine (`fsm-guest/kv`) and writes it to `OUT_DIR/kv.wasm`, as a
//! component, for `src/bundled.rs` to include.
//!
//! `RKV_BUNDLED_FSM` names a component to bundle instead, relative to the workspace.

#[path = "build/guest.rs"]
mod guest;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use guest::cannot;

const OVERRIDE: &str = "RKV_BUNDLED_FSM";

/// How every component starts. A core module has another version behind the same magic.
const COMPONENT_MAGIC: &[u8] = b"\0asm\x0d\0\x01\0";

/// What the component is made of. Their tests are not.
const SOURCES: [&str; 8] = [
    "Cargo.lock",
    "wit",
    "fsm-guest/kv/Cargo.toml",
    "fsm-guest/kv/src",
    "fsm-guest/kv-protocol/Cargo.toml",
    "fsm-guest/kv-protocol/src",
    "fsm-guest/sdk/Cargo.toml",
    "fsm-guest/sdk/src",
];

fn main() {
    println!("cargo::rerun-if-env-changed={OVERRIDE}");
    if let Err(message) = bundle() {
        // Fails the build without the listing of this script's output that an exit code brings.
        for line in message.lines() {
            println!("cargo::error={line}");
        }
    }
}

fn bundle() -> Result<(), String> {
    let out_dir = path_from_cargo("OUT_DIR")?;
    let host = path_from_cargo("CARGO_MANIFEST_DIR")?;
    let workspace = host
        .parent()
        .ok_or("the host's package is not inside of a workspace")?;

    let component = match env::var_os(OVERRIDE).filter(|path| !path.is_empty()) {
        Some(path) => read_component(&workspace.join(path))?,
        None => {
            for source in SOURCES {
                println!(
                    "cargo::rerun-if-changed={}",
                    workspace.join(source).display()
                );
            }
            guest::build(workspace, "rkv-kv", &out_dir.join("guest")).map_err(|error| {
                format!("{error}\n{OVERRIDE} names a component to bundle instead")
            })?
        }
    };
    let target = out_dir.join("kv.wasm");
    fs::write(&target, component).map_err(|error| cannot("write", &target, error))
}

fn read_component(path: &Path) -> Result<Vec<u8>, String> {
    println!("cargo::rerun-if-changed={}", path.display());
    let bytes = fs::read(path).map_err(|error| cannot("read", path, error))?;
    if bytes.starts_with(COMPONENT_MAGIC) {
        Ok(bytes)
    } else {
        Err(format!(
            "{OVERRIDE}: {} is not a WebAssembly component",
            path.display()
        ))
    }
}

fn path_from_cargo(variable: &str) -> Result<PathBuf, String> {
    let path = env::var_os(variable).map(PathBuf::from);
    path.ok_or_else(|| format!("{variable} is not set: this is a build script, run by cargo"))
}
