//! The command `docker`, and what it says.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

/// How long three first starts may take, in debug builds, of two tests at a time, on a loaded machine.
pub(crate) const STARTUP: Duration = Duration::from_secs(150);

/// Told by `docker info` where containers are in a virtual machine, and their addresses in there, too.
const DESKTOP: &str = "Docker Desktop";

/// Whether an engine answers whose containers can be reached. Otherwise prints why the test is skipped.
pub(crate) fn answers() -> bool {
    let asked = Command::new("docker")
        .args(["info", "--format", "{{.OperatingSystem}}"])
        .output();
    let why_not = match asked {
        Err(error) => format!("docker cannot be run: {error}"),
        Ok(output) if !output.status.success() => said(&output),
        Ok(output) if said(&output) == DESKTOP => {
            format!("{DESKTOP} does not let the containers' addresses be reached")
        }
        Ok(_) => return true,
    };
    eprintln!("SKIPPED: no Docker engine to test with: {why_not}");
    false
}

/// A name that nothing else on this machine has.
pub(crate) fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("rkv-test-{}-{number}", std::process::id())
}

/// Runs `docker` with these words, and returns what it printed.
///
/// # Panics
///
/// When it fails.
pub(crate) fn docker(words: &[&str]) -> String {
    try_docker(words).unwrap_or_else(|failed| panic!("{failed}"))
}

/// [`docker`] for those who go on without.
pub(crate) fn try_docker(words: &[&str]) -> Result<String, String> {
    let mut command = Command::new("docker");
    command.args(words);
    run(command)
}

/// Runs a command, and returns what it printed; what it complained of, when it failed.
pub(crate) fn run(mut command: Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(said(&output))
    } else {
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("{command:?}: {}: {complaint}", output.status))
    }
}

/// All that the engine knows of a container.
pub(crate) fn inspect(container: &str) -> Value {
    let text = docker(&["container", "inspect", container]);
    let mut all: Vec<Value> = serde_json::from_str(&text).expect("docker prints JSON");
    all.pop().expect("as many as were asked for")
}

/// `healthy`, `unhealthy`, `starting`.
pub(crate) fn health(container: &str) -> String {
    docker(&["inspect", "--format", "{{.State.Health.Status}}", container])
}

/// What each container has to be, whoever starts it: not root, without capabilities, on a file system
/// that it cannot write to.
///
/// # Panics
///
/// When it is not so.
pub(crate) fn assert_confined(container: &str) {
    let seen = inspect(container);
    assert_eq!(seen["Config"]["User"], "10001:10001");
    assert_eq!(seen["HostConfig"]["ReadonlyRootfs"], true);
    let status = format!("/proc/{}/status", seen["State"]["Pid"]);
    // What the kernel says, where it is this machine's.
    let Ok(status) = std::fs::read_to_string(Path::new(&status)) else {
        return;
    };
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in\n{status}"))
            .split_whitespace()
            .collect::<Vec<_>>()
    };
    assert_eq!(field("CapEff:"), ["0000000000000000"]);
    assert_eq!(field("CapBnd:"), ["0000000000000000"]);
    assert_eq!(field("NoNewPrivs:"), ["1"]);
    // Another number where the engine maps users, but never 0.
    assert!(!field("Uid:").contains(&"0"), "{status}");
}

fn said(output: &Output) -> String {
    let text = if output.status.success() {
        &output.stdout
    } else {
        &output.stderr
    };
    String::from_utf8_lossy(text).trim().to_owned()
}
