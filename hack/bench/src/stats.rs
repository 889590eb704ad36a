//! What the scenarios read from `GET /stats`: a view of their own, so that a renamed field fails.

use serde::Deserialize;

/// A node's figures. Indexes are null until the node has such an entry.
#[derive(Debug, Deserialize)]
pub(crate) struct Stats {
    pub(crate) state: String,
    pub(crate) committed_index: Option<u64>,
    pub(crate) applied_index: Option<u64>,
    pub(crate) snapshot_index: Option<u64>,
    pub(crate) voters: Vec<u64>,
    pub(crate) log: LogStats,
    pub(crate) fsm: FsmStats,
}

/// Counters since the process started.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct LogStats {
    /// Transactions, of one fsync each.
    pub(crate) commits: u64,
    /// Log entries in them.
    pub(crate) entries: u64,
}

/// The state machine.
#[derive(Debug, Deserialize)]
pub(crate) struct FsmStats {
    /// Linear memory of the guest, in bytes.
    pub(crate) memory_bytes: u64,
    /// Commands that trapped since the process started.
    pub(crate) traps: u64,
    /// Of all entries up to the last one applied, with what came of them.
    pub(crate) digest: Option<Mark>,
}

/// A digest with the last entry that it covers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Mark {
    pub(crate) index: u64,
    pub(crate) digest: String,
}

impl Stats {
    /// Entries that were applied after those that the newest snapshot covers.
    pub(crate) fn entries_behind_snapshot(&self) -> u64 {
        // Index 0 is an entry too.
        let count = |index: Option<u64>| index.map_or(0, |index| index + 1);
        count(self.applied_index).saturating_sub(count(self.snapshot_index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(applied: &str, snapshot: &str) -> Stats {
        let json = format!(
            r#"{{"id":1,"state":"Leader","committed_index":9,"applied_index":{applied},
                "snapshot_index":{snapshot},"voters":[1],"log":{{"commits":1,"entries":2}},
                "fsm":{{"memory_bytes":65536,"module":"x","traps":0,"digest":null}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn entries_are_counted_from_the_first_when_there_is_no_snapshot() {
        assert_eq!(stats("9", "null").entries_behind_snapshot(), 10);
        assert_eq!(stats("null", "null").entries_behind_snapshot(), 0);
    }

    #[test]
    fn a_snapshot_covers_its_own_entry() {
        assert_eq!(stats("9", "9").entries_behind_snapshot(), 0);
        assert_eq!(stats("9", "4").entries_behind_snapshot(), 5);
    }

    #[test]
    fn a_missing_counter_is_an_error() {
        assert!(serde_json::from_str::<Stats>(r#"{"state":"Leader","voters":[]}"#).is_err());
    }
}
