//! The two steps of building a state machine in C that are not a C compiler's: bindings from the
//! WIT package before it, a component of the core module after it.
//!
//! These are the library calls behind `wit-bindgen c` and `wasm-tools component new`, in the
//! versions of the workspace's lock file: nothing has to be installed, and the same source gives
//! the same component.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;
use wit_component::ComponentEncoder;

#[derive(Debug, Parser)]
enum Step {
    /// Writes the C bindings of the only world of a WIT package.
    CBindings {
        /// Folder of the package.
        wit: PathBuf,
        /// Folder for the header, the source, and the object file that has the world's types.
        out: PathBuf,
    },
    /// Makes a component of a core module that was linked with bindings.
    Component {
        /// The core module.
        module: PathBuf,
        /// The file to write.
        out: PathBuf,
    },
}

fn main() -> Result<()> {
    match Step::parse() {
        Step::CBindings { wit, out } => c_bindings(&wit, &out),
        Step::Component { module, out } => component(&module, &out),
    }
}

fn c_bindings(wit: &Path, out: &Path) -> Result<()> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit)?;
    let world = resolve.select_world(&[package], None)?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default()
        .build()
        .generate(&mut resolve, world, &mut files)?;
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    for (name, contents) in files.iter() {
        write(&out.join(name), contents)?;
    }
    Ok(())
}

fn component(module: &Path, out: &Path) -> Result<()> {
    let core = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&core)
        .and_then(|encoder| encoder.encode())
        .with_context(|| format!("{} cannot become a component", module.display()))?;
    write(out, &component)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
