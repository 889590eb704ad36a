//! A log in use, on a disk that loses power, loses its process, fails or fills up, as a seed has it.
//!
//! Operations reach the disk in order, each whole or not at all. So what is found afterwards has to
//! be the log as it was behind one of them, and not before the last that was acknowledged.

use std::fmt::Display;
use std::pin::Pin;
use std::task::Poll;

use fastrand::Rng;
use openraft::LogIdOptionExt;

use super::super::super::testing::{Fault, seeds};
use super::super::super::{Identity, Origin, TrapLedger};
use super::*;
use crate::types::{ClusterId, TrapKind};

const ROUNDS: usize = 8;
const NODE: u64 = 3;

#[test]
fn what_was_acknowledged_outlives_power_failures_kills_and_failing_disks() {
    for seed in seeds(300) {
        if let Err(violation) = Trial::new(seed, TestBackend::holding).run() {
            panic!("{violation}\nto repeat: RKV_CRASH_SEED={seed}");
        }
    }
}

/// Otherwise the test above would prove nothing.
#[test]
fn a_disk_that_only_says_that_it_syncs_is_found_out() {
    let caught = |seed: &u64| Trial::new(*seed, TestBackend::lying).run().is_err();
    let caught = (0..20).filter(caught).count();
    assert!(caught >= 15, "{caught} of 20");
}

/// The log as a reader sees it.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    vote: Option<Vote>,
    /// The entries begin behind this one.
    discarded: Option<LogId>,
    entries: Vec<Entry>,
}

impl State {
    fn last(&self) -> Option<LogId> {
        let last = self.entries.last().map(|entry| entry.log_id);
        last.or(self.discarded)
    }

    fn discard(&mut self, upto: LogId) {
        self.discarded = Some(upto);
        self.entries.retain(|entry| entry.log_id.index > upto.index);
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<(), io::Error>>>>;

/// An operation that was started.
struct Started {
    /// The state that is durable if the answer is good.
    proves: Option<usize>,
    answer: Answer,
    /// Nothing has answered yet.
    waits: bool,
}

impl Started {
    fn done(proves: Option<usize>, answer: Result<(), io::Error>) -> Self {
        Self {
            proves,
            answer: Box::pin(async { answer }),
            waits: false,
        }
    }
}

/// A seed's run: a log, and what is known of it.
struct Trial {
    rng: Rng,
    /// The disk of the log.
    backend: TestBackend,
    /// That of the database.
    database: TestBackend,
    /// What a disk is made of again after a power failure.
    disk: fn(Vec<u8>) -> TestBackend,
    /// The log as it was opened, and behind each operation since.
    states: Vec<State>,
    /// The one of `states` behind the last operation that was acknowledged.
    acknowledged: usize,
    /// What openraft asked to purge, and what holds that back.
    purged: Option<LogId>,
    floor: PurgeFloor,
    /// Committed ids: what the disk had at least, and what the log was told last.
    committed: (Option<LogId>, Option<LogId>),
    identity: Option<Identity>,
    /// Entries that trapped: those that were acknowledged, and all.
    traps: (Vec<LogIndex>, Vec<LogIndex>),
    term: u64,
    /// Makes every entry differ from all others.
    serial: u64,
}

impl Trial {
    fn new(seed: u64, disk: fn(Vec<u8>) -> TestBackend) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            backend: disk(new_file(16 << 10).unwrap()),
            database: disk(new_database()),
            disk,
            states: vec![State::default()],
            acknowledged: 0,
            purged: None,
            floor: PurgeFloor::Unlimited,
            committed: (None, None),
            identity: None,
            traps: (Vec::new(), Vec::new()),
            term: 1,
            serial: 0,
        }
    }

    fn run(mut self) -> Result<(), String> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.build().unwrap();
        for round in 0..ROUNDS {
            let lived = runtime.block_on(self.live());
            lived.map_err(|violation| format!("round {round}: {violation}"))?;
        }
        runtime.block_on(self.open()).map(drop)
    }

    /// Opens the log, works with it, and crashes.
    async fn live(&mut self) -> Result<(), String> {
        if self.rng.u8(..4) == 0 {
            self.arm(30);
        }
        let mut opened = self.open().await?;
        // Sometimes it ends here: what a log has told must be on its disk, even what a process that
        // was killed had only written.
        if let Some((database, log)) = &mut opened
            && self.rng.u8(..8) > 0
        {
            self.arm(150);
            self.work(database, log).await?;
            if self.rng.u8(..8) == 0 && log.close().is_ok() {
                self.acknowledged = self.states.len() - 1;
                opened = None;
            }
        }
        let power = self.fired() == Some(Fault::Power) || self.rng.bool();
        for backend in [&mut self.backend, &mut self.database] {
            *backend = backend.kill();
            if power {
                *backend = (self.disk)(backend.power_failure(&mut self.rng));
            }
        }
        // The dead process writes nothing more.
        drop(opened);
        Ok(())
    }

    fn arm(&mut self, within: usize) {
        let fault = [Fault::Power, Fault::Once, Fault::Full][self.rng.usize(..3)];
        // The log works its disk harder.
        let backend = match self.rng.u8(..4) {
            0 => &self.database,
            _ => &self.backend,
        };
        backend.arm(self.rng.usize(..within), fault);
    }

    fn fired(&self) -> Option<Fault> {
        self.backend.fired().or(self.database.fired())
    }

    /// No operation fails unless the disk did.
    fn excused(&self, error: &dyn Display) -> Result<(), String> {
        match self.fired() {
            Some(_) => Ok(()),
            None => Err(format!("failed without a reason: {error}")),
        }
    }

    /// Compares what the disk has with what is known, and takes it for granted from here on. Nothing
    /// if the disk failed meanwhile.
    async fn open(&mut self) -> Result<Option<(Database, LogStore)>, String> {
        let opened = Database::with_backend(self.database.clone()).and_then(|database| {
            let file = LogFile::with_backend(self.backend.clone());
            let log = LogStore::open(file, LogLimits::DEFAULT)?;
            let identity = database.identity()?;
            Ok((database, log, identity))
        });
        let (database, mut log, identity) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.excused(&error).map(|()| None),
        };
        let entries = log.try_get_log_entries(..).await;
        let entries = entries.map_err(|error| error.to_string())?;
        let (discarded, last) = purged_and_last(&mut log).await;
        let found = State {
            vote: log.read_vote().await.unwrap(),
            discarded,
            entries,
        };
        let expected = &self.states[self.acknowledged..];
        if !expected.contains(&found) || found.last() != last {
            return Err(format!(
                "found {found:?} up to {last:?}\nexpected one of {expected:?}"
            ));
        }
        let committed = log.read_committed().await.unwrap();
        let (least, most) = self.committed;
        if committed < least || committed > most || committed > last {
            return Err(format!(
                "committed is {committed:?}: within {least:?} and {most:?}? within {found:?}?"
            ));
        }
        let whose = |identity: &Identity| (identity.node_id, identity.instance);
        if let Some(known) = &self.identity
            && (identity.as_ref().map(whose) != Some(whose(known))
                || known.cluster.is_some() && identity.as_ref() != Some(known))
        {
            return Err(format!("found {identity:?}, expected {known:?}"));
        }
        self.committed = (committed, committed);
        self.purged = discarded;
        self.floor = PurgeFloor::Unlimited;
        self.states = vec![found];
        self.acknowledged = 0;
        Ok(Some((database, log)))
    }

    async fn work(&mut self, database: &Database, log: &LogStore) -> Result<(), String> {
        let mut traps = match self.start(database) {
            Ok(traps) => traps,
            Err(error) => return self.excused(&error),
        };
        let found = traps.behind(0);
        let (least, most) = &self.traps;
        if !least.iter().all(|trap| found.contains(trap))
            || !found.iter().all(|trap| most.contains(trap))
        {
            return Err(format!("traps {found:?}, expected {least:?} of {most:?}"));
        }
        self.traps = (found.clone(), found);
        for _ in 0..self.rng.usize(1..10) {
            if self.rng.u8(..8) == 0 {
                self.serial += 1;
                self.traps.1.push(self.serial);
                match traps.add(1, self.serial, TrapKind::Table, None) {
                    Ok(()) => self.traps.0.push(self.serial),
                    Err(error) => self.excused(&error)?,
                }
            }
            if !self.burst(log).await? {
                break;
            }
        }
        Ok(())
    }

    fn start(&mut self, database: &Database) -> Result<TrapLedger, StorageError> {
        if database.identity_of(NODE)?.is_none() {
            self.identity = Some(database.create_identity(NODE, Origin::Join)?);
        }
        self.identity = Some(database.adopt_cluster(ClusterId([7; 16]))?);
        TrapLedger::open(database.clone())
    }

    /// Several operations at once. The first is on its way to the disk when the others are queued, so
    /// they share a commit, and a seed's run is always the same. Tells whether all went well.
    async fn burst(&mut self, log: &LogStore) -> Result<bool, String> {
        self.backend.hang();
        let kind = self.rng.u8(8..10);
        let mut started = vec![self.operation(log, kind).await];
        if started[0].waits {
            self.backend.await_hanging();
        }
        for _ in 0..self.rng.usize(..6) {
            let kind = self.rng.u8(..10);
            started.push(self.operation(log, kind).await);
        }
        self.backend.resume();
        let mut failure: Option<io::Error> = None;
        for Started { proves, answer, .. } in started {
            match (answer.await, &failure) {
                (Ok(()), None) => self.acknowledged = proves.unwrap_or(self.acknowledged),
                (Err(error), None) => {
                    self.excused(&error)?;
                    failure = Some(error);
                }
                // Those that only leave a note may have come before the failure.
                (Ok(()), Some(error)) if proves.is_some() => {
                    return Err(format!("an operation succeeded after another: {error}"));
                }
                (Ok(()) | Err(_), Some(_)) => {}
            }
        }
        if failure.is_some() && log.clone().save_vote(&vote(self.term)).await.is_ok() {
            return Err("a vote was saved after a failure".to_owned());
        }
        Ok(failure.is_none())
    }

    async fn operation(&mut self, log: &LogStore, kind: u8) -> Started {
        let before = self.states.last().cloned().unwrap_or_default();
        let mut state = before.clone();
        let mut log = log.clone();
        let mut answer: Answer = match kind {
            0 => {
                let least = self.purged.max(self.committed.1).next_index();
                let from = self.rng.u64(least..=state.last().next_index());
                state.entries.retain(|entry| entry.log_id.index < from);
                let after = state.last();
                self.term += 1;
                Box::pin(async move { log.truncate_after(after).await })
            }
            1 => {
                let newer = self.any_of(&state, self.committed.1, state.last());
                let committed = newer.or(self.committed.1);
                self.committed.1 = committed;
                Box::pin(async move { log.save_committed(committed).await })
            }
            2 => {
                let upto = self.any_of(&state, self.purged, self.committed.1);
                let Some(mut upto) = upto else {
                    return Started::done(None, Ok(()));
                };
                // Sometimes the leader's snapshot is ahead of the log.
                if self.rng.u8(..4) == 0 {
                    self.term += 1;
                    upto = id(self.term, state.last().next_index() + 3);
                    state.discard(upto);
                }
                self.purged = Some(upto);
                self.lower(&mut state);
                Box::pin(async move { log.purge(upto).await })
            }
            3 => {
                let upto = self.any_of(&state, state.discarded, self.committed.1);
                self.floor = match (self.rng.u8(..3), upto) {
                    (0, Some(upto)) => PurgeFloor::Upto(upto),
                    (1, _) => PurgeFloor::Nothing,
                    _ => PurgeFloor::Unlimited,
                };
                self.lower(&mut state);
                let floor = self.floor;
                Box::pin(async move { Ok(log.set_purge_floor(floor)?) })
            }
            4 | 8 => {
                self.term += 1;
                let vote = vote(self.term);
                state.vote = Some(vote);
                Box::pin(async move { log.save_vote(&vote).await })
            }
            _ => {
                let new = self.new_entries(state.last().next_index());
                state.entries.extend(new.iter().cloned());
                Box::pin(async move {
                    let (flushed, done) = TypeConfig::oneshot();
                    log.append(new, IOFlushed::signal(flushed)).await?;
                    done.await.map_err(io::Error::other)?
                })
            }
        };
        let proves = (state != before && ![1, 2, 3].contains(&kind)).then_some(self.states.len());
        self.states.push(state);
        match futures::poll!(&mut answer) {
            Poll::Ready(answer) => Started::done(proves, answer),
            Poll::Pending => Started {
                proves,
                answer,
                waits: true,
            },
        }
    }

    /// The id of an entry behind `after`, up to `upto`.
    fn any_of(
        &mut self,
        state: &State,
        after: Option<LogId>,
        upto: Option<LogId>,
    ) -> Option<LogId> {
        let ids = state.entries.iter().map(|entry| Some(entry.log_id));
        let ids: Vec<_> = ids.filter(|id| *id > after && *id <= upto).collect();
        self.rng.choice(ids).flatten()
    }

    /// What [`PurgeFloor`] promises.
    fn lower(&self, state: &mut State) {
        let upto = match self.floor {
            PurgeFloor::Unlimited => self.purged,
            PurgeFloor::Nothing => None,
            PurgeFloor::Upto(floor) => self.purged.min(Some(floor)),
        };
        if let Some(upto) = upto.filter(|upto| Some(*upto) > state.discarded) {
            state.discard(upto);
        }
    }

    /// Mostly small ones; some are larger than a page, and some are many.
    fn new_entries(&mut self, first: LogIndex) -> Vec<Entry> {
        let count = [1, 2, 5, 30][self.rng.usize(..4)];
        let mut new = Vec::new();
        for index in first..first + count {
            self.serial += 1;
            let length = [10, 300, 9_000][self.rng.usize(..3)];
            let command = Bytes::from(vec![self.rng.u8(..); length]);
            let command = Proposal::Command {
                time_ms: self.serial,
                command,
            };
            new.push(Entry::new_normal(id(self.term, index), command));
        }
        new
    }
}

/// Both are put under their names once they are whole, so that is where a trial starts.
fn new_database() -> Vec<u8> {
    let backend = TestBackend::default();
    drop(Database::with_backend(backend.clone()).unwrap());
    backend.power_failure(&mut Rng::new())
}
