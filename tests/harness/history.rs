//! What a client knows of the writes that it sent, and what follows from that.

use std::collections::BTreeSet;

use crate::answer::Answer;
use crate::client::{Client, Unreachable};
use crate::cluster::Cluster;

/// What the sender of a write knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was answered with 200: it must be there from then on.
    Acknowledged,
    /// Nobody told: it may be there or not, or come later.
    Unknown,
    /// The cluster said, or the lack of a connection shows, that it left nothing behind.
    Refused,
}

impl Fate {
    /// Reads an answer to a write as strictly as the contract allows.
    ///
    /// # Panics
    ///
    /// When an error has no proper body.
    pub fn of(answer: &Result<Answer, Unreachable>) -> Self {
        match answer {
            Ok(answer) => match answer.status {
                200 => Self::Acknowledged,
                // Nodes that still point at each other: none of them took it.
                307 => Self::Refused,
                status => match answer.problem(status).outcome.as_deref() {
                    Some("not_applied") => Self::Refused,
                    _ => Self::Unknown,
                },
            },
            Err(unreachable) if unreachable.before_sending => Self::Refused,
            Err(_) => Self::Unknown,
        }
    }
}

/// One write of a key that nobody else writes.
#[derive(Debug, Clone)]
pub struct Write {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// What became of it.
    pub fate: Fate,
}

/// All writes of a workload.
#[derive(Debug)]
pub struct History {
    writes: Vec<Write>,
}

impl History {
    /// A history of these writes.
    pub fn new(writes: Vec<Write>) -> Self {
        Self { writes }
    }

    /// How many writes have this fate.
    pub fn count(&self, fate: Fate) -> usize {
        self.writes
            .iter()
            .filter(|write| write.fate == fate)
            .count()
    }

    /// Prints what became of the writes, checks them on every node, and that all nodes agree.
    ///
    /// # Panics
    ///
    /// When a node contradicts a write or another node.
    pub async fn verify_everywhere(&self, cluster: &mut Cluster) {
        eprintln!(
            "{} acknowledged, {} unknown, {} refused",
            self.count(Fate::Acknowledged),
            self.count(Fate::Unknown),
            self.count(Fate::Refused)
        );
        for id in cluster.ids() {
            self.verify(&cluster.client(id)).await;
        }
        cluster.agree().await;
    }

    /// Checks that a node has every acknowledged write, none that was refused, and for those whose
    /// fate is unknown either nothing or what was written.
    ///
    /// # Panics
    ///
    /// When a write was lost, garbled, or refused and done nevertheless.
    pub async fn verify(&self, node: &Client) {
        // Linearizable, so this node has applied all that was acknowledged; stale reads will do.
        let present: BTreeSet<_> = node.keys().await.into_iter().collect();
        let wrong = self.contradictions(&present);
        assert!(
            wrong.is_empty(),
            "{} wrong of {}: {wrong:#?}",
            wrong.len(),
            self.writes.len()
        );
        for write in self
            .writes
            .iter()
            .filter(|write| present.contains(&write.key))
        {
            let value = node.stale_value(&write.key).await;
            assert_eq!(value.as_deref(), Some(write.value.as_bytes()), "{write:?}");
        }
    }

    fn contradictions(&self, present: &BTreeSet<String>) -> Vec<&Write> {
        let wrong = |write: &&Write| match write.fate {
            Fate::Acknowledged => !present.contains(&write.key),
            Fate::Refused => present.contains(&write.key),
            Fate::Unknown => false,
        };
        self.writes.iter().filter(wrong).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::tests::answer;

    fn problem(body: &'static str) -> Result<Answer, Unreachable> {
        Ok(answer(503, "application/problem+json", body))
    }

    fn write(key: &str, fate: Fate) -> Write {
        Write {
            key: key.to_owned(),
            value: String::new(),
            fate,
        }
    }

    #[test]
    fn only_an_explicit_refusal_counts_as_one() {
        let not_applied = r#"{"type":"t","title":"t","status":503,"detail":"d","code":"no_leader",
            "retryable":true,"outcome":"not_applied"}"#;
        assert_eq!(Fate::of(&problem(not_applied)), Fate::Refused);
        let silent = r#"{"type":"t","title":"t","status":503,"detail":"d","code":"no_leader",
            "retryable":true}"#;
        assert_eq!(Fate::of(&problem(silent)), Fate::Unknown);
        assert_eq!(Fate::of(&Ok(answer(200, "", ""))), Fate::Acknowledged);
    }

    #[test]
    fn a_lost_and_a_resurrected_write_are_found_and_an_unknown_one_is_neither() {
        let history = History::new(vec![
            write("kept", Fate::Acknowledged),
            write("lost", Fate::Acknowledged),
            write("refused", Fate::Refused),
            write("risen", Fate::Refused),
            write("unknown-kept", Fate::Unknown),
            write("unknown-gone", Fate::Unknown),
        ]);
        let present = ["kept", "risen", "unknown-kept"].map(str::to_owned).into();
        let wrong: Vec<_> = history
            .contradictions(&present)
            .iter()
            .map(|write| write.key.as_str())
            .collect();
        assert_eq!(wrong, ["lost", "risen"]);
    }
}
