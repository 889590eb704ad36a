//! Watches what nodes say of themselves: what Raft promises holds at every moment, not just for
//! clients.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use rkv_tests::Client;
use rkv_tests::views::Stats;
use tokio::time::{sleep, timeout};

use crate::run::Run;

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(100);

/// Nodes that are paused or gone are looked at again the next time.
const PATIENCE: Duration = Duration::from_millis(500);

/// A node's figures, if it tells them at once.
pub(crate) async fn stats(node: &Client) -> Option<Stats> {
    let answer = timeout(PATIENCE, node.try_send(Method::GET, "/stats", "")).await;
    let answer = answer.ok()?.ok()?;
    Some(answer.expect(200).json())
}

/// Looks at all members until the run is over.
pub(crate) async fn observe(run: Arc<Run>) {
    let mut invariants = Invariants::default();
    let client = Client::new(run.any_member(&mut fastrand::Rng::new()));
    while !run.is_over() {
        let members = run.members();
        for (id, address) in members {
            let start = run.starts(id);
            let Some(stats) = stats(&client.at(address)).await else {
                continue;
            };
            // An answer of the process before would be compared with those of the next.
            if run.starts(id) == start
                && let Err(broken) = invariants.look(start, &stats)
            {
                run.violation(broken);
                return;
            }
        }
        sleep(INTERVAL).await;
    }
}

/// Digests that are remembered: nodes that lag behind by more are compared at the end.
const MAX_DIGESTS: usize = 10_000;

/// What was seen of each node, of each term, and of each entry.
#[derive(Debug, Default)]
struct Invariants {
    leaders: BTreeMap<u64, u64>,
    nodes: BTreeMap<u64, Seen>,
    digests: BTreeMap<u64, String>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    start: u64,
    term: u64,
    committed: Option<u64>,
    applied: Option<u64>,
}

impl Invariants {
    fn look(&mut self, start: u64, stats: &Stats) -> Result<(), String> {
        let (id, term) = (stats.id, stats.term);
        if stats.state == "Leader" {
            let leader = *self.leaders.entry(term).or_insert(id);
            if leader != id {
                return Err(format!("nodes {leader} and {id} both lead in term {term}"));
            }
        }
        self.look_at_state(stats)?;
        let now = Seen {
            start,
            term,
            committed: stats.committed_index,
            applied: stats.applied_index,
        };
        let before = match self.nodes.entry(id) {
            Entry::Vacant(entry) => *entry.insert(now),
            Entry::Occupied(mut entry) => entry.insert(now),
        };
        // A term is on disk before anybody acts on it. What was committed and applied may be learnt
        // again after a restart.
        let restarted = before.start != start;
        let went_back = [
            ("term", Some(before.term) > Some(term)),
            (
                "committed index",
                !restarted && before.committed > now.committed,
            ),
            ("applied index", !restarted && before.applied > now.applied),
        ];
        for (what, went_back) in went_back {
            if went_back {
                return Err(format!(
                    "the {what} of node {id} went back: {before:?}, then {now:?}"
                ));
            }
        }
        Ok(())
    }

    /// Nodes that have applied the same entries have computed the same.
    fn look_at_state(&mut self, stats: &Stats) -> Result<(), String> {
        let (id, fsm) = (stats.id, &stats.fsm);
        if fsm.quarantine.is_some() || fsm.repairs > 0 {
            return Err(format!("node {id} has computed something else: {fsm:?}"));
        }
        let Some(mark) = &fsm.digest else {
            return Ok(());
        };
        let known = self.digests.entry(mark.index);
        let known = known.or_insert_with(|| mark.digest.clone());
        if *known != mark.digest {
            return Err(format!(
                "at entry {} node {id} has the digest {}, and another node {known}",
                mark.index, mark.digest
            ));
        }
        if self.digests.len() > MAX_DIGESTS {
            self.digests.pop_first();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rkv_tests::views::{FsmStats, Mark};

    use super::*;

    fn stats(id: u64, state: &str, term: u64, index: u64) -> Stats {
        Stats {
            id,
            state: state.to_owned(),
            term,
            leader: None,
            last_log_index: None,
            committed_index: Some(index),
            applied_index: Some(index),
            snapshot_index: None,
            purged_index: None,
            voters: Vec::new(),
            learners: Vec::new(),
            fsm: FsmStats {
                memory_bytes: 0,
                digest: None,
                state_digest: None,
                quarantine: None,
                repairs: 0,
                traps: 0,
                snapshots: Vec::new(),
            },
        }
    }

    #[test]
    fn nodes_that_differ_at_an_entry_are_found() {
        let marked = |id, index, digest: &str| {
            let digest = digest.to_owned();
            let mut stats = stats(id, "Follower", 1, 9);
            stats.fsm.digest = Some(Mark { index, digest });
            stats
        };
        let mut invariants = Invariants::default();
        assert_eq!(invariants.look(1, &marked(1, 5, "a")), Ok(()));
        assert_eq!(invariants.look(1, &marked(2, 6, "b")), Ok(()));
        assert_eq!(invariants.look(1, &marked(3, 5, "a")), Ok(()));
        let broken = invariants.look(1, &marked(2, 5, "b"));
        assert!(broken.is_err_and(|broken| broken.contains("entry 5")));
        let mut healed = stats(1, "Follower", 1, 9);
        healed.fsm.repairs = 1;
        assert!(invariants.look(1, &healed).is_err());
    }

    #[test]
    fn two_leaders_of_one_term_are_found() {
        let mut invariants = Invariants::default();
        assert_eq!(invariants.look(1, &stats(1, "Leader", 5, 1)), Ok(()));
        assert_eq!(invariants.look(1, &stats(2, "Leader", 6, 1)), Ok(()));
        let broken = invariants.look(1, &stats(3, "Leader", 5, 1));
        assert_eq!(broken, Err("nodes 1 and 3 both lead in term 5".to_owned()));
    }

    #[test]
    fn a_term_never_goes_back_and_an_index_only_with_a_restart() {
        let mut invariants = Invariants::default();
        assert_eq!(invariants.look(1, &stats(1, "Follower", 5, 9)), Ok(()));
        assert_eq!(invariants.look(2, &stats(1, "Follower", 5, 7)), Ok(()));
        let broken = invariants.look(2, &stats(1, "Follower", 5, 6));
        assert!(broken.is_err_and(|broken| broken.contains("committed index")));
        let broken = invariants.look(3, &stats(1, "Follower", 4, 9));
        assert!(broken.is_err_and(|broken| broken.contains("term")));
    }
}
