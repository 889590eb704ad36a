//! The counter and its commands.

use std::hint::black_box;

use rkv_fsm::{Context, Description, Event, Failure, Outcome, StateMachine};

use crate::saved::{Saved, Saving};

/// Code of the failure that `refuse` asks for.
pub const REFUSED: u32 = 1;
/// Code of the failure that text which is no command, or no query, gets.
pub const UNKNOWN: u32 = 2;

const MIB: usize = 1 << 20;

/// A count, and what is to go wrong later.
#[derive(Debug, Default)]
pub struct Faulty {
    pub(crate) count: u64,
    pub(crate) snapshot_broken: bool,
    pub(crate) restore_refused: bool,
    pub(crate) restore_traps: bool,
    pub(crate) kept: Vec<Vec<u8>>,
}

impl StateMachine for Faulty {
    type Snapshot = Saving;
    type Restore = Saved;

    fn describe() -> Description {
        Description {
            name: "faulty".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            schema: 1,
            reads_schemas: vec![1],
            protocols: vec!["rkv:faulty@1".to_owned()],
        }
    }

    fn apply(&mut self, _: Context, command: Vec<u8>) -> Result<Outcome, Failure> {
        let text = String::from_utf8_lossy(&command);
        let (name, argument) = text.split_once(' ').unwrap_or((&text, "0"));
        let number = argument.parse().unwrap_or(0);
        let mut response = Vec::new();
        let mut events = Vec::new();
        match name {
            "add" => {
                self.count += 1;
                response = self.count.to_string().into_bytes();
            }
            "refuse" => return Err(failure(REFUSED, "refused as asked")),
            "panic" => {
                self.count += 1;
                panic!("panics as asked");
            }
            "spin" => spin(),
            "recurse" => response = recurse(1).to_string().into_bytes(),
            "eat" => loop {
                self.kept.push(touched(MIB));
            },
            "keep" => self.kept.extend((0..number).map(|_| touched(MIB))),
            "answer" => response = vec![b'x'; number],
            "emit" => events.extend((0..number).map(emitted)),
            "address" => response = format!("{:p}", black_box(Box::new(0_u64))).into_bytes(),
            "break-snapshot" => self.snapshot_broken = true,
            "break-restore" => self.restore_refused = true,
            "trap-restore" => self.restore_traps = true,
            _ => return Err(failure(UNKNOWN, "not a command")),
        }
        Ok(Outcome { response, events })
    }

    fn query(&self, _: Context, request: Vec<u8>) -> Result<Vec<u8>, Failure> {
        match request.as_slice() {
            b"get" => Ok(self.count.to_string().into_bytes()),
            b"panic" => panic!("panics as asked"),
            b"spin" => spin(),
            b"recurse" => Ok(recurse(1).to_string().into_bytes()),
            _ => Err(failure(UNKNOWN, "not a query")),
        }
    }

    fn freeze(&self) -> Saving {
        Saving::of(self)
    }

    fn restore(_: Description) -> Result<Saved, Failure> {
        Ok(Saved::default())
    }
}

pub(crate) fn failure(code: u32, message: &str) -> Failure {
    Failure {
        code,
        message: message.to_owned(),
    }
}

fn emitted(number: usize) -> Event {
    Event {
        topic: "emitted".to_owned(),
        data: number.to_string().into_bytes(),
    }
}

fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Not a loop in disguise: each call has an array of its own on the shadow stack.
#[expect(unconditional_recursion, reason = "as asked")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 16]);
    recurse(frame[15] + 1) + black_box(frame)[0]
}

/// Memory that is really there.
fn touched(bytes: usize) -> Vec<u8> {
    black_box(vec![1; bytes])
}
