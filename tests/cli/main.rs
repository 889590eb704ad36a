//! How a node is set up: settings from flags, the environment and a file, and as a service of systemd.

mod config;
mod systemd;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rkv_tests::wait::GENEROUS;
use rkv_tests::{Exit, NodeSpec, Process};
use tempfile::TempDir;

/// Runs `rkvd` to its end, with these variables in its environment.
async fn rkvd<A: AsRef<OsStr>>(arguments: &[A], environment: &[(&str, &OsStr)]) -> Exit {
    let folder = TempDir::new().expect("a folder");
    let mut command = NodeSpec::bare_command();
    command
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(folder.path());
    let mut process = Process::spawn(command, &folder.path().join("output")).expect("it starts");
    process.exit(GENEROUS).await
}

/// Runs `rkvd config` with a file, which it has to accept; what it prints.
async fn described(file: &Path) -> String {
    let exit = rkvd(&["config".as_ref(), "--config".as_ref(), file], &[]).await;
    assert!(exit.status.success(), "{}", exit.log);
    exit.log
}

fn hack(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../hack")
        .join(file)
}
