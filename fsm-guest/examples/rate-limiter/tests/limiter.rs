//! What a bucket gives, and that it never gives more than its limit.

use std::collections::BTreeMap;

use rkv_example_rate_limiter::{Command, Peeked, Query, RateLimiter, Take, Taken, failure, topic};
use rkv_fsm::failure::MALFORMED;
use rkv_fsm::testing::{Random, context, replicate, restore, snapshot};
use rkv_fsm::{Context, Entry, StateMachine};

const START_MS: u64 = 1_700_000_000_000;

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON")
}

fn at(ms: u64) -> Context {
    Context {
        time_ms: START_MS + ms,
        ..context(1)
    }
}

fn apply(limiter: &mut RateLimiter, ms: u64, command: &[u8]) -> Result<Taken, u32> {
    let outcome = limiter
        .apply(at(ms), command.into())
        .map_err(|failure| failure.code)?;
    Ok(serde_json::from_slice(&outcome.response).expect("a reply"))
}

fn take(n: u64, capacity: u64, refill_per_second: f64) -> Vec<u8> {
    json(&Command::Take(Take {
        key: "alice".to_owned(),
        n,
        capacity,
        refill_per_second,
    }))
}

fn peek(limiter: &RateLimiter, ms: u64, key: &str, capacity: u64) -> Peeked {
    let key = key.to_owned();
    let answer = limiter
        .query(at(ms), json(&Query::Peek { key, capacity }))
        .expect("an answer");
    serde_json::from_slice(&answer).expect("what is in the bucket")
}

fn allowed(remaining: u64) -> Result<Taken, u32> {
    Ok(Taken {
        allowed: true,
        remaining,
        retry_after_ms: 0,
    })
}

fn limited(remaining: u64, retry_after_ms: u64) -> Result<Taken, u32> {
    Ok(Taken {
        allowed: false,
        remaining,
        retry_after_ms,
    })
}

fn peeked(remaining: u64, full_after_ms: u64) -> Peeked {
    Peeked {
        remaining,
        full_after_ms,
    }
}

#[test]
fn a_bucket_gives_what_it_holds_and_then_what_refills() {
    let mut limiter = RateLimiter::default();
    assert_eq!(apply(&mut limiter, 0, &take(3, 5, 2.0)), allowed(2));
    assert_eq!(apply(&mut limiter, 0, &take(3, 5, 2.0)), limited(2, 500));
    assert_eq!(apply(&mut limiter, 499, &take(3, 5, 2.0)), limited(2, 1));
    assert_eq!(apply(&mut limiter, 500, &take(3, 5, 2.0)), allowed(0));
    assert_eq!(peek(&limiter, 500, "alice", 5), peeked(0, 2500));
    assert_eq!(peek(&limiter, 1999, "alice", 5), peeked(2, 1001));
    assert_eq!(peek(&limiter, 2000, "alice", 5), peeked(3, 1000));
    assert_eq!(peek(&limiter, 1_000_000, "alice", 5), peeked(5, 0));
    assert_eq!(peek(&limiter, 500, "bob", 5), peeked(5, 0));
}

#[test]
fn a_slow_refill_loses_no_fraction_of_a_token_however_often_it_is_looked_at() {
    let mut limiter = RateLimiter::default();
    assert_eq!(apply(&mut limiter, 0, &take(1, 1, 0.003)), allowed(0));
    // Three tokens in 1000 s: one after 333,334 ms.
    for ms in (1..333_334).step_by(9973) {
        assert_eq!(
            apply(&mut limiter, ms, &take(1, 1, 0.003)),
            limited(0, 333_334 - ms)
        );
    }
    assert_eq!(
        apply(&mut limiter, 333_333, &take(1, 1, 0.003)),
        limited(0, 1)
    );
    assert_eq!(apply(&mut limiter, 333_334, &take(1, 1, 0.003)), allowed(0));
}

#[test]
fn another_limit_holds_from_its_first_request_on() {
    let mut limiter = RateLimiter::default();
    assert_eq!(apply(&mut limiter, 0, &take(8, 10, 1.0)), allowed(2));
    // A lower capacity than what is missing: nothing is left, and it takes longer.
    assert_eq!(
        apply(&mut limiter, 1000, &take(1, 5, 1.0)),
        limited(0, 3000)
    );
    // Seven were missing when the refill became faster.
    assert_eq!(apply(&mut limiter, 1000, &take(1, 10, 7.0)), allowed(2));
    assert_eq!(peek(&limiter, 2000, "alice", 10), peeked(9, 143));
}

#[test]
fn requests_that_make_no_sense_are_refused_with_their_codes_and_change_nothing() {
    let mut limiter = RateLimiter::default();
    apply(&mut limiter, 0, &take(1, 5, 1.0)).expect("a token");
    let before = snapshot(&limiter, 4096);
    let with_key = |key: String| {
        json(&Command::Take(Take {
            key,
            n: 1,
            capacity: 1,
            refill_per_second: 1.0,
        }))
    };
    for (command, code) in [
        (take(0, 5, 1.0), failure::BAD_NUMBER),
        (take(6, 5, 1.0), failure::BAD_NUMBER),
        (take(u64::MAX, 5, 1.0), failure::BAD_NUMBER),
        (take(1, 0, 1.0), failure::BAD_CAPACITY),
        (take(1, 1_000_000_001, 1.0), failure::BAD_CAPACITY),
        (take(1, 5, 0.0), failure::BAD_REFILL),
        (take(1, 5, -1.0), failure::BAD_REFILL),
        (take(1, 5, 0.000_9), failure::BAD_REFILL),
        (take(1, 5, 1_000_001.0), failure::BAD_REFILL),
        (take(1, 5, f64::MAX), failure::BAD_REFILL),
        (with_key(String::new()), failure::BAD_KEY),
        (with_key("x".repeat(257)), failure::BAD_KEY),
        (
            br#"{"take":{"key":"alice","capacity":5}}"#.to_vec(),
            MALFORMED,
        ),
        (
            br#"{"take":{"key":"alice","capacity":5,"refill_per_second":1e999}}"#.to_vec(),
            MALFORMED,
        ),
        (vec![], MALFORMED),
    ] {
        let text = String::from_utf8_lossy(&command).into_owned();
        assert_eq!(apply(&mut limiter, 5000, &command), Err(code), "{text}");
        assert!(snapshot(&limiter, 4096) == before, "{text}");
    }
    let largest = take(1_000_000_000, 1_000_000_000, 1_000_000.0);
    assert_eq!(apply(&mut limiter, 5000, &largest), allowed(0));
}

#[test]
fn buckets_that_are_full_again_are_forgotten() {
    let mut limiter = RateLimiter::default();
    let take_one = |index: u64| {
        let key = format!("key {index}");
        json(&Command::Take(Take {
            key,
            n: 1,
            capacity: 2,
            refill_per_second: 1.0,
        }))
    };
    let empty = snapshot(&limiter, 4096).len();
    for index in 0..100 {
        apply(&mut limiter, 0, &take_one(index)).expect("a token");
    }
    let full = snapshot(&limiter, 4096).len();
    for index in 100..120 {
        apply(&mut limiter, 1000 * index, &take_one(index)).expect("a token");
    }
    let kept = snapshot(&limiter, 4096).len();
    assert!(
        kept - empty < (full - empty) / 50,
        "{kept} bytes, {full} before"
    );
}

#[test]
fn watchers_are_told_who_was_limited() {
    let mut limiter = RateLimiter::default();
    let events = |limiter: &mut RateLimiter| {
        limiter
            .apply(at(0), take(1, 1, 0.5))
            .expect("an answer")
            .events
    };
    assert!(events(&mut limiter).is_empty());
    let told = events(&mut limiter);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].topic, topic::LIMITED);
    assert_eq!(told[0].data, br#"{"key":"alice","retry_after_ms":2000}"#);
}

/// Limits by key: capacity in tokens, and refill in thousandths of a token per second.
const LIMITS: [(&str, u64, u64); 3] = [("a", 1, 500), ("b", 5, 20_000), ("c", 100, 1001)];

/// A bucket that is refilled millisecond by millisecond.
struct ModelBucket {
    microtokens: u64,
    ms: u64,
}

impl ModelBucket {
    fn take(&mut self, ms: u64, n: u64, capacity: u64, refill: u64) -> bool {
        while self.ms < ms {
            let refilled = self.microtokens + refill;
            self.microtokens = refilled.min(capacity * 1_000_000);
            self.ms += 1;
        }
        let allowed = self.microtokens >= n * 1_000_000;
        if allowed {
            self.microtokens -= n * 1_000_000;
        }
        allowed
    }
}

#[test]
fn random_histories_give_what_a_bucket_filled_by_the_millisecond_gives() {
    let queries = LIMITS.map(|(key, capacity, _)| {
        let key = key.to_owned();
        json(&Query::Peek { key, capacity })
    });
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let mut ms = 0;
        let history: Vec<_> = (1..=1000)
            .map(|index| {
                ms += random.below(3) * random.below(100);
                let (key, capacity, refill) = *random.pick(&LIMITS);
                let command = match random.below(20) {
                    0 => random.bytes(40),
                    _ => json(&Command::Take(Take {
                        key: key.to_owned(),
                        n: random.below(capacity + 1),
                        capacity,
                        refill_per_second: refill as f64 / 1000.0,
                    })),
                };
                Entry {
                    context: Context { index, ..at(ms) },
                    command,
                }
            })
            .collect();
        let run = replicate::<RateLimiter>(&history, &queries, seed);

        let mut model: BTreeMap<String, ModelBucket> = BTreeMap::new();
        let mut counts = [0, 0];
        for (Entry { context, command }, outcome) in history.iter().zip(&run.outcomes) {
            let Ok(outcome) = outcome else { continue };
            let taken: Taken = serde_json::from_slice(&outcome.response).expect("a reply");
            let Command::Take(Take { key, n, .. }) =
                serde_json::from_slice(command).expect("a command");
            let (_, capacity, refill) = *LIMITS.iter().find(|limit| limit.0 == key).expect("a key");
            let bucket = model.entry(key).or_insert(ModelBucket {
                microtokens: capacity * 1_000_000,
                ms: START_MS,
            });
            let allowed = bucket.take(context.time_ms, n, capacity, refill);
            assert_eq!(taken.allowed, allowed, "{taken:?} at {}", context.time_ms);
            assert_eq!(taken.remaining, bucket.microtokens / 1_000_000);
            counts[usize::from(allowed)] += 1;
        }
        assert!(
            counts.iter().all(|&count| count > 100),
            "{counts:?} limited and allowed"
        );
    }
}

#[test]
fn a_snapshot_of_the_most_extreme_numbers_is_read_without_a_trap() {
    // One bucket of the key "alice" that misses, since the end of time, all there can be.
    let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let bytes = [&b"\x01\x05alice"[..], &most, &most, &[1]].concat();
    let mut limiter: RateLimiter = restore(&bytes, 7).expect("a snapshot");
    assert_eq!(
        apply(&mut limiter, 0, &take(1, 1, 1.0)).map(|taken| taken.allowed),
        Ok(false)
    );
    assert_eq!(peek(&limiter, 0, "alice", 1).remaining, 0);
    let zero_refill = [&b"\x01\x05alice"[..], &most, &most, &[0]].concat();
    assert!(restore::<RateLimiter>(&zero_refill, 7).is_err());
}
