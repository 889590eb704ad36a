//! The harness finds state machines that would let nodes differ, each with one such fault.

use rkv_fsm::json::{Events, JsonMachine};
use rkv_fsm::testing::{Replicated, context, entries, migrate, replicate};
use rkv_fsm::{Context, Description, Failure, StateMachine, failure};
use serde::{Deserialize, Serialize};

const NONE: u8 = 0;
const REFUSALS_CHANGE_THE_STATE: u8 = 1;
const REPLIES_TELL_WHAT_IS_NOT_SAVED: u8 = 2;
const ANSWERS_TELL_WHAT_IS_NOT_SAVED: u8 = 3;
const SNAPSHOTS_CANNOT_BE_READ: u8 = 4;

/// Adds up even numbers and refuses odd ones.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Saved")]
struct Adder<const FAULT: u8> {
    sum: u64,
    #[serde(skip)]
    since_start: u64,
}

#[derive(Deserialize)]
struct Saved {
    sum: u64,
}

impl<const FAULT: u8> TryFrom<Saved> for Adder<FAULT> {
    type Error = &'static str;

    fn try_from(saved: Saved) -> Result<Self, Self::Error> {
        if FAULT == SNAPSHOTS_CANNOT_BE_READ {
            return Err("not readable");
        }
        Ok(Self {
            sum: saved.sum,
            since_start: 0,
        })
    }
}

impl<const FAULT: u8> JsonMachine for Adder<FAULT> {
    type Command = u32;
    type Reply = u64;
    type Query = ();
    type Answer = u64;

    fn description() -> Description {
        Description {
            name: "adder".to_owned(),
            version: "1.0.0".to_owned(),
            schema: 2,
            reads_schemas: vec![1, 2],
            protocols: vec![],
        }
    }

    fn execute(&mut self, _: Context, number: u32, _: &mut Events) -> Result<u64, Failure> {
        if number % 2 == 1 {
            self.sum += u64::from(FAULT == REFUSALS_CHANGE_THE_STATE);
            return Err(Failure {
                code: failure::FIRST_OWN,
                message: "odd".to_owned(),
            });
        }
        self.sum += u64::from(number);
        self.since_start += 1;
        Ok(match FAULT {
            REPLIES_TELL_WHAT_IS_NOT_SAVED => self.since_start,
            _ => self.sum,
        })
    }

    fn answer(&self, _: Context, (): ()) -> Result<u64, Failure> {
        Ok(match FAULT {
            ANSWERS_TELL_WHAT_IS_NOT_SAVED => self.since_start,
            _ => self.sum,
        })
    }

    /// Schema 1 kept the half of the sum.
    fn migrate(_: &Description, snapshot: &[u8]) -> Result<Self, Failure> {
        let half: u32 = rkv_fsm::serde_state::decode(snapshot)?;
        Ok(Self {
            sum: u64::from(half) * 2,
            since_start: 0,
        })
    }
}

fn run<const FAULT: u8>() -> Replicated<Adder<FAULT>> {
    let history = entries((0..300_u32).map(|number| number.to_string().into_bytes()));
    replicate(&history, &[b"null".to_vec()], 1)
}

#[test]
fn a_faultless_machine_passes_and_hands_back_its_state_and_outcomes() {
    let run = run::<NONE>();
    assert_eq!(
        run.machine.sum,
        (0..300).filter(|number| number % 2 == 0).sum::<u64>()
    );
    assert_eq!(run.outcomes.len(), 300);
    assert_eq!(
        run.outcomes[4]
            .as_ref()
            .map(|outcome| &outcome.response[..]),
        Ok(&b"6"[..])
    );
    assert_eq!(
        run.outcomes[5].as_ref().map_err(|failure| failure.code),
        Err(failure::FIRST_OWN)
    );
}

#[test]
#[should_panic(expected = "without the failed entries")]
fn a_refusal_that_changes_the_state_is_found() {
    let _ = run::<REFUSALS_CHANGE_THE_STATE>();
}

#[test]
#[should_panic(expected = "after snapshots and restarts")]
fn a_reply_that_tells_what_a_snapshot_does_not_keep_is_found() {
    let _ = run::<REPLIES_TELL_WHAT_IS_NOT_SAVED>();
}

#[test]
#[should_panic(expected = "query")]
fn an_answer_that_tells_what_a_snapshot_does_not_keep_is_found() {
    let _ = run::<ANSWERS_TELL_WHAT_IS_NOT_SAVED>();
}

#[test]
#[should_panic(expected = "its own snapshot")]
fn a_snapshot_that_is_not_read_back_is_found() {
    let _ = run::<SNAPSHOTS_CANNOT_BE_READ>();
}

#[test]
fn snapshots_of_older_schemas_are_migrated_and_others_are_refused_by_name() {
    let restore = |name: &str, schema, bytes: &[u8]| {
        let mut saved = Adder::<NONE>::describe();
        saved.name = name.to_owned();
        saved.schema = schema;
        migrate::<Adder<NONE>>(saved, bytes, 1)
    };
    assert_eq!(restore("adder", 2, &[5]).map(|adder| adder.sum), Ok(5));
    assert_eq!(restore("adder", 1, &[5]).map(|adder| adder.sum), Ok(10));
    for (name, schema) in [("adder", 3), ("subtractor", 2)] {
        let failure = restore(name, schema, &[5]).unwrap_err();
        assert_eq!(failure.code, failure::FOREIGN_SNAPSHOT);
        let expected = format!("adder reads no snapshot of {name} with schema {schema}");
        assert_eq!(failure.message, expected);
    }
}

#[test]
fn input_that_is_no_command_is_refused_in_one_short_line() {
    let mut adder = Adder::<NONE>::default();
    let long = format!("\"{}\"", "new\nline ".repeat(1000).replace('\n', "\\n"));
    for input in [
        "",
        "{",
        "-1",
        "\"text\"",
        "2 2",
        "\u{7f}",
        "[[[[",
        long.as_str(),
    ] {
        for failure in [
            adder.apply(context(1), input.into()).unwrap_err(),
            adder.query(context(1), input.into()).unwrap_err(),
        ] {
            assert_eq!(failure.code, failure::MALFORMED);
            assert!(failure.message.starts_with("not a "), "{failure:?}");
            assert!(failure.message.chars().count() < 250, "{failure:?}");
            assert!(!failure.message.contains('\n'), "{failure:?}");
        }
    }
    assert_eq!(adder.sum, 0);
}
