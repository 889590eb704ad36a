//! The run that all others are compared with: one entry at a time, on one instance.

use super::answer::{Answer, AnswerKind};
use super::finding::Finding;
use super::history::Entry;
use super::replica::{MAX_CHUNK_BYTES, Replica};
use crate::types::{Limits, TrapKind};
use crate::wasm::Module;

/// Entries that may trap. Each costs a rebuild in each run, so the history ends with the last of them.
/// One that uses up the memory counts as several: it does so several times in each run.
const MAX_TRAPS: usize = 32;
const TRAPS_OF_MEMORY: usize = 8;

/// How many entries' worth of fuel the plain run may burn before it ends the history.
const FUEL_OF_ENTRIES: u64 = 2;

/// What a history came to, one entry at a time, on one instance.
#[derive(Debug)]
pub struct Plain<'a> {
    pub(super) module: &'a Module,
    pub(super) limits: &'a Limits,
    pub(super) entries: Vec<&'a Entry>,
    /// What each entry came to.
    pub answers: Vec<Answer>,
    /// The state at the end.
    pub snapshot: Vec<u8>,
    /// Fuel of all calls.
    pub fuel_burnt: u64,
    /// Why the history ended early, if it did.
    pub cut: Option<Cut>,
}

/// Why entries were left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Too many entries trapped.
    Traps,
    /// The entries burnt too much fuel.
    Fuel,
}

impl<'a> Plain<'a> {
    /// Applies `entries` until they end, or until going on would take the other runs too long.
    ///
    /// To be called on a guest's stack, like all that follows.
    pub fn run(
        module: &'a Module,
        limits: &'a Limits,
        entries: &'a [Entry],
    ) -> Result<Self, Finding> {
        let mut entries: Vec<&Entry> = entries.iter().collect();
        let mut replica = Replica::start(module, limits, &entries, Vec::new())?;
        let mut cut = None;
        let mut traps = 0;
        while cut.is_none() && !replica.is_done() {
            replica.advance(1)?;
            traps += match replica.answers().last().map(|answer| answer.kind) {
                Some(AnswerKind::Trapped(TrapKind::OutOfMemory)) => TRAPS_OF_MEMORY,
                Some(AnswerKind::Trapped(_)) => 1,
                Some(AnswerKind::Accepted | AnswerKind::Refused) | None => 0,
            };
            if traps >= MAX_TRAPS {
                cut = Some(Cut::Traps);
            } else if replica.fuel_burnt() > limits.fuel_per_entry.saturating_mul(FUEL_OF_ENTRIES) {
                cut = Some(Cut::Fuel);
            }
        }
        let fuel_burnt = replica.fuel_burnt();
        let snapshot = replica.snapshot(MAX_CHUNK_BYTES)?;
        let applied = replica.applied();
        let answers = replica.into_answers();
        cut = cut.filter(|_| applied < entries.len());
        entries.truncate(applied);
        Ok(Self {
            module,
            limits,
            entries,
            answers,
            snapshot,
            fuel_burnt,
            cut,
        })
    }

    /// The first entry that trapped, and how.
    pub fn first_trap(&self) -> Option<(&Entry, TrapKind)> {
        let answered = self.entries.iter().copied().zip(&self.answers);
        let mut trapped = answered.filter_map(|(entry, answer)| match answer.kind {
            AnswerKind::Trapped(kind) => Some((entry, kind)),
            AnswerKind::Accepted | AnswerKind::Refused => None,
        });
        trapped.next()
    }
}
