//! Every file operation of a data directory fails in turn, is the last before a kill, or the last
//! before the power goes. What was acknowledged has to be there and whole, and nothing else served.

use std::path::Path;

use fastrand::Rng;
use node::Node;

use super::testing::{Fault, TestBackend, TestFiles, seeds};
use super::{Database, LogFile, LogLimits, LogStore, StorageError};

mod node;

/// Outcomes of a power failure that are tried at each operation, a seed each.
const IMAGES: u64 = 8;

#[test]
fn a_new_database_is_whole_or_not_there_wherever_the_power_goes() {
    made_at_once("node.redb", |files, path| {
        Database::open_in(files, path).map(drop)
    });
}

#[test]
fn a_new_log_is_whole_or_not_there_wherever_the_power_goes() {
    let database = Database::with_backend(TestBackend::default()).unwrap();
    made_at_once("log.wal", |files, path| {
        let file = LogFile::open_in(files, path, &database)?;
        LogStore::open(file, LogLimits::DEFAULT).map(drop)
    });
}

/// Has the power fail at every operation of making a file.
fn made_at_once(name: &str, open: impl Fn(&TestFiles, &Path) -> Result<(), StorageError>) {
    let open = |files: &TestFiles| open(files, &files.root().join(name));
    let mut operations = 0;
    loop {
        let files = TestFiles::new();
        files.arm(operations, Fault::Power);
        let opened = open(&files);
        if files.fired().is_none() {
            opened.unwrap();
            break;
        }
        opened.unwrap_err();
        for seed in seeds(IMAGES) {
            let found = files.power_failure(&mut Rng::with_seed(seed));
            if let Err(error) = open(&found) {
                panic!("operation {operations}, seed {seed}: {error}");
            }
            let temp = found.root().join(name).with_extension("tmp");
            assert!(!temp.exists());
        }
        // After a kill the file is relied upon, so the power must not take its name.
        let files = files.kill();
        open(&files).unwrap();
        for seed in seeds(IMAGES) {
            let found = files.power_failure(&mut Rng::with_seed(seed));
            let there = found.root().join(name).exists();
            assert!(there, "operation {operations}, seed {seed}");
        }
        operations += 1;
    }
    assert!(operations > 3, "{operations}");
}

#[test]
fn a_power_failure_at_any_operation_takes_nothing_that_was_acknowledged() {
    every_operation(Fault::Power, |node| {
        node.run_until_failure();
        node.power_failures();
    });
}

/// What a killed process had not synced is there, as if it were, until the power goes.
#[test]
fn what_is_told_after_a_kill_outlasts_the_power() {
    every_operation(Fault::Power, |node| {
        node.run_until_failure();
        node.restart();
        node.power_failures();
    });
}

/// Such as the name of the data directory itself.
#[test]
fn what_is_done_after_a_kill_outlasts_the_power() {
    every_operation(Fault::Power, |node| {
        node.run_until_failure();
        node.restart();
        node.put(b"third module").unwrap();
        node.power_failures();
    });
}

#[test]
fn what_succeeds_where_it_failed_before_outlasts_the_power() {
    for fault in [Fault::Once, Fault::Full] {
        every_operation(fault, |node| {
            let failed = node.run_until_failure();
            node.files.mend();
            failed.map_or(Ok(()), |step| step(node)).unwrap();
            node.power_failures();
        });
    }
}

#[test]
fn a_failed_operation_can_be_done_again() {
    for fault in [Fault::Once, Fault::Full] {
        every_operation(fault, |node| {
            node.run_all();
            node.power_failures();
        });
    }
}

#[test]
fn a_failed_operation_takes_nothing_that_was_acknowledged() {
    every_operation(Fault::Once, |node| {
        node.run_until_failure();
        node.restart();
        node.power_failures();
    });
}

/// Otherwise the tests above would prove nothing.
#[test]
fn a_disk_that_only_says_that_it_syncs_is_found_out() {
    let mut node = Node::new("a disk that lies".to_owned());
    node.files.lie();
    node.run_until_failure();
    let caught = |seed: &u64| {
        let left = node.files.power_failure(&mut Rng::with_seed(*seed));
        node.compare(&left).is_err()
    };
    let caught = (0..20).filter(caught).count();
    assert!(caught >= 10, "{caught} of 20");
}

/// Runs `story` with the fault at the first operation, the second, and so on.
fn every_operation(fault: Fault, story: impl Fn(&mut Node)) {
    let mut operations = 0;
    loop {
        let mut node = Node::new(format!("{fault:?} at operation {operations}"));
        node.files.arm(operations, fault);
        story(&mut node);
        if !node.failed {
            break;
        }
        operations += 1;
    }
    assert!(operations > 100, "{operations}");
}
