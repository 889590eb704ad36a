//! Links that fail.

use std::collections::BTreeSet;
use std::time::Duration;

use rkv_tests::Traffic;

use super::Arena;

/// Milliseconds of delay: from those of a distant region to more than a heartbeat.
const DELAY_MS: std::ops::Range<u64> = 5..150;

/// Bytes per second: a snapshot or a long value takes a while.
const THROTTLE: std::ops::Range<u32> = 20_000..200_000;

impl Arena {
    /// How links are cut this time.
    fn cut(&mut self) -> Traffic {
        self.tally.partitions += 1;
        let ways = [Traffic::Hold, Traffic::Swallow, Traffic::Reset];
        ways[self.random.usize(..ways.len())]
    }

    async fn isolate(&mut self, id: u64) -> bool {
        let (group, cut) = (BTreeSet::from([id]), self.cut());
        self.links.part(&group, &self.without(&group), cut);
        self.hold().await;
        true
    }

    pub(super) async fn isolate_leader(&mut self) -> bool {
        let leader = self.leader().await;
        self.isolate(leader).await
    }

    pub(super) async fn isolate_follower(&mut self) -> bool {
        let follower = self.follower().await;
        self.isolate(follower).await
    }

    pub(super) async fn halves(&mut self) -> bool {
        let (group, cut) = (self.some(), self.cut());
        self.links.part(&group, &self.without(&group), cut);
        self.hold().await;
        true
    }

    /// What the leader's group sends is lost, or what is sent to it.
    pub(super) async fn one_way(&mut self) -> bool {
        let mut group = self.some();
        let leader = self.leader().await;
        if self.random.bool() {
            group = BTreeSet::from([leader]);
        }
        let rest = self.without(&group);
        self.tally.partitions += 1;
        let ways = [Traffic::Hold, Traffic::Swallow];
        let cut = ways[self.random.usize(..ways.len())];
        if self.random.bool() {
            self.links.set_each(&group, &rest, cut);
        } else {
            self.links.set_each(&rest, &group, cut);
        }
        self.hold().await;
        true
    }

    pub(super) async fn bridge(&mut self) -> bool {
        let bridge = BTreeSet::from([self.any_of(&self.ids())]);
        let (mut left, mut right) = (BTreeSet::new(), BTreeSet::new());
        for (number, id) in self.without(&bridge).into_iter().enumerate() {
            if number % 2 == 0 {
                left.insert(id);
            } else {
                right.insert(id);
            }
        }
        let cut = self.cut();
        self.links.part(&left, &right, cut);
        self.hold().await;
        true
    }

    pub(super) async fn delay(&mut self) -> bool {
        let mut ms = || Duration::from_millis(self.random.u64(DELAY_MS));
        let (fixed, jitter) = (ms(), ms());
        let all = self.ids();
        self.links
            .set_each(&all, &all, Traffic::Delay { fixed, jitter });
        self.hold().await;
        true
    }

    pub(super) async fn throttle(&mut self) -> bool {
        let bytes_per_second = self.random.u32(THROTTLE);
        let all = self.ids();
        self.links
            .set_each(&all, &all, Traffic::Throttle { bytes_per_second });
        self.hold().await;
        true
    }

    pub(super) async fn reset(&mut self) -> bool {
        let all = self.ids();
        for _ in 0..self.random.usize(1..6) {
            self.links.set_each(&all, &all, Traffic::Reset);
            self.moment().await;
            self.links.heal();
            self.moment().await;
        }
        true
    }

    pub(super) async fn isolate_and_kill(&mut self) -> bool {
        let leader = self.leader().await;
        let (group, cut) = (BTreeSet::from([leader]), self.cut());
        let rest = self.without(&group);
        self.links.part(&group, &rest, cut);
        self.moment().await;
        let victim = self.any_of(&rest);
        self.kill(victim);
        self.hold().await;
        // It comes back while the other one is still away.
        if self.random.bool() {
            self.start(victim);
            self.hold().await;
        }
        true
    }
}
