//! Known good and known bad histories, and a comparison with trying every order.

use super::*;

fn event(invoked: Moment, returned: Moment, call: Call) -> Event {
    Event {
        invoked,
        returned: Some(returned),
        call,
    }
}

fn unknown(invoked: Moment, call: Call) -> Event {
    Event {
        invoked,
        returned: None,
        call,
    }
}

fn accepts(history: &[Event]) {
    assert_eq!(check(history), Ok(()));
}

fn rejects(history: &[Event]) {
    assert!(check(history).is_err_and(|contradiction| !contradiction.undecided));
}

use Call::{Delete, Exists, Get, Put};

#[test]
fn what_one_client_did_after_the_other_is_accepted() {
    accepts(&[]);
    accepts(&[
        event(0, 1, Get(None)),
        event(2, 3, Put(1)),
        event(4, 5, Get(Some(1))),
        event(6, 7, Delete),
        event(8, 9, Get(None)),
    ]);
}

#[test]
fn a_stale_read_is_rejected() {
    rejects(&[
        event(0, 1, Put(1)),
        event(2, 3, Put(2)),
        event(4, 5, Get(Some(1))),
    ]);
}

#[test]
fn a_lost_write_is_rejected() {
    rejects(&[event(0, 1, Put(1)), event(2, 3, Get(None))]);
}

#[test]
fn a_value_that_nobody_wrote_is_rejected() {
    rejects(&[event(0, 1, Put(1)), event(2, 3, Get(Some(9)))]);
}

#[test]
fn a_read_from_the_future_is_rejected() {
    rejects(&[event(0, 1, Get(Some(1))), event(2, 3, Put(1))]);
}

#[test]
fn concurrent_operations_may_take_effect_in_either_order() {
    for seen in [1, 2] {
        accepts(&[
            event(0, 10, Put(1)),
            event(0, 10, Put(2)),
            event(11, 12, Get(Some(seen))),
        ]);
    }
    for seen in [None, Some(1)] {
        accepts(&[event(0, 10, Put(1)), event(5, 6, Get(seen))]);
    }
}

#[test]
fn reads_during_a_write_do_not_go_back() {
    rejects(&[
        event(0, 10, Put(1)),
        event(1, 2, Get(Some(1))),
        event(3, 4, Get(None)),
    ]);
}

#[test]
fn two_reads_that_disagree_on_the_order_of_writes_are_rejected() {
    rejects(&[
        event(0, 1, Put(1)),
        event(2, 3, Put(2)),
        event(4, 5, Get(Some(2))),
        event(6, 7, Get(Some(1))),
    ]);
}

#[test]
fn a_write_of_unknown_outcome_may_have_happened_late_or_never() {
    accepts(&[unknown(0, Put(1)), event(1, 2, Get(None))]);
    accepts(&[
        unknown(0, Put(1)),
        event(1, 2, Get(None)),
        event(50, 60, Put(2)),
        event(70, 80, Get(Some(1))),
    ]);
    // But only once, and not before it was sent.
    rejects(&[
        unknown(0, Put(1)),
        event(1, 2, Get(Some(1))),
        event(3, 4, Put(2)),
        event(5, 6, Get(Some(1))),
    ]);
    rejects(&[event(0, 1, Get(Some(1))), unknown(2, Put(1))]);
}

#[test]
fn a_delete_of_unknown_outcome_explains_one_absence() {
    let history = [
        event(0, 1, Put(1)),
        unknown(2, Delete),
        event(3, 4, Get(Some(1))),
        event(5, 6, Get(None)),
        event(7, 8, Put(2)),
        event(9, 10, Get(None)),
    ];
    accepts(&history[..5]);
    rejects(&history);
    // A second one explains the second.
    accepts(&[&history[..], &[unknown(6, Delete)]].concat());
}

#[test]
fn an_existence_is_explained_by_a_write_of_unknown_outcome() {
    accepts(&[
        event(0, 1, Exists(false)),
        unknown(2, Put(1)),
        event(3, 4, Exists(false)),
        event(5, 6, Exists(true)),
    ]);
    rejects(&[
        unknown(2, Put(1)),
        event(3, 4, Exists(true)),
        event(5, 6, Exists(false)),
    ]);
    rejects(&[event(0, 1, Exists(true)), unknown(2, Put(1))]);
    rejects(&[
        event(0, 1, Put(1)),
        event(2, 3, Delete),
        event(4, 5, Exists(true)),
    ]);
}

#[test]
fn moments_that_are_equal_are_concurrent() {
    accepts(&[event(0, 5, Put(1)), event(5, 6, Get(None))]);
}

/// The definition, word by word.
fn by_trying_every_order(history: &[Event]) -> bool {
    fn go(left: &[Event], state: Option<Value>) -> bool {
        let must: Vec<_> = left.iter().filter(|e| e.returned.is_some()).collect();
        if must.is_empty() {
            return true;
        }
        let first_return = must.iter().map(|e| e.deadline()).min();
        left.iter().enumerate().any(|(index, event)| {
            let mut rest = left.to_vec();
            rest.remove(index);
            let may_be_next = Some(event.invoked) <= first_return;
            may_be_next && event.call.step(state).is_some_and(|state| go(&rest, state))
        })
    }
    go(history, None)
}

#[test]
fn small_histories_are_judged_as_by_trying_every_order() {
    let mut random = fastrand::Rng::with_seed(1);
    let mut good = 0;
    for _ in 0..20_000 {
        let history: Vec<_> = (0..random.u64(1..7))
            .map(|number| {
                let invoked = random.u64(0..12);
                let call = match random.u8(0..10) {
                    0..4 => Put(number),
                    4..5 => Delete,
                    5..6 => Exists(random.bool()),
                    6..7 => Get(None),
                    _ => Get(Some(random.u64(0..7))),
                };
                let returned = random.u8(0..4) > 0 || call.is_read();
                Event {
                    invoked,
                    returned: returned.then(|| invoked + random.u64(0..6)),
                    call,
                }
            })
            .collect();
        let expected = by_trying_every_order(&history);
        good += usize::from(expected);
        assert_eq!(check(&history).is_ok(), expected, "{history:#?}");
    }
    // Both kinds were among them.
    assert!((1_000..19_000).contains(&good), "{good}");
}

/// What `clients` see of a register that works, with some answers lost.
fn recorded(clients: usize, operations: usize, seed: u64) -> Vec<Event> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut free_at = vec![0; clients];
    let mut state = None;
    let mut history = Vec::new();
    for number in 0..operations as u64 {
        // Effects follow each other in steps of 100; each operation begins before its effect and
        // ends behind it, after its client's last one.
        let effect = (number + 1) * 100;
        let client = random.usize(..clients);
        if effect <= free_at[client] {
            continue;
        }
        let invoked = effect - random.u64(0..(effect - free_at[client]).min(1_000));
        let returned = effect + random.u64(0..400);
        free_at[client] = returned;
        let is_lost = random.u8(0..20) == 0;
        let call = match random.u8(0..10) {
            0..4 => Put(number),
            4 => Delete,
            _ => Get(state),
        };
        if is_lost && call.is_read() {
            continue;
        }
        if !is_lost || random.bool() {
            state = call.step(state).expect("a read of what is there");
        }
        history.push(Event {
            invoked,
            returned: (!is_lost).then_some(returned),
            call,
        });
    }
    history
}

#[test]
fn a_long_history_is_judged_and_one_stale_read_in_it_found() {
    for seed in 0..4 {
        let mut history = recorded(12, 3_000, seed);
        assert!(history.len() > 2_000, "{}", history.len());
        accepts(&history);
        // In the second half, one client sees a value from the first half, long overwritten.
        let half = history.len() / 2;
        let old = history[..half].iter().find_map(|event| match event.call {
            Put(_) => Some(event.call),
            _ => None,
        });
        let Some(Put(old)) = old else {
            panic!("a write in the first half");
        };
        let read = history[half..]
            .iter()
            .position(|event| event.call.is_read());
        history[half + read.expect("a read")].call = Get(Some(old));
        rejects(&history);
    }
}
