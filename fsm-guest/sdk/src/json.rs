//! State machines whose commands and answers are JSON, for people with `curl` and programs in any
//! language.
//!
//! Implement [`JsonMachine`] with ordinary types: it is a [`StateMachine`] then. Input that is not
//! the JSON of a command or query is refused with [`failure::MALFORMED`], and snapshots are those
//! of [`serde_state`](crate::serde_state).
//!
//! ```
//! use rkv_fsm::json::{Events, JsonMachine};
//! use rkv_fsm::{Context, Description, Failure, StateMachine, testing};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Counter(u64);
//!
//! #[derive(Deserialize)]
//! #[serde(rename_all = "snake_case", deny_unknown_fields)]
//! enum Command {
//!     Add { amount: u32 },
//! }
//!
//! #[derive(Deserialize)]
//! #[serde(rename_all = "snake_case")]
//! enum Query {
//!     Count,
//! }
//!
//! impl JsonMachine for Counter {
//!     type Command = Command;
//!     type Reply = u64;
//!     type Query = Query;
//!     type Answer = u64;
//!
//!     fn description() -> Description {
//!         Description {
//!             name: "counter".to_owned(),
//!             version: env!("CARGO_PKG_VERSION").to_owned(),
//!             schema: 1,
//!             reads_schemas: vec![1],
//!             protocols: vec![],
//!         }
//!     }
//!
//!     fn execute(&mut self, _: Context, command: Command, _: &mut Events) -> Result<u64, Failure> {
//!         let Command::Add { amount } = command;
//!         self.0 = self.0.saturating_add(amount.into());
//!         Ok(self.0)
//!     }
//!
//!     fn answer(&self, _: Context, Query::Count: Query) -> Result<u64, Failure> {
//!         Ok(self.0)
//!     }
//! }
//!
//! rkv_fsm::export!(Counter);
//!
//! let mut counter = Counter::default();
//! let outcome = counter.apply(testing::context(1), br#"{"add":{"amount":5}}"#.to_vec()).unwrap();
//! assert_eq!(outcome.response, b"5");
//! assert_eq!(counter.query(testing::context(1), br#""count""#.to_vec()).unwrap(), b"5");
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::machine::foreign;
use crate::serde_state::{Decoding, Encoded};
use crate::{Context, Description, Event, Failure, Outcome, StateMachine, failure};

/// How much of a parser's message is passed on, in characters: it may quote all of the input.
const MAX_MESSAGE_CHARS: usize = 200;

/// A state machine that reads and writes JSON, and whose state is a serde type.
///
/// All that [`StateMachine`] asks for holds here too. The state must suit
/// [`serde_state`](crate::serde_state).
pub trait JsonMachine: Default + Serialize + DeserializeOwned + 'static {
    /// What changes the state.
    type Command: DeserializeOwned;
    /// What a command answers. Its maps have strings as keys, as JSON has no others.
    type Reply: Serialize;
    /// What asks about the state.
    type Query: DeserializeOwned;
    /// What a query answers, of the same kind as replies.
    type Answer: Serialize;

    /// What the state machine is. Always the same.
    fn description() -> Description;

    /// Carries out one command.
    ///
    /// # Errors
    ///
    /// A refusal. The state must then be as it was before; the events are dropped.
    fn execute(
        &mut self,
        context: Context,
        command: Self::Command,
        events: &mut Events,
    ) -> Result<Self::Reply, Failure>;

    /// Answers a question. `now` is the context of the newest command.
    ///
    /// # Errors
    ///
    /// The question cannot be answered.
    fn answer(&self, now: Context, query: Self::Query) -> Result<Self::Answer, Failure>;

    /// Makes a state of the snapshot that `saved`, with another schema, wrote. To be written by
    /// those who list such schemas: [`decode`](crate::serde_state::decode) reads the type that the state once had.
    ///
    /// # Errors
    ///
    /// The bytes are no snapshot of that schema.
    fn migrate(saved: &Description, _snapshot: &[u8]) -> Result<Self, Failure> {
        Err(foreign(&Self::description(), saved))
    }
}

impl<M: JsonMachine> StateMachine for M {
    type Snapshot = Encoded;
    type Restore = Decoding<M>;

    fn describe() -> Description {
        Self::description()
    }

    fn apply(&mut self, context: Context, command: Vec<u8>) -> Result<Outcome, Failure> {
        let mut events = Events(Vec::new());
        let reply = self.execute(context, read("command", &command)?, &mut events)?;
        Ok(Outcome {
            response: write(&reply),
            events: events.0,
        })
    }

    fn query(&self, now: Context, request: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let answer = self.answer(now, read("query", &request)?)?;
        Ok(write(&answer))
    }

    fn freeze(&self) -> Encoded {
        Encoded::new(self)
    }

    fn restore(saved: Description) -> Result<Decoding<M>, Failure> {
        Decoding::new(saved, M::migrate)
    }
}

/// What watchers are told once the command is applied.
#[derive(Debug)]
pub struct Events(Vec<Event>);

impl Events {
    /// Adds an event, with `data` as JSON.
    ///
    /// # Panics
    ///
    /// When the type of `data` has maps whose keys are no strings.
    pub fn emit(&mut self, topic: &str, data: &impl Serialize) {
        self.0.push(Event {
            topic: topic.to_owned(),
            data: write(data),
        });
    }
}

fn read<T: DeserializeOwned>(what: &str, json: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(json).map_err(|error| {
        let reason = error.to_string();
        let line = reason
            .chars()
            .map(|char| if char.is_control() { ' ' } else { char });
        Failure {
            code: failure::MALFORMED,
            message: format!("not a {what}: ")
                .chars()
                .chain(line.take(MAX_MESSAGE_CHARS))
                .collect(),
        }
    })
}

/// The state may have changed already, so there is no way back from here but a trap, which undoes
/// the command.
fn write(value: &impl Serialize) -> Vec<u8> {
    match serde_json::to_vec(value) {
        Ok(json) => json,
        Err(error) => panic!("a type that cannot be written as JSON: {error}"),
    }
}
