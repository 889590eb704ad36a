//! Giving way before a worker sleeps.
//!
//! The first event wakes a worker that sleeps, and the worker may take the processor of whoever caused the
//! event. A client or another node on the same machine would have caused more of them in a moment: so the
//! worker finds them one by one, and each costs a wake and two switches. A worker that gives way before it
//! sleeps finds what has come until the others have done their work.
//!
//! But the others may have work that has nothing to do with this node, and keep the processor for all of
//! their time slice. So the time that goes into such turns is bounded.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

/// Whoever has a turn longer than this is taken to have work of its own: the kernel's time slices are
/// longer, and what is left to do for the clients and nodes that cause events seldom is.
const LONG_TURN: Duration = Duration::from_millis(1);

/// Long turns get one part in so many of a worker's time.
const PARTS: u32 = 4;

/// So far ahead they may use up their part: among the events of many clients there is one now and then.
const CREDIT: Duration = Duration::from_millis(200);

thread_local! {
    static TURNS: Cell<Turns> = const { Cell::new(Turns { used_until: None }) };
}

/// Lets others have this thread's processor once, if any want it.
pub(super) fn give_way() {
    let turns = TURNS.get();
    let began = Instant::now();
    if turns.are_given_at(began) {
        thread::yield_now();
        TURNS.set(turns.after(began, began.elapsed()));
    }
}

/// Whether a thread gives way: the generic cell rate algorithm, with the time that long turns take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turns {
    /// Until when the long turns so far have used up their part of the time.
    used_until: Option<Instant>,
}

impl Turns {
    fn are_given_at(self, now: Instant) -> bool {
        self.used_until
            .is_none_or(|used_until| used_until <= now + CREDIT)
    }

    fn after(self, began: Instant, took: Duration) -> Self {
        if took <= LONG_TURN {
            return self;
        }
        let from = self
            .used_until
            .map_or(began, |used_until| used_until.max(began));
        let used_until = Some(from + took * PARTS);
        Self { used_until }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Duration = Duration::from_millis(4);

    /// How long the turns take, in all, of a thread that gives way every millisecond in this time.
    fn given(time: Duration, took: Duration) -> Duration {
        let mut now = Instant::now();
        let (end, mut turns, mut given) = (now + time, Turns { used_until: None }, Duration::ZERO);
        while now < end {
            if turns.are_given_at(now) {
                turns = turns.after(now, took);
                given += took;
                now += took;
            }
            now += Duration::from_millis(1);
        }
        given
    }

    #[test]
    fn short_turns_are_not_bounded() {
        let time = Duration::from_secs(1);
        assert_eq!(given(time, LONG_TURN), time / 2);
    }

    #[test]
    fn long_turns_have_their_part_of_the_time_and_a_credit() {
        let ahead = CREDIT / PARTS;
        assert!(given(ahead, TURN) >= ahead / 2);
        let time = Duration::from_secs(60);
        let (part, all) = (time / PARTS, given(time, TURN));
        assert!(all >= part && all <= part + ahead + TURN, "{all:?}");
    }

    #[test]
    fn what_was_not_used_is_not_saved_up() {
        let began = Instant::now();
        let turns = Turns { used_until: None }.after(began, TURN);
        let later = began + Duration::from_secs(60);
        assert_eq!(
            turns.after(later, TURN),
            Turns { used_until: None }.after(later, TURN)
        );
    }
}
