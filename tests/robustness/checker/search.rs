//! Linearizability of one register: the search of Wing and Gong, with Lowe's memory of the
//! configurations that led nowhere.
//!
//! A configuration is the set of operations that have taken effect and what the register then holds.
//! From each, any operation may be next that was invoked before all others that are left have
//! returned. Operations of unknown outcome may be left over in the end. Two things keep the search
//! short: a read that agrees with the register is taken at once, as it stands in nobody's way; and
//! since values are unique, a write of unknown outcome took effect before the first read of its value
//! returned, or, if there is none, it need not have taken effect at all.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::register::{Call, Event, Moment, Value};

/// Bounds time and memory of one check. Histories of thousands of operations need about as many
/// configurations as they have operations.
const MAX_CONFIGURATIONS: usize = 2_000_000;

/// How many operations a contradiction shows before and behind the one that does not fit.
const SHOWN: usize = 12;

/// Why a history is not linearizable, or could not be checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contradiction {
    /// What the register held where no order goes further.
    state: Option<Value>,
    /// Operations around that place, and whether each had taken effect.
    around: Vec<(Event, bool)>,
    /// Whether the search was given up.
    undecided: bool,
}

/// Whether the operations on one key, in any order, are linearizable. The register begins empty.
pub(crate) fn check(history: &[Event]) -> Result<(), Contradiction> {
    Search::new(history).run()
}

/// What identifies a configuration: operations up to `first` have taken effect, `first` has not, and
/// behind it those in `ahead` have.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Configuration {
    first: usize,
    ahead: Vec<usize>,
    unknown_deletes: usize,
    unknown_puts: usize,
    state: Option<Value>,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Certain(usize),
    UnknownDelete,
    UnknownPut,
}

/// A choice that was made, and those that are left.
struct Frame {
    /// How many certain operations had taken effect before it.
    done: usize,
    state: Option<Value>,
    unknown_deletes: usize,
    unknown_puts: usize,
    untried: Vec<Step>,
}

struct Search {
    /// Operations that took effect for certain, as invoked.
    certain: Vec<Event>,
    /// When each was invoked, earliest first. Which of them is taken makes no difference, so it is
    /// the one that may be taken first.
    unknown_deletes: Vec<Moment>,
    unknown_puts: Vec<(Moment, Value)>,
    taken: Vec<bool>,
    /// Certain operations in the order in which they took effect.
    order: Vec<usize>,
    /// No certain operation before this one is left.
    first: usize,
    visited: HashSet<Configuration>,
}

impl Search {
    fn new(history: &[Event]) -> Self {
        let mut first_seen: HashMap<Value, Moment> = HashMap::new();
        let mut existence_was_seen = false;
        for event in history {
            match event.call {
                Call::Get(Some(value)) => {
                    let seen = first_seen.entry(value).or_insert(Moment::MAX);
                    *seen = event.deadline().min(*seen);
                }
                Call::Exists(true) => existence_was_seen = true,
                _ => {}
            }
        }
        let (mut certain, mut unknown_deletes, mut unknown_puts) = (vec![], vec![], vec![]);
        for &event in history {
            match event.call {
                _ if event.returned.is_some() => certain.push(event),
                Call::Get(_) | Call::Exists(_) => {}
                Call::Delete => unknown_deletes.push(event.invoked),
                Call::Put(value) => match first_seen.get(&value) {
                    Some(&seen) => certain.push(Event {
                        returned: Some(seen),
                        ..event
                    }),
                    None if existence_was_seen => unknown_puts.push((event.invoked, value)),
                    None => {}
                },
            }
        }
        certain.sort_by_key(|event| event.invoked);
        unknown_deletes.sort_unstable();
        unknown_puts.sort_unstable();
        Self {
            taken: vec![false; certain.len()],
            order: Vec::with_capacity(certain.len()),
            first: 0,
            certain,
            unknown_deletes,
            unknown_puts,
            visited: HashSet::new(),
        }
    }

    fn run(mut self) -> Result<(), Contradiction> {
        let mut frames: Vec<Frame> = Vec::new();
        let (mut state, mut unknown_deletes, mut unknown_puts) = (None, 0, 0);
        let mut furthest = (0, None, self.taken.clone());
        loop {
            self.take_reads(state);
            if self.order.len() == self.certain.len() {
                return Ok(());
            }
            if self.order.len() > furthest.0 {
                furthest = (self.order.len(), state, self.taken.clone());
            }
            let configuration = self.configuration(state, unknown_deletes, unknown_puts);
            if self.visited.len() >= MAX_CONFIGURATIONS {
                return Err(self.contradiction(&furthest, true));
            }
            let untried = if self.visited.insert(configuration) {
                self.steps(state, unknown_deletes, unknown_puts)
            } else {
                Vec::new()
            };
            frames.push(Frame {
                done: self.order.len(),
                state,
                unknown_deletes,
                unknown_puts,
                untried,
            });
            // Back to the newest choice that has an alternative.
            let step = loop {
                let Some(frame) = frames.last_mut() else {
                    return Err(self.contradiction(&furthest, false));
                };
                let Some(step) = frame.untried.pop() else {
                    frames.pop();
                    continue;
                };
                (state, unknown_deletes, unknown_puts) =
                    (frame.state, frame.unknown_deletes, frame.unknown_puts);
                let done = frame.done;
                self.back_to(done);
                break step;
            };
            match step {
                Step::Certain(index) => {
                    state = self.certain[index].call.step(state).unwrap_or(state);
                    self.take(index);
                }
                Step::UnknownDelete => {
                    state = None;
                    unknown_deletes += 1;
                }
                Step::UnknownPut => {
                    state = Some(self.unknown_puts[unknown_puts].1);
                    unknown_puts += 1;
                }
            }
        }
    }

    /// Takes every read that may be next and agrees with the register.
    fn take_reads(&mut self, state: Option<Value>) {
        loop {
            let (candidates, _) = self.candidates();
            let agrees = |&index: &usize| {
                let call = self.certain[index].call;
                call.is_read() && call.step(state).is_some()
            };
            let reads: Vec<_> = candidates.into_iter().filter(agrees).collect();
            if reads.is_empty() {
                return;
            }
            for index in reads {
                self.take(index);
            }
        }
    }

    /// The certain operations that may be next, and the moment before which one must have been
    /// invoked to be so.
    fn candidates(&self) -> (Vec<usize>, Moment) {
        let mut candidates = Vec::new();
        let mut first_return = Moment::MAX;
        for (index, event) in self.certain.iter().enumerate().skip(self.first) {
            if event.invoked > first_return {
                break;
            }
            if !self.taken[index] {
                first_return = first_return.min(event.deadline());
                candidates.push(index);
            }
        }
        candidates.retain(|&index| self.certain[index].invoked <= first_return);
        (candidates, first_return)
    }

    /// What may be next, the most promising last.
    fn steps(
        &self,
        state: Option<Value>,
        unknown_deletes: usize,
        unknown_puts: usize,
    ) -> Vec<Step> {
        let (mut candidates, first_return) = self.candidates();
        candidates.retain(|&index| self.certain[index].call.step(state).is_some());
        candidates.sort_by_key(|&index| std::cmp::Reverse(self.certain[index].deadline()));
        let mut steps = Vec::new();
        // Neither helps where the register is already what it would leave behind.
        let delete = self.unknown_deletes.get(unknown_deletes);
        if state.is_some() && delete.is_some_and(|&invoked| invoked <= first_return) {
            steps.push(Step::UnknownDelete);
        }
        let put = self.unknown_puts.get(unknown_puts);
        if state.is_none() && put.is_some_and(|&(invoked, _)| invoked <= first_return) {
            steps.push(Step::UnknownPut);
        }
        steps.extend(candidates.into_iter().map(Step::Certain));
        steps
    }

    fn configuration(
        &self,
        state: Option<Value>,
        unknown_deletes: usize,
        unknown_puts: usize,
    ) -> Configuration {
        let behind = self.order.len() - self.first;
        let taken = self.taken.iter().enumerate().skip(self.first);
        let ahead = taken.filter_map(|(index, &taken)| taken.then_some(index));
        Configuration {
            first: self.first,
            ahead: ahead.take(behind).collect(),
            unknown_deletes,
            unknown_puts,
            state,
        }
    }

    fn take(&mut self, index: usize) {
        self.taken[index] = true;
        self.order.push(index);
        while self.taken.get(self.first) == Some(&true) {
            self.first += 1;
        }
    }

    fn back_to(&mut self, done: usize) {
        for index in self.order.drain(done..) {
            self.taken[index] = false;
            self.first = self.first.min(index);
        }
    }

    fn contradiction(
        &self,
        furthest: &(usize, Option<Value>, Vec<bool>),
        undecided: bool,
    ) -> Contradiction {
        let (_, state, taken) = furthest;
        let stuck = taken.iter().position(|taken| !taken).unwrap_or(0);
        let around = stuck.saturating_sub(SHOWN)..(stuck + SHOWN).min(self.certain.len());
        Contradiction {
            state: *state,
            around: around
                .map(|index| (self.certain[index], taken[index]))
                .collect(),
            undecided,
        }
    }
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = if self.undecided {
            "could not be checked within the bound"
        } else {
            "is not linearizable"
        };
        writeln!(
            f,
            "the history {why}. No order goes on from where the register holds {:?}; operations \
             there (* = had taken effect; times in ms):",
            self.state
        )?;
        let ms = |moment: Moment| moment / 1_000_000;
        for (event, taken) in &self.around {
            let mark = if *taken { '*' } else { ' ' };
            let (invoked, returned) = (ms(event.invoked), ms(event.deadline()));
            writeln!(f, "  {mark} {invoked:>8} - {returned:>8}  {:?}", event.call)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
