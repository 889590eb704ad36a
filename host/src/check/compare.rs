//! The ways in which nodes come to run a history, each held to the plain run.

use std::fmt;
use std::slice;

use super::answer::{Answer, AnswerKind};
use super::finding::{Finding, same_bytes};
use super::history::{Entry, queries_for};
use super::plain::Plain;
use super::random::Random;
use super::replica::{MAX_CHUNK_BYTES, Replica};

/// The longest batch in each round of a comparison.
const MAX_BATCH: [usize; 3] = [8, 64, 512];

/// Restarts, or open snapshots, in one round.
const EVENTS: usize = 10;

/// Sizes of chunks, in bytes.
const CHUNK_BYTES: [usize; 6] = [1, 7, 100, 4 << 10, 64 << 10, MAX_CHUNK_BYTES];

/// Queries, how many are asked at a time, and how many may trap.
const QUERIES: usize = 200;
const QUERY_BATCH: usize = 20;
const MAX_QUERY_TRAPS: usize = 3;

/// A way in which a node may come to run a history, or something else that has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The description is a constant.
    Description,
    /// Several entries at a time.
    Batches,
    /// With restarts from snapshots.
    Restarts,
    /// With snapshots that are read while entries are applied.
    OpenSnapshots,
    /// Without the entries that had no effect.
    WithoutRefused,
    /// Snapshots that are read and written in chunks of any size.
    Chunks,
    /// Queries change nothing.
    Queries,
}

impl Way {
    /// All of them, the most basic first.
    pub const ALL: [Self; 7] = [
        Self::Description,
        Self::Batches,
        Self::Restarts,
        Self::OpenSnapshots,
        Self::WithoutRefused,
        Self::Chunks,
        Self::Queries,
    ];
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Description => "describes itself the same each time",
            Self::Batches => "applied in batches cut at random",
            Self::Restarts => "restarted from snapshots at random places",
            Self::OpenSnapshots => "snapshots read while entries are applied",
            Self::WithoutRefused => "without the entries that were refused or trapped",
            Self::Chunks => "restored from its snapshot in chunks of 1 byte to 1 MiB",
            Self::Queries => "queries change nothing, and a restored state answers alike",
        })
    }
}

impl Plain<'_> {
    /// Holds the module to this run in another way.
    pub fn compare(&self, way: Way, seed: u64) -> Result<(), Finding> {
        let mut random = Random::new(seed.wrapping_add(way as u64));
        match way {
            Way::Description => self.description(),
            Way::Batches => self.rounds(&mut random, Self::batches),
            Way::Restarts => self.rounds(&mut random, Self::restarts),
            Way::OpenSnapshots => self.rounds(&mut random, Self::open_snapshots),
            Way::WithoutRefused => self.without_refused(&mut random),
            Way::Chunks => self.chunks(),
            Way::Queries => self.queries(&mut random),
        }
    }

    fn start(&self) -> Result<Replica<'_>, Finding> {
        Replica::start(
            self.module,
            self.limits,
            &self.entries,
            self.answers.clone(),
        )
    }

    /// As in this run: what batches bring out is not to be found here.
    fn live_through(&self, replica: &mut Replica<'_>) -> Result<(), Finding> {
        self.entries.iter().try_for_each(|_| replica.advance(1))
    }

    /// A state that was restored from the snapshot at the end.
    fn restored(&self) -> Result<Replica<'_>, Finding> {
        let mut replica = self.start()?;
        replica.jump_to_end(self.snapshot.clone())?;
        Ok(replica)
    }

    fn finish(&self, mut replica: Replica<'_>) -> Result<(), Finding> {
        let found = replica.snapshot(MAX_CHUNK_BYTES)?;
        same_bytes("the snapshot at the end", &self.snapshot, &found)
    }

    fn description(&self) -> Result<(), Finding> {
        let mut replica = self.start()?;
        let check = |replica: &mut Replica<'_>, when| {
            if replica.describe()? == *self.module.description() {
                Ok(())
            } else {
                Err(Finding::Description { when })
            }
        };
        check(&mut replica, "on a second instance")?;
        check(&mut replica, "when it is asked again")?;
        self.live_through(&mut replica)?;
        check(&mut replica, "after it has applied entries")
    }

    fn rounds(
        &self,
        random: &mut Random,
        round: impl Fn(&Self, Replica<'_>, usize, &mut Random) -> Result<(), Finding>,
    ) -> Result<(), Finding> {
        MAX_BATCH
            .into_iter()
            .try_for_each(|max_batch| round(self, self.start()?, max_batch, random))
    }

    fn batches(
        &self,
        mut replica: Replica<'_>,
        max_batch: usize,
        random: &mut Random,
    ) -> Result<(), Finding> {
        while !replica.is_done() {
            replica.advance(1 + random.below(max_batch))?;
        }
        self.finish(replica)
    }

    /// Places in the history, in order.
    fn places(&self, random: &mut Random) -> Vec<usize> {
        let place = |_| random.below(self.entries.len() + 1);
        let mut places: Vec<usize> = (0..EVENTS).map(place).collect();
        places.sort_unstable();
        places
    }

    fn restarts(
        &self,
        mut replica: Replica<'_>,
        max_batch: usize,
        random: &mut Random,
    ) -> Result<(), Finding> {
        for place in self.places(random) {
            advance_to(&mut replica, place, max_batch, random)?;
            // Otherwise an older snapshot, if any, and the entries behind it.
            if random.below(3) > 0 {
                let bytes = replica.snapshot(chunk_bytes(random))?;
                replica.save(bytes.clone(), replica.applied());
                replica.rebuild()?;
                let again = replica.snapshot(chunk_bytes(random))?;
                same_bytes("the snapshot of a restored state", &bytes, &again)?;
            } else {
                replica.rebuild()?;
            }
        }
        self.batches(replica, max_batch, random)
    }

    fn open_snapshots(
        &self,
        mut replica: Replica<'_>,
        max_batch: usize,
        random: &mut Random,
    ) -> Result<(), Finding> {
        for place in self.places(random) {
            advance_to(&mut replica, place, max_batch, random)?;
            let frozen_at = replica.applied();
            let expected = replica.snapshot(chunk_bytes(random))?;
            let (snapshot, generation) = (replica.open_snapshot()?, replica.generation());
            let chunk_bytes = chunk_bytes(random);
            let mut bytes = Vec::new();
            for _ in 0..=random.below(3) {
                replica.advance(1 + random.below(max_batch))?;
                if replica.generation() != generation {
                    break;
                }
                if random.below(2) == 0 {
                    bytes.extend(replica.read_snapshot(&snapshot, chunk_bytes)?);
                }
            }
            // A trap ends the instance, and the snapshot with it.
            if replica.generation() == generation {
                replica.read_to_end(snapshot, chunk_bytes, &mut bytes)?;
                let what = "a snapshot that was read while entries were applied";
                same_bytes(what, &expected, &bytes)?;
                replica.save(bytes, frozen_at);
                replica.rebuild()?;
            }
        }
        self.batches(replica, max_batch, random)
    }

    fn without_refused(&self, random: &mut Random) -> Result<(), Finding> {
        let answered = self.entries.iter().copied().zip(&self.answers);
        let (entries, answers): (Vec<&Entry>, Vec<Answer>) = answered
            .filter(|(_, answer)| answer.kind == AnswerKind::Accepted)
            .map(|(entry, answer)| (entry, answer.clone()))
            .unzip();
        let replica = Replica::start(self.module, self.limits, &entries, answers)?;
        self.batches(replica, MAX_BATCH[0], random)
    }

    fn chunks(&self) -> Result<(), Finding> {
        for chunk_bytes in CHUNK_BYTES {
            let mut replica = Replica::start(self.module, self.limits, &[], Vec::new())?;
            replica.restore(&self.snapshot, chunk_bytes)?;
            let again = replica.snapshot(chunk_bytes)?;
            same_bytes("the snapshot of a restored state", &self.snapshot, &again)?;
        }
        Ok(())
    }

    fn queries(&self, random: &mut Random) -> Result<(), Finding> {
        let queries = queries_for(self.module.description(), &self.entries, QUERIES, random);
        let queries: Vec<&[u8]> = queries.iter().map(Vec::as_slice).collect();
        let mut lived = self.start()?;
        self.live_through(&mut lived)?;
        let mut restored = self.restored()?;
        let mut traps = 0;
        for batch in queries.chunks(QUERY_BATCH) {
            let mut before = Vec::with_capacity(batch.len());
            for query in batch {
                if traps < MAX_QUERY_TRAPS {
                    let answers = lived.query(slice::from_ref(query))?;
                    traps += answers.iter().filter(|answer| has_trapped(answer)).count();
                    before.extend(answers);
                }
            }
            let asked = &batch[..before.len()];
            let after = restored.query(asked)?;
            for (query, answers) in asked.iter().zip(before.iter().zip(&after)) {
                if let (Some(before), Some(after)) = answers
                    && before != after
                {
                    return Err(Finding::query(query, before, after));
                }
            }
        }
        for mut replica in [lived, restored] {
            let found = replica.snapshot(MAX_CHUNK_BYTES)?;
            same_bytes("the snapshot after queries", &self.snapshot, &found)?;
        }
        Ok(())
    }
}

fn advance_to(
    replica: &mut Replica<'_>,
    place: usize,
    max_batch: usize,
    random: &mut Random,
) -> Result<(), Finding> {
    while let Some(missing @ 1..) = place.checked_sub(replica.applied()) {
        replica.advance(missing.min(1 + random.below(max_batch)))?;
    }
    Ok(())
}

fn has_trapped(answer: &Option<Answer>) -> bool {
    let kind = answer.as_ref().map(|answer| answer.kind);
    !matches!(kind, Some(AnswerKind::Accepted | AnswerKind::Refused))
}

fn chunk_bytes(random: &mut Random) -> usize {
    random
        .pick(&CHUNK_BYTES)
        .copied()
        .unwrap_or(MAX_CHUNK_BYTES)
}
