//! The interface of state machines only ever grows: components that were built against a published
//! version must go on to run.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use wit_component::{WitPrinter, semver_check};
use wit_parser::{PackageId, Resolve};

fn parse(resolve: &mut Resolve, text: &str) -> Result<PackageId> {
    resolve.push_str("fsm.wit", text)
}

/// The interface without what people read.
fn canonical(text: &str) -> Result<String> {
    let mut resolve = Resolve::default();
    let package = parse(&mut resolve, text)?;
    let mut printer = WitPrinter::default();
    printer.emit_docs(false);
    printer.print(&resolve, package, &[])?;
    Ok(printer.output.to_string())
}

fn version(text: &str) -> Result<String> {
    let mut resolve = Resolve::default();
    let package = parse(&mut resolve, text)?;
    let version = resolve.packages[package].name.version.as_ref();
    Ok(version.context("the package has no version")?.to_string())
}

/// Whether a component that was built against `published` fits a host of `present`.
fn check(published: &str, present: &str) -> Result<()> {
    if version(published)? == version(present)? {
        ensure!(
            canonical(published)? == canonical(present)?,
            "a published version was changed: raise it, and add instead"
        );
        return Ok(());
    }
    let mut resolve = Resolve::default();
    let published = parse(&mut resolve, published)?;
    let present = parse(&mut resolve, present)?;
    let world = |package| resolve.select_world(&[package], Some("fsm"));
    let (published, present) = (world(published)?, world(present)?);
    semver_check(resolve, published, present)
}

fn present() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/fsm.wit");
    fs::read_to_string(path).expect("the interface")
}

#[test]
fn every_published_version_still_fits() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/published");
    let mut checked = 0;
    for file in fs::read_dir(folder).expect("the published versions") {
        let path = file.expect("a file").path();
        let published = fs::read_to_string(&path).expect("an interface");
        check(&published, &present())
            .unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
        checked += 1;
    }
    assert!(checked > 0);
}

#[test]
fn a_changed_record_is_noticed_with_and_without_a_new_version() {
    let published = present();
    let grown = published.replace("seed: u64,", "seed: u64,\n    node: u64,");
    assert_ne!(published, grown);
    check(&published, &grown).expect_err("the version is the same");
    let raised = grown.replace("rkv:fsm@0.1.0", "rkv:fsm@0.1.1");
    check(&published, &raised).expect_err("components of 0.1.0 have other records");
}

#[test]
fn a_new_import_in_a_point_release_is_fine() {
    let published = present();
    let grown = published.replace("rkv:fsm@0.1.0", "rkv:fsm@0.1.1").replace(
        "write: func(level: u32, message: string);",
        "write: func(level: u32, message: string);\n  flush: func();",
    );
    check(&published, &grown).expect("older components do not call it");
}
