//! Nodes that end at a named place in the middle of something, as `kill -9` at that very moment.

use tokio::time::{Instant, sleep};

use super::Arena;
use super::arena::PAUSE;

/// Places that any node comes by under load, with snapshots all the time.
const ANY_TIME: [&str; 12] = [
    "log-write-fails",
    "log-before-commit",
    "log-after-commit",
    "apply-before",
    "apply-after",
    "snapshot-before-publish",
    "snapshot-after-publish",
    "snapshot-send",
    "snapshot-receive",
    "snapshot-received",
    "install-before",
    "install-after",
];

/// Places that a node comes by while the state machine is switched.
pub(super) const SWITCHING: [&str; 5] = [
    "activate-before",
    "previous-before-publish",
    "previous-after-publish",
    "activate-with-state",
    "activate-after",
];

/// So often, at the most, a node comes by before it ends.
const MAX_SPARED: u32 = 30;

impl Arena {
    pub(super) async fn failpoint(&mut self) -> bool {
        let victim = self.any_of(&self.ids());
        let spared = self.random.u32(..MAX_SPARED);
        self.arm(victim, &ANY_TIME, spared);
        let patience = self.draw_hold();
        let armed = Instant::now();
        while self.cluster.node_mut(victim).is_running() && armed.elapsed() < patience {
            sleep(PAUSE).await;
        }
        self.end_armed(victim);
        true
    }

    /// Restarts a node so that it ends at one of these places, after it has come by `spared` times.
    pub(super) fn arm(&mut self, victim: u64, places: &[&str], spared: u32) {
        let place = places[self.random.usize(..places.len())];
        self.kill(victim);
        self.start_armed(victim, Some(format!("{place}={spared}*off->1*return")));
    }

    /// Ends a node that was armed, if it has not met its failpoint.
    pub(super) fn end_armed(&mut self, victim: u64) {
        self.cluster.node_mut(victim).kill9();
        self.note_down(victim);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Once in the life of a module: `upgrade/crash.rs` goes there.
    const UPLOADING: [&str; 3] = ["module-chunk", "module-before-store", "module-after-store"];

    /// Of tools that work where no node runs: `recovery/` goes there.
    const RECOVERING: [&str; 5] = [
        "recover-after-log",
        "recover-before-log",
        "restore-before-log",
        "restore-before-name",
        "restore-before-snapshot",
    ];

    /// Names in the calls of `crash_at` in the daemon's sources.
    fn named_in(folder: &Path, names: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("the daemon's sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                named_in(&path, names);
                continue;
            }
            let text = fs::read_to_string(&path).expect("a source file");
            let calls = text.split("crash_at(\"").skip(1);
            names.extend(calls.filter_map(|call| Some(call.split_once('"')?.0.to_owned())));
        }
    }

    #[test]
    fn every_place_where_a_node_may_end_is_tried() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/src");
        let mut names = BTreeSet::new();
        named_in(&sources, &mut names);
        assert!(names.contains("log-before-commit"), "{names:?}");
        let tried = ANY_TIME.iter().chain(&SWITCHING).chain(&UPLOADING);
        let tried = tried.chain(&RECOVERING);
        for name in tried {
            names.remove(*name);
        }
        assert!(names.is_empty(), "in no list here: {names:?}");
    }
}
