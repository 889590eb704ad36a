//! The commands of a check, as a log would carry them.

use rkv_kv_protocol::{Command, PROTOCOL, Query};

use super::random::Random;
use crate::types::Description;
use crate::wasm::{ApplyEntry, Context};

/// Keys that generated commands choose from: few, so that they meet.
const KEYS: usize = 60;
/// Bytes of a generated value are fewer than this, and sometimes than this many times as many.
const VALUE_BYTES: usize = 200;
const LARGE_VALUE: usize = 50;
/// Bytes of a random command are fewer than this.
const GARBAGE_BYTES: usize = 120;

/// When a history begins, in ms since 1970. What matters is that it is the same in each run.
const START_MS: u64 = 1_700_000_000_000;

/// One command with its place in the log.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where and when it runs. The index is the number of the entry, from 1 on.
    pub context: Context,
    /// The module's own encoding.
    pub command: Vec<u8>,
}

impl Entry {
    /// What an instance is handed.
    pub(super) fn to_apply(&self) -> ApplyEntry<'_> {
        ApplyEntry {
            context: self.context,
            command: &self.command,
        }
    }
}

/// The commands in the order of a log: time stands still or goes on, by minutes at times, and the
/// term changes now and then.
pub fn history(commands: Vec<Vec<u8>>, random: &mut Random) -> Vec<Entry> {
    let (mut term, mut time_ms) = (1, START_MS);
    let entry = |(command, index)| {
        term += u64::from(random.below(100) == 0);
        time_ms += match random.below(50) {
            0 => random.below(600_000),
            1..25 => 0,
            _ => random.below(500),
        } as u64;
        let context = Context {
            index,
            term,
            time_ms,
            seed: random.number(),
        };
        Entry { context, command }
    };
    commands.into_iter().zip(1..).map(entry).collect()
}

/// Whether `commands_for` and `queries_for` know what a module understands.
pub(super) fn speaks_kv(description: &Description) -> bool {
    description
        .protocols
        .iter()
        .any(|spoken| spoken == PROTOCOL)
}

/// `count` commands for a module: of `rkv:kv@1` if it speaks that, variations on `examples` if there
/// are any, random bytes otherwise. Some are random bytes in any case.
pub fn commands_for(
    description: &Description,
    examples: &[Vec<u8>],
    count: usize,
    random: &mut Random,
) -> Vec<Vec<u8>> {
    let kv = speaks_kv(description);
    let command = |_| match random.below(8) {
        0 => random.bytes(GARBAGE_BYTES),
        1..5 if kv => kv_command(random),
        choice => match random.pick(examples) {
            Some(example) if choice < 5 => example.clone(),
            Some(example) => damaged(example, random),
            None if kv => kv_command(random),
            None => random.bytes(GARBAGE_BYTES),
        },
    };
    (0..count).map(command).collect()
}

/// `count` queries for a module: of `rkv:kv@1` if it speaks that, commands, and random bytes.
pub(super) fn queries_for(
    description: &Description,
    entries: &[&Entry],
    count: usize,
    random: &mut Random,
) -> Vec<Vec<u8>> {
    let kv = speaks_kv(description);
    let query = |_| match random.below(8) {
        0..5 if kv => kv_query(random),
        0..5 => random
            .pick(entries)
            .map_or_else(Vec::new, |entry| entry.command.clone()),
        _ => random.bytes(GARBAGE_BYTES),
    };
    (0..count).map(query).collect()
}

fn key(random: &mut Random) -> Vec<u8> {
    format!("key/{}", random.below(KEYS)).into_bytes()
}

fn value(random: &mut Random) -> Vec<u8> {
    let factor = if random.below(50) == 0 {
        LARGE_VALUE
    } else {
        1
    };
    random.bytes(VALUE_BYTES * factor)
}

fn kv_command(random: &mut Random) -> Vec<u8> {
    let key_here = key(random);
    match random.below(10) {
        0..2 => Command::Delete { key: &key_here }.encode(),
        2 => {
            let pairs: Vec<_> = (0..random.below(8))
                .map(|_| (key(random), value(random)))
                .collect();
            let mut pairs: Vec<(&[u8], &[u8])> =
                pairs.iter().map(|(k, v)| (&k[..], &v[..])).collect();
            // Sometimes none of it may be carried out: the last key is not UTF-8.
            if random.below(4) == 0 {
                pairs.push((b"\xff", b""));
            }
            Command::Batch(pairs).encode()
        }
        3 => Command::Set {
            key: b"",
            value: b"",
        }
        .encode(),
        _ => Command::Set {
            key: &key_here,
            value: &value(random),
        }
        .encode(),
    }
}

fn kv_query(random: &mut Random) -> Vec<u8> {
    let key = key(random);
    match random.below(3) {
        0 => Query::Keys {
            prefix: &key[..random.below(key.len() + 1)],
            after: (random.below(2) == 0).then_some(&key),
            limit: random.below(10) as u32,
        }
        .encode(),
        _ => Query::Get { key: &key }.encode(),
    }
}

/// Some bytes cut off, changed, or put in.
fn damaged(example: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = example.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(3) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.number() as u8),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.number() as u8;
                }
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(protocols: &[&str]) -> Description {
        Description {
            name: "probe".to_owned(),
            version: String::new(),
            schema: 1,
            reads_schemas: vec![1],
            protocols: protocols.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[test]
    fn a_history_goes_forward_with_time_that_stands_still_at_times() {
        let entries = history(vec![vec![1]; 1000], &mut Random::new(1));
        assert_eq!(entries[0].context.index, 1);
        let mut still = 0;
        for pair in entries.windows(2) {
            let [before, after] = [pair[0].context, pair[1].context];
            assert_eq!(after.index, before.index + 1);
            assert!(after.time_ms >= before.time_ms && after.term >= before.term);
            still += usize::from(after.time_ms == before.time_ms);
        }
        assert!((100..900).contains(&still), "{still}");
        assert!(entries[999].context.term > 1);
    }

    #[test]
    fn a_store_gets_commands_that_it_understands_and_some_that_it_does_not() {
        let commands = commands_for(&description(&[PROTOCOL]), &[], 1000, &mut Random::new(1));
        let understood = commands
            .iter()
            .filter(|c| Command::decode(c).is_ok())
            .count();
        assert!((700..950).contains(&understood), "{understood}");
        let deletes = commands
            .iter()
            .filter(|command| matches!(Command::decode(command), Ok(Command::Delete { .. })));
        assert!(deletes.count() > 50);
    }

    #[test]
    fn examples_are_repeated_and_varied() {
        let examples = [b"first".to_vec(), b"second".to_vec()];
        let commands = commands_for(&description(&[]), &examples, 1000, &mut Random::new(1));
        for example in &examples {
            let repeated = commands
                .iter()
                .filter(|command| *command == example)
                .count();
            assert!((150..400).contains(&repeated), "{repeated}");
        }
    }

    #[test]
    fn damage_copes_with_nothing() {
        let mut random = Random::new(1);
        assert!((0..100).all(|_| damaged(b"", &mut random).len() < 5));
    }
}
