//! Builds the bundled state machine (`fsm-guest/kv`) and writes it to `OUT_DIR/kv.wasm`, as a
//! component, for `src/bundled.rs` to include.
//!
//! `RKV_BUNDLED_FSM` names a component to bundle instead, relative to the workspace.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";

const OVERRIDE: &str = "RKV_BUNDLED_FSM";

/// Where Debian's package rustc-web puts its compiler.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// Where Debian's package rust-web-src puts the source of the standard library.
const DEBIAN_LIBRARY: &str = "/usr/lib/rustlib/src/rust/library/Cargo.lock";

/// Where Debian's package rust-web-llvm puts its linker, for machines without rustup's.
const DEBIAN_LINKER: &str = "/usr/bin/rust-lld";

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

/// Prefixes of the variables that the outer cargo, or its user, sets for the host's build, and that
/// would bend the guest's: flags of another target, clippy as the compiler, profiles.
const OUTER_VARIABLES: [&str; 7] = [
    "CARGO_BUILD_",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "CARGO_UNSTABLE_",
    "RUSTC",
    "RUSTFLAGS",
];

/// Fast code without unwinding, and with function names for the backtraces of traps.
const PROFILE: [(&str, &str); 6] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3"),
    ("CARGO_PROFILE_RELEASE_LTO", "true"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
    ("CARGO_PROFILE_RELEASE_STRIP", "debuginfo"),
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
            wrap(&build_guest(workspace, &out_dir.join("guest"))?)?
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

/// Compiles the guest in a target folder of its own, whose lock the outer cargo does not hold, and
/// reads the core module.
fn build_guest(workspace: &Path, target_dir: &Path) -> Result<Vec<u8>, String> {
    let toolchain = Toolchain::find()?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if OUTER_VARIABLES
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            cargo.env_remove(&name);
        }
    }
    cargo
        .current_dir(workspace)
        // `rustc` and not `build`: link-time optimisation needs the cdylib to be built alone.
        .args([
            "rustc",
            "--locked",
            "--release",
            "--package",
            "rkv-kv",
            "--lib",
        ])
        .args(["--crate-type", "cdylib", "--target", TARGET, "--target-dir"])
        .arg(target_dir)
        .envs(PROFILE)
        // Empty means none, also where a configuration file names one.
        .envs([("RUSTC_WRAPPER", ""), ("RUSTC_WORKSPACE_WRAPPER", "")]);
    toolchain.configure(&mut cargo, workspace);

    let output = cargo
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "the bundled state machine (package rkv-kv) did not compile for {TARGET}:\n{reason}"
        ));
    }
    let module = target_dir.join(TARGET).join("release/rkv_kv.wasm");
    fs::read(&module).map_err(|error| cannot("read", &module, error))
}

fn wrap(module: &[u8]) -> Result<Vec<u8>, String> {
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|encoder| encoder.encode())
        .map_err(|error| format!("the bundled state machine is no component: {error:#}"))
}

/// A compiler for the guest.
struct Toolchain {
    rustc: OsString,
    /// Debian's compiler comes with the source of the standard library instead of a build of it,
    /// and without a linker for WebAssembly.
    build_std_with_linker: Option<PathBuf>,
}

impl Toolchain {
    fn find() -> Result<Self, String> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let libraries = sysroot(&rustc)?.join("lib/rustlib");
        if libraries.join(TARGET).join("lib").is_dir() {
            return Ok(Self {
                rustc,
                build_std_with_linker: None,
            });
        }
        let host = env::var_os("HOST").unwrap_or_default();
        let linkers = [
            libraries.join(host).join("bin/rust-lld"),
            DEBIAN_LINKER.into(),
        ];
        let linker = linkers.into_iter().find(|path| path.is_file());
        let debian = [DEBIAN_RUSTC, DEBIAN_LIBRARY]
            .iter()
            .all(|path| Path::new(path).is_file());
        match linker {
            Some(linker) if debian => Ok(Self {
                rustc: DEBIAN_RUSTC.into(),
                build_std_with_linker: Some(linker),
            }),
            _ => Err(format!(
                "the bundled state machine needs the Rust target {TARGET}, which is not \
                 installed: run hack/setup.sh, or `rustup target add {TARGET}`, or set {OVERRIDE} \
                 to a built component"
            )),
        }
    }

    fn configure(&self, cargo: &mut Command, workspace: &Path) {
        // Without a builder's folders in its panic messages, the same source gives the same module
        // id wherever it is built.
        let mut flags = vec![remap(workspace, "rkv")];
        if let Some(home) = cargo_home() {
            flags.push(remap(&home, "cargo"));
        }
        if let Some(linker) = &self.build_std_with_linker {
            let mut flag = OsString::from("-Clinker=");
            flag.push(linker);
            flags.push(flag);
            cargo
                .arg("-Zbuild-std=std,panic_abort")
                .env("RUSTC_BOOTSTRAP", "1");
        }
        cargo.env("RUSTC", &self.rustc);
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f".as_ref()));
    }
}

fn sysroot(rustc: &OsStr) -> Result<PathBuf, String> {
    let cannot =
        |reason: String| format!("cannot ask {} for its sysroot: {reason}", rustc.display());
    let output = Command::new(rustc).args(["--print", "sysroot"]).output();
    let output = output.map_err(|error| cannot(error.to_string()))?;
    if !output.status.success() {
        return Err(cannot(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let path = String::from_utf8(output.stdout).map_err(|error| cannot(error.to_string()))?;
    Ok(path.trim_end().into())
}

fn cargo_home() -> Option<PathBuf> {
    let named = env::var_os("CARGO_HOME").map(PathBuf::from);
    named.or_else(|| Some(env::home_dir()?.join(".cargo")))
}

fn remap(from: &Path, to: &str) -> OsString {
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(from);
    flag.push("=/");
    flag.push(to);
    flag
}

fn path_from_cargo(variable: &str) -> Result<PathBuf, String> {
    let path = env::var_os(variable).map(PathBuf::from);
    path.ok_or_else(|| format!("{variable} is not set: this is a build script, run by cargo"))
}

fn cannot(action: &str, path: &Path, error: std::io::Error) -> String {
    format!("cannot {action} {}: {error}", path.display())
}
