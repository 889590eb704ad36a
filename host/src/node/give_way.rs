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

/// Whoever has a turn longer than this is taken to have work of its own.
const LONG_TURN: Duration = Duration::from_millis(1);

/// A long turn is followed by so many times its length without any: at most a fifth of a worker's time
/// goes into them.
const PAUSE_TURNS: u32 = 4;

/// Pauses for long turns that may be owed before they are made: among the events of many clients there
/// is a long turn now and then.
const CREDIT: Duration = Duration::from_millis(200);

thread_local! {
    static TURNS: Cell<Turns> = const { Cell::new(Turns { due: None }) };
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
    /// When the pauses for all long turns are over, had they been made one after the other.
    due: Option<Instant>,
}

impl Turns {
    fn are_given_at(self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now + CREDIT)
    }

    fn after(self, began: Instant, took: Duration) -> Self {
        if took <= LONG_TURN {
            return self;
        }
        let ended = began + took;
        let from = self.due.map_or(ended, |due| due.max(ended));
        let due = Some(from + took * PAUSE_TURNS);
        Self { due }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Duration = Duration::from_millis(4);

    /// How long the turns take, in all, of a thread that gives way every millisecond in this time.
    fn given(time: Duration, took: Duration) -> Duration {
        let mut now = Instant::now();
        let (end, mut turns, mut given) = (now + time, Turns { due: None }, Duration::ZERO);
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
    fn long_turns_take_a_fifth_of_the_time_and_some_are_free() {
        let free = CREDIT / PAUSE_TURNS;
        assert!(given(free, TURN) >= free / 2);
        let time = Duration::from_secs(60);
        let bounded = given(time, TURN);
        let fifth = time / (PAUSE_TURNS + 1);
        assert!(bounded <= fifth + free + TURN, "{bounded:?}");
        assert!(bounded >= fifth / 10 * 9, "{bounded:?}");
    }

    #[test]
    fn what_was_not_used_is_not_saved_up() {
        let began = Instant::now();
        let turns = Turns { due: None }.after(began, TURN);
        let later = began + Duration::from_secs(60);
        assert_eq!(
            turns.after(later, TURN),
            Turns { due: None }.after(later, TURN)
        );
    }
}
