//! Processes that are killed, paused and restarted.

use std::time::Duration;

use rkv_tests::wait::GENEROUS;
use tokio::time::sleep;

use super::Arena;

/// A part of a heartbeat, up to more than one, in milliseconds.
const MOMENT_MS: std::ops::Range<u64> = 0..150;

impl Arena {
    /// Long enough for something to have begun, and too short for it to be over.
    pub(super) async fn moment(&mut self) {
        let moment = self.random.u64(MOMENT_MS);
        sleep(Duration::from_millis(moment)).await;
    }

    pub(super) async fn kill_leader(&mut self) -> bool {
        let leader = self.leader().await;
        self.kill(leader);
        self.hold().await;
        true
    }

    pub(super) async fn kill_follower(&mut self) -> bool {
        let follower = self.follower().await;
        self.kill(follower);
        self.hold().await;
        true
    }

    pub(super) async fn kill_majority(&mut self) -> bool {
        let mut ids: Vec<_> = self.ids().into_iter().collect();
        self.random.shuffle(&mut ids);
        let majority = ids.len() / 2 + 1;
        self.kill_together(&ids[..majority]);
        self.hold().await;
        true
    }

    pub(super) async fn kill_all(&mut self) -> bool {
        let ids = self.cluster.ids();
        self.kill_together(&ids);
        // One after the other, at times: those that are back first decide without the others.
        if self.random.bool() {
            for id in self.ids() {
                self.start(id);
                self.moment().await;
            }
        }
        true
    }

    async fn pause(&mut self, id: u64) -> bool {
        self.cluster.node(id).pause();
        self.hold().await;
        self.cluster.node(id).resume();
        true
    }

    pub(super) async fn pause_leader(&mut self) -> bool {
        let leader = self.leader().await;
        self.pause(leader).await
    }

    pub(super) async fn pause_follower(&mut self) -> bool {
        let follower = self.follower().await;
        self.pause(follower).await
    }

    async fn terminate(&mut self, id: u64) -> bool {
        self.cluster.node(id).terminate();
        self.note_down(id);
        let exit = self.cluster.node_mut(id).exit(GENEROUS).await;
        let panic = exit.log.lines().find(|line| line.contains("panicked at"));
        if exit.status.code() != Some(0) || panic.is_some() {
            let status = exit.status;
            self.run.violation(format!(
                "node {id} did not stop in order: {status}, {panic:?}"
            ));
        }
        self.hold().await;
        true
    }

    pub(super) async fn restart_follower(&mut self) -> bool {
        let follower = self.follower().await;
        self.terminate(follower).await
    }

    pub(super) async fn hand_over(&mut self) -> bool {
        let leader = self.leader().await;
        self.terminate(leader).await
    }
}
