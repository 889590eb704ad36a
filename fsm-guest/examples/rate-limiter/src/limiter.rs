//! The buckets.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use rkv_fsm::json::{Events, JsonMachine};
use rkv_fsm::{Context, Description, Failure};
use serde::{Deserialize, Serialize};

use crate::bucket::{Bucket, MICROTOKENS};
use crate::{Command, Peeked, Query, Take, Taken, failure, topic};

const MAX_KEY_BYTES: usize = 256;

/// Its microtokens, as those of the fastest refill in a second, are far below 2^64.
const MAX_CAPACITY: u64 = 1_000_000_000;

/// In tokens per second.
const MIN_REFILL: f64 = 0.001;
const MAX_REFILL: f64 = 1_000_000.0;

/// How many full buckets a command forgets. It fills one at most, so they do not pile up.
const MAX_FORGOTTEN: usize = 8;

/// Buckets that are not full, and how much is missing in them.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(from = "Saved")]
pub struct RateLimiter {
    buckets: BTreeMap<String, Bucket>,
    /// The same buckets in the order in which they will be full: when, and of which key.
    #[serde(skip)]
    full: BTreeSet<(u64, String)>,
}

impl RateLimiter {
    fn take(&mut self, now_ms: u64, take: Take, events: &mut Events) -> Result<Taken, Failure> {
        let Take {
            key, n, capacity, ..
        } = take;
        check_key(&key)?;
        let capacity_micro = microtokens(capacity)?;
        let refill = refill_per_ms(take.refill_per_second)?;
        if !(1..=capacity).contains(&n) {
            let message = format!("from 1 to {capacity} tokens can be taken, not {n}");
            return Err(refuse(failure::BAD_NUMBER, message));
        }
        self.forget_full(now_ms);

        // The capacity may have become lower than what is missing already.
        let missing = self.missing(now_ms, &key);
        let wanted = missing.saturating_add(n * MICROTOKENS);
        let lacking = wanted.saturating_sub(capacity_micro);
        if lacking > 0 {
            // Nothing is taken, but the refill may be another one.
            self.put(&key, missing, now_ms, refill);
            let retry_after_ms = lacking.div_ceil(refill.get());
            emit_limited(events, &key, retry_after_ms);
            return Ok(Taken {
                allowed: false,
                remaining: whole_tokens(capacity_micro, missing),
                retry_after_ms,
            });
        }
        self.put(&key, wanted, now_ms, refill);
        Ok(Taken {
            allowed: true,
            remaining: whole_tokens(capacity_micro, wanted),
            retry_after_ms: 0,
        })
    }

    /// What the key's bucket lacks now, in microtokens.
    fn missing(&self, now_ms: u64, key: &str) -> u64 {
        self.buckets
            .get(key)
            .map_or(0, |bucket| bucket.missing(now_ms))
    }

    fn put(&mut self, key: &str, missing: u64, now_ms: u64, refill: NonZeroU64) {
        self.remove(key);
        if let Some(bucket) = Bucket::new(missing, now_ms, refill) {
            self.full.insert((bucket.full_ms(), key.to_owned()));
            self.buckets.insert(key.to_owned(), bucket);
        }
    }

    fn remove(&mut self, key: &str) {
        if let Some((key, bucket)) = self.buckets.remove_entry(key) {
            self.full.remove(&(bucket.full_ms(), key));
        }
    }

    fn forget_full(&mut self, now_ms: u64) {
        for _ in 0..MAX_FORGOTTEN {
            match self.full.first() {
                Some((full_ms, _)) if *full_ms <= now_ms => {}
                _ => return,
            }
            if let Some((_, key)) = self.full.pop_first() {
                self.buckets.remove(&key);
            }
        }
    }
}

impl JsonMachine for RateLimiter {
    type Command = Command;
    type Reply = Taken;
    type Query = Query;
    type Answer = Peeked;

    fn description() -> Description {
        Description {
            name: "rate-limiter".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            schema: 1,
            reads_schemas: vec![1],
            protocols: vec!["rkv:rate-limiter@1".to_owned()],
        }
    }

    fn execute(
        &mut self,
        context: Context,
        command: Command,
        events: &mut Events,
    ) -> Result<Taken, Failure> {
        let Command::Take(take) = command;
        self.take(context.time_ms, take, events)
    }

    fn answer(&self, now: Context, query: Query) -> Result<Peeked, Failure> {
        let Query::Peek { key, capacity } = query;
        let capacity = microtokens(capacity)?;
        let bucket = self.buckets.get(&key);
        Ok(Peeked {
            remaining: whole_tokens(capacity, self.missing(now.time_ms, &key)),
            full_after_ms: bucket.map_or(0, |it| it.full_ms().saturating_sub(now.time_ms)),
        })
    }
}

/// What a snapshot holds.
#[derive(Deserialize)]
struct Saved {
    buckets: BTreeMap<String, Bucket>,
}

impl From<Saved> for RateLimiter {
    fn from(Saved { buckets }: Saved) -> Self {
        let full = buckets
            .iter()
            .map(|(key, bucket)| (bucket.full_ms(), key.clone()))
            .collect();
        Self { buckets, full }
    }
}

fn whole_tokens(capacity_micro: u64, missing: u64) -> u64 {
    capacity_micro.saturating_sub(missing) / MICROTOKENS
}

fn microtokens(capacity: u64) -> Result<u64, Failure> {
    if (1..=MAX_CAPACITY).contains(&capacity) {
        Ok(capacity * MICROTOKENS)
    } else {
        let message = format!("a capacity is from 1 to {MAX_CAPACITY}, not {capacity}");
        Err(refuse(failure::BAD_CAPACITY, message))
    }
}

/// Tokens per second, in thousandths: the same number as microtokens per millisecond.
fn refill_per_ms(per_second: f64) -> Result<NonZeroU64, Failure> {
    let refill = if (MIN_REFILL..=MAX_REFILL).contains(&per_second) {
        NonZeroU64::new((per_second * 1000.0).round() as u64)
    } else {
        None
    };
    refill.ok_or_else(|| {
        let message = format!("a refill is from {MIN_REFILL} to {MAX_REFILL} tokens per second");
        refuse(failure::BAD_REFILL, message)
    })
}

fn check_key(key: &str) -> Result<(), Failure> {
    if (1..=MAX_KEY_BYTES).contains(&key.len()) {
        Ok(())
    } else {
        let message = format!("a key has 1 to {MAX_KEY_BYTES} bytes, not {}", key.len());
        Err(refuse(failure::BAD_KEY, message))
    }
}

fn emit_limited(events: &mut Events, key: &str, retry_after_ms: u64) {
    #[derive(Serialize)]
    struct Limited<'a> {
        key: &'a str,
        retry_after_ms: u64,
    }
    events.emit(
        topic::LIMITED,
        &Limited {
            key,
            retry_after_ms,
        },
    );
}

fn refuse(code: u32, message: String) -> Failure {
    Failure { code, message }
}
