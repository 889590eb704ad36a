//! Where the daemon under test is.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The environment variable that names another daemon than the one that was built here.
const OVERRIDE: &str = "RKVD";

/// The path of `rkvd`: `$RKVD`, else the one in the target folder that this test was built into.
///
/// # Panics
///
/// When there is none; the message says how to build it.
pub(crate) fn rkvd() -> PathBuf {
    let test = env::current_exe().expect("a running test has a path");
    locate(&test, env::var_os(OVERRIDE)).unwrap_or_else(|missing| panic!("{missing}"))
}

/// The path of `rkvd-failpoints`, beside the daemon.
///
/// # Panics
///
/// When there is none; the message says how to build it.
pub(crate) fn rkvd_failpoints() -> PathBuf {
    let path = rkvd().with_file_name("rkvd-failpoints");
    assert!(
        path.is_file(),
        "no daemon at '{}': run `cargo build -p rkv-host --features failpoints` first",
        path.display()
    );
    path
}

fn locate(test: &Path, chosen: Option<OsString>) -> Result<PathBuf, String> {
    // Cargo puts tests into {target}/{profile}/deps and binaries one above.
    let built = || {
        let folder = test.parent()?;
        let binaries = if folder.ends_with("deps") {
            folder.parent()?
        } else {
            folder
        };
        Some(binaries.join("rkvd"))
    };
    let path = chosen.map(PathBuf::from).or_else(built).unwrap_or_default();
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!(
            "no daemon at '{}': run `cargo build -p rkv-host` first, or set {OVERRIDE} to a rkvd",
            path.display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_daemon_is_found_above_the_folder_of_a_test_and_beside_a_program() {
        let target = tempfile::tempdir().expect("a folder");
        let daemon = target.path().join("rkvd");
        fs::write(&daemon, "").expect("write");
        for test in ["deps/api-0123", "rkv-robustness"] {
            let found = locate(&target.path().join(test), None);
            assert_eq!(found, Ok(daemon.clone()));
        }
    }

    #[test]
    fn the_environment_names_another_daemon() {
        let other = tempfile::NamedTempFile::new().expect("a file");
        let found = locate(Path::new("/nowhere/deps/api"), Some(other.path().into()));
        assert_eq!(found, Ok(other.path().to_owned()));
    }

    #[test]
    fn a_missing_daemon_says_how_to_build_it() {
        let missing = locate(Path::new("/nowhere/deps/api"), None).expect_err("nothing there");
        assert!(missing.contains("/nowhere/rkvd") && missing.contains("cargo build -p rkv-host"));
    }
}
