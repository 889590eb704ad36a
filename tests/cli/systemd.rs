//! The unit for systemd and its example of a configuration. What needs `systemd-analyze` is skipped where
//! it is not installed.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output};

use rkv_tests::NodeSpec;
use tempfile::TempDir;

use crate::{described, hack};

/// The most exposure that `systemd-analyze security` may find, of 100; a service without settings has 96.
const MAX_EXPOSURE: &str = "20";

/// Settings that systemd before 254 does not know, and says so.
const NEWER_SETTINGS: [&str; 2] = ["RestartSteps", "RestartMaxDelaySec"];

/// Runs `systemd-analyze` on the unit, unless it is not there, which is printed.
fn analyze(arguments: &[&str]) -> Option<Output> {
    let unit = fs::read_to_string(hack("systemd/rkvd.service")).expect("the unit");
    let daemon = NodeSpec::bare_command();
    let daemon = daemon.get_program().to_str().expect("a path");
    // It is not installed on this machine.
    let unit = unit.replace(
        "/usr/local/bin/rkvd --config",
        &format!("{daemon} --config"),
    );
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("rkvd.service");
    fs::write(&path, unit).expect("write");
    let mut command = Command::new("systemd-analyze");
    command.args(arguments).arg("--no-pager").arg(&path);
    match command.output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("SKIPPED: systemd-analyze cannot be run: {error}");
            None
        }
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let Some(output) = analyze(&["verify", "--man=no"]) else {
        return;
    };
    let complaints = String::from_utf8_lossy(&output.stderr);
    // It also tells of other units of this machine.
    let ours = complaints.lines().filter(|line| {
        let is_newer = NEWER_SETTINGS.iter().any(|setting| line.contains(setting));
        line.contains("rkvd.service") && !is_newer
    });
    assert_eq!(ours.collect::<Vec<_>>(), Vec::<&str>::new());
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_unit_is_kept_in_a_sandbox() {
    let threshold = format!("--threshold={MAX_EXPOSURE}");
    let Some(output) = analyze(&["security", "--offline=true", &threshold]) else {
        return;
    };
    let complaints = String::from_utf8_lossy(&output.stderr);
    if complaints.contains("unrecognized option") {
        eprintln!("SKIPPED: systemd-analyze is older than 250: {complaints}");
        return;
    }
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{complaints}{table}");
}

#[test]
fn the_unit_does_not_restart_what_was_refused_and_lets_state_machines_be_compiled() {
    let unit = fs::read_to_string(hack("systemd/rkvd.service")).expect("the unit");
    for line in [
        "ExecStart=/usr/local/bin/rkvd --config /etc/rkv/rkvd.toml",
        "Restart=on-failure",
        "RestartPreventExitStatus=2",
        "StateDirectory=rkv",
        "MemoryDenyWriteExecute=no",
    ] {
        assert!(unit.lines().any(|it| it == line), "no '{line}' in:\n{unit}");
    }
}

#[tokio::test]
async fn the_example_is_accepted_with_and_without_what_is_commented_out() {
    let example = hack("systemd/rkvd.toml");
    let settings = described(&example).await;
    // Below the folder that systemd makes for StateDirectory=rkv.
    let data_dir = "data-dir = \"/var/lib/rkv/1\"";
    assert!(settings.contains(data_dir), "{settings}");

    let text = fs::read_to_string(&example).expect("the example");
    let mut all = BTreeMap::new();
    for line in text.lines() {
        let setting = line.trim_start_matches("# ").split_once(" = ");
        if let Some((key, value)) = setting.filter(|(key, _)| !key.contains(' ')) {
            all.insert(key, value);
        }
    }
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("all.toml");
    let lines = all.iter().map(|(key, value)| format!("{key} = {value}\n"));
    fs::write(&path, lines.collect::<String>()).expect("write");
    let settings = described(&path).await;
    assert_eq!(
        settings.matches(" # file ").count(),
        all.len(),
        "{settings}"
    );
    assert!(all.len() > 8, "{all:?}");
}
