//! Nodes that end at a named place in the middle of something, as `kill -9` at that very moment.

use tokio::time::{Instant, sleep};

use super::Arena;
use super::arena::PAUSE;

/// Places that any node comes by under load, with snapshots all the time.
const ANY_TIME: [&str; 7] = [
    "log-before-commit",
    "log-after-commit",
    "apply-before",
    "apply-after",
    "snapshot-before-publish",
    "snapshot-after-publish",
    "install-before",
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
