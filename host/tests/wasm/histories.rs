//! Commands that the guests of this workspace understand, for the most part.

use rkv_host::bundled;
use rkv_host::check::{Entry, Random, commands_for, history};
use rkv_host::types::Description;

use crate::guests;

const COMMANDS: usize = 1000;

/// A guest, and how to drive it.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) wasm: Vec<u8>,
    commands: fn(&Description, &mut Random) -> Vec<Vec<u8>>,
}

impl Subject {
    /// A history with some bytes in it that are no commands.
    pub(crate) fn history(&self, description: &Description, seed: u64) -> Vec<Entry> {
        let mut random = Random::new(seed);
        let commands = (self.commands)(description, &mut random);
        history(commands, &mut random)
    }
}

/// The bundled store and every example. None of them ever traps.
pub(crate) fn examples() -> Vec<Subject> {
    let subject = |name, wasm, commands| Subject {
        name,
        wasm,
        commands,
    };
    vec![
        subject("kv", bundled::KV.to_vec(), kv),
        subject("kv-v2", guests::kv_v2(), kv),
        subject("ledger", guests::ledger(), ledger),
        subject("lock", guests::lock(), lock),
        subject("rate-limiter", guests::rate_limiter(), rate_limiter),
    ]
}

/// A guest that traps in several ways.
pub(crate) fn faulty() -> Subject {
    Subject {
        name: "faulty",
        wasm: guests::faulty(),
        commands: faults,
    }
}

fn kv(description: &Description, random: &mut Random) -> Vec<Vec<u8>> {
    commands_for(description, &[], COMMANDS, random)
}

/// Lines as `line` makes them from their numbers, from 1 on, and now and then random bytes.
fn lines(random: &mut Random, line: impl Fn(u64, &mut Random) -> String) -> Vec<Vec<u8>> {
    (1..=COMMANDS as u64)
        .map(|number| match random.below(20) {
            0 => random.bytes(60),
            _ => line(number, random).into_bytes(),
        })
        .collect()
}

fn name(random: &mut Random) -> &'static str {
    ["alice", "bob", "carol", "dave", ""][random.below(5)]
}

fn ledger(_: &Description, random: &mut Random) -> Vec<Vec<u8>> {
    lines(random, |_, random| {
        let (from, to, amount) = (name(random), name(random), random.below(60));
        match random.below(20) {
            0..3 => format!(r#"{{"open":{{"account":"{to}"}}}}"#),
            3..9 => format!(r#"{{"deposit":{{"account":"{to}","amount":{amount}}}}}"#),
            _ => format!(r#"{{"transfer":{{"from":"{from}","to":"{to}","amount":{amount}}}}}"#),
        }
    })
}

/// A token is the number of the entry that acquired the lock.
fn lock(_: &Description, random: &mut Random) -> Vec<Vec<u8>> {
    lines(random, |number, random| {
        let (lock, owner) = (name(random), name(random));
        let (token, ttl) = (
            number.saturating_sub(random.below(6) as u64),
            random.below(3000),
        );
        match random.below(10) {
            0..5 => {
                format!(r#"{{"acquire":{{"lock":"{lock}","owner":"{owner}","ttl_ms":{ttl}}}}}"#)
            }
            5..7 => format!(r#"{{"renew":{{"lock":"{lock}","token":{token},"ttl_ms":{ttl}}}}}"#),
            _ => format!(r#"{{"release":{{"lock":"{lock}","token":{token}}}}}"#),
        }
    })
}

/// Fractions of tokens: the one example that is handed floating-point numbers.
fn rate_limiter(_: &Description, random: &mut Random) -> Vec<Vec<u8>> {
    lines(random, |_, random| {
        let (key, capacity) = (name(random), 1 + random.below(20));
        let (n, refill) = (
            random.below(capacity + 2),
            random.below(9000) as f64 / 997.0,
        );
        format!(
            r#"{{"take":{{"key":"{key}","n":{n},"capacity":{capacity},"refill_per_second":{refill}}}}}"#
        )
    })
}

fn faults(_: &Description, random: &mut Random) -> Vec<Vec<u8>> {
    lines(random, |_, random| {
        let command = match random.below(150) {
            0 => "panic",
            1 => "recurse",
            2 => "spin",
            3 => "answer 70000",
            4..30 => "refuse",
            _ => "add",
        };
        command.to_owned()
    })
}
