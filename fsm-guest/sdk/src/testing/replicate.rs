//! One history, run in the different ways in which nodes come to run it.

use super::{Random, read_all, restore, snapshot};
use crate::{Context, Entry, Failure, Outcome, Snapshot, StateMachine};

/// Entries of a batch, and bytes of a chunk, are fewer than these.
const MAX_BATCH: u64 = 20;
const MAX_CHUNK_BYTES: u64 = 200;

/// The context of the entry at `index`: in term 1, one millisecond per entry, with some seed.
#[must_use]
pub fn context(index: u64) -> Context {
    let seed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Context {
        index,
        term: 1,
        time_ms: 1_700_000_000_000 + index,
        seed,
    }
}

/// A history of these commands, with [`context`]s from index 1 on.
pub fn entries(commands: impl IntoIterator<Item = Vec<u8>>) -> Vec<Entry> {
    let entry = |(command, index)| Entry {
        context: context(index),
        command,
    };
    commands.into_iter().zip(1..).map(entry).collect()
}

/// What a history came to, on all nodes alike.
#[derive(Debug)]
pub struct Replicated<M> {
    /// The state at its end.
    pub machine: M,
    /// What each entry gave.
    pub outcomes: Vec<Result<Outcome, Failure>>,
}

/// Runs `history` on three nodes side by side, and asserts that they never differ:
///
/// - one that applies entry by entry;
/// - one that was never sent the entries that fail, because a refusal has no effect;
/// - one that lives through what a node can live through, at points chosen by `seed`: batches of any
///   length, snapshots read in chunks of any size while entries are applied, restarts from the
///   newest snapshot and the entries behind it.
///
/// Compared are all outcomes, the answers to `queries` between batches, and the bytes of snapshots.
///
/// # Panics
///
/// When the nodes differ: with the number of entries applied so far, and what differs.
#[must_use]
pub fn replicate<M: StateMachine>(
    history: &[Entry],
    queries: &[Vec<u8>],
    seed: u64,
) -> Replicated<M> {
    let mut trial = Trial::<M> {
        history,
        random: Random::new(seed),
        plain: M::default(),
        without_failures: M::default(),
        eventful: M::default(),
        outcomes: Vec::new(),
        saved: None,
    };
    while trial.applied() < history.len() {
        match trial.random.below(4) {
            0 => trial.snapshot_during_a_batch(),
            1 => trial.restart(),
            _ => trial.batch(),
        }
        trial.compare_answers(queries);
    }
    trial.restart();
    trial.compare_states();
    Replicated {
        machine: trial.plain,
        outcomes: trial.outcomes,
    }
}

struct Trial<'a, M> {
    history: &'a [Entry],
    random: Random,
    plain: M,
    without_failures: M,
    eventful: M,
    /// What the entries applied so far gave.
    outcomes: Vec<Result<Outcome, Failure>>,
    saved: Option<Saved>,
}

/// The newest snapshot.
struct Saved {
    bytes: Vec<u8>,
    /// How many entries are in it.
    applied: usize,
}

impl<M: StateMachine> Trial<'_, M> {
    fn applied(&self) -> usize {
        self.outcomes.len()
    }

    fn batch(&mut self) {
        let length = 1 + self.random.below(MAX_BATCH) as usize;
        for entry in self.history.iter().skip(self.applied()).take(length) {
            self.apply(entry);
        }
    }

    fn apply(&mut self, entry: &Entry) {
        let outcome = self.plain.apply(entry.context, entry.command.clone());
        if outcome.is_ok() {
            let again = self
                .without_failures
                .apply(entry.context, entry.command.clone());
            assert_eq!(
                again,
                outcome,
                "{}: without the failed entries",
                self.place()
            );
        }
        let eventful = self.eventful.apply(entry.context, entry.command.clone());
        assert_eq!(
            eventful,
            outcome,
            "{}: after snapshots and restarts",
            self.place()
        );
        self.outcomes.push(outcome);
    }

    fn snapshot_during_a_batch(&mut self) {
        let applied = self.applied();
        let expected = snapshot(&self.plain, usize::MAX);
        let mut frozen = self.eventful.freeze();
        let chunk_bytes = self.chunk_bytes();
        let mut bytes = Vec::new();
        for _ in 0..self.random.below(3) {
            bytes.extend(frozen.read(chunk_bytes));
        }
        self.batch();
        bytes.extend(read_all(&mut frozen, chunk_bytes));
        assert!(
            frozen.read(chunk_bytes).is_empty(),
            "the end of a snapshot stays its end"
        );
        assert!(
            bytes == expected,
            "after {applied} entries: a snapshot read during later entries, in chunks of \
             {chunk_bytes}, is not the snapshot of a node without restarts"
        );
        self.saved = Some(Saved { bytes, applied });
    }

    fn restart(&mut self) {
        let chunk_bytes = self.chunk_bytes();
        let behind;
        (self.eventful, behind) = match &self.saved {
            None => (M::default(), 0),
            Some(Saved { bytes, applied }) => match restore(bytes, chunk_bytes) {
                Ok(restored) => (restored, *applied),
                Err(failure) => panic!("{}: its own snapshot: {failure:?}", self.place()),
            },
        };
        for (entry, outcome) in self.history[behind..].iter().zip(&self.outcomes[behind..]) {
            let again = self.eventful.apply(entry.context, entry.command.clone());
            assert_eq!(
                &again,
                outcome,
                "{}: replayed after snapshots and restarts",
                self.place()
            );
        }
    }

    fn compare_answers(&self, queries: &[Vec<u8>]) {
        let Some(last) = self.history[..self.applied()].last() else {
            return;
        };
        for query in queries {
            let answer = self.plain.query(last.context, query.clone());
            for other in [&self.without_failures, &self.eventful] {
                let again = other.query(last.context, query.clone());
                assert_eq!(again, answer, "{}: query {query:?}", self.place());
            }
        }
    }

    fn compare_states(&self) {
        let expected = snapshot(&self.plain, usize::MAX);
        for (other, what) in [
            (&self.without_failures, "without the failed entries"),
            (&self.eventful, "after snapshots and restarts"),
        ] {
            let same = snapshot(other, usize::MAX) == expected;
            assert!(same, "{}: another snapshot {what}", self.place());
        }
    }

    fn chunk_bytes(&mut self) -> usize {
        1 + self.random.below(MAX_CHUNK_BYTES) as usize
    }

    fn place(&self) -> String {
        format!("after {} entries", self.applied())
    }
}
