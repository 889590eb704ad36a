//! Who holds a lock, and that tokens only ever grow.

use std::collections::BTreeMap;

use rkv_example_lock::{
    Acquire, Command, Lease, Locks, Query, Release, Renew, Reply, failure, topic,
};
use rkv_fsm::failure::MALFORMED;
use rkv_fsm::testing::{Random, context, replicate, restore, snapshot};
use rkv_fsm::{Context, Entry, Event, StateMachine};

const START_MS: u64 = 1_700_000_000_000;

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON")
}

/// The context of the entry at `index`, `ms` after the start.
fn at(index: u64, ms: u64) -> Context {
    Context {
        time_ms: START_MS + ms,
        ..context(index)
    }
}

/// The reply and the events' topics and locks, or the code of the failure.
fn apply(locks: &mut Locks, now: Context, command: &str) -> Result<(Reply, Vec<String>), u32> {
    let outcome = locks
        .apply(now, command.into())
        .map_err(|failure| failure.code)?;
    let reply = serde_json::from_slice(&outcome.response).expect("a reply");
    Ok((reply, outcome.events.iter().map(text).collect()))
}

fn text(Event { topic, data }: &Event) -> String {
    let data: serde_json::Value = serde_json::from_slice(data).expect("JSON");
    format!("{topic} {}", data["lock"])
}

fn granted(token: u64, expires_ms: u64) -> Reply {
    Reply {
        token,
        expires_ms: START_MS + expires_ms,
    }
}

fn holder(locks: &Locks, now: Context, lock: &str) -> Option<Lease> {
    let lock = lock.to_owned();
    let answer = locks
        .query(now, json(&Query::Holder { lock }))
        .expect("an answer");
    serde_json::from_slice(&answer).expect("a lease or null")
}

const ACQUIRE_BY_A: &str = r#"{"acquire":{"lock":"db","owner":"a","ttl_ms":100}}"#;
const ACQUIRE_BY_B: &str = r#"{"acquire":{"lock":"db","owner":"b","ttl_ms":100}}"#;

#[test]
fn a_lock_has_one_holder_until_it_is_released() {
    let mut locks = Locks::default();
    let acquired = apply(&mut locks, at(5, 0), ACQUIRE_BY_A);
    assert_eq!(
        acquired,
        Ok((granted(5, 100), vec![r#"acquired "db""#.into()]))
    );
    assert_eq!(
        apply(&mut locks, at(6, 50), ACQUIRE_BY_B),
        Err(failure::HELD)
    );
    let release = r#"{"release":{"lock":"db","token":5}}"#;
    let released = apply(&mut locks, at(7, 60), release);
    assert_eq!(
        released,
        Ok((granted(5, 60), vec![r#"released "db""#.into()]))
    );
    assert_eq!(holder(&locks, at(7, 60), "db"), None);
    assert_eq!(apply(&mut locks, at(8, 60), release), Err(failure::LOST));
    let acquired = apply(&mut locks, at(9, 60), ACQUIRE_BY_B).expect("it is free");
    assert_eq!(acquired.0, granted(9, 160));
}

#[test]
fn a_lease_is_over_at_its_end_and_the_next_token_is_higher() {
    let mut locks = Locks::default();
    apply(&mut locks, at(5, 0), ACQUIRE_BY_A).expect("it is free");
    assert_eq!(
        apply(&mut locks, at(6, 99), ACQUIRE_BY_B),
        Err(failure::HELD)
    );
    assert!(holder(&locks, at(6, 99), "db").is_some());
    assert_eq!(holder(&locks, at(6, 100), "db"), None);
    let renew = r#"{"renew":{"lock":"db","token":5,"ttl_ms":100}}"#;
    assert_eq!(apply(&mut locks, at(7, 100), renew), Err(failure::LOST));
    let events = vec![r#"expired "db""#.into(), r#"acquired "db""#.into()];
    let acquired = apply(&mut locks, at(8, 100), ACQUIRE_BY_B);
    assert_eq!(acquired, Ok((granted(8, 200), events)));
    // The first holder was slow. It neither renews nor releases what is another's now.
    assert_eq!(apply(&mut locks, at(9, 110), renew), Err(failure::LOST));
    let release = r#"{"release":{"lock":"db","token":5}}"#;
    assert_eq!(apply(&mut locks, at(10, 110), release), Err(failure::LOST));
    assert_eq!(
        holder(&locks, at(10, 110), "db").map(|lease| lease.owner),
        Some("b".into())
    );
}

#[test]
fn a_renewed_lease_ends_later_and_a_repeated_acquire_keeps_its_token() {
    let mut locks = Locks::default();
    apply(&mut locks, at(5, 0), ACQUIRE_BY_A).expect("it is free");
    let renew = r#"{"renew":{"lock":"db","token":5,"ttl_ms":1000}}"#;
    assert_eq!(
        apply(&mut locks, at(6, 50), renew),
        Ok((granted(5, 1050), vec![]))
    );
    assert_eq!(
        apply(&mut locks, at(7, 60), ACQUIRE_BY_A),
        Ok((granted(5, 160), vec![]))
    );
    assert!(holder(&locks, at(7, 159), "db").is_some());
    assert!(holder(&locks, at(7, 160), "db").is_none());
}

#[test]
fn refusals_have_their_codes_and_change_nothing() {
    let mut locks = Locks::default();
    apply(&mut locks, at(1, 0), ACQUIRE_BY_A).expect("it is free");
    let before = snapshot(&locks, 4096);
    let long_name = format!(
        r#"{{"acquire":{{"lock":"{}","owner":"a","ttl_ms":1}}}}"#,
        "x".repeat(257)
    );
    for (command, code) in [
        (ACQUIRE_BY_B, failure::HELD),
        (
            r#"{"renew":{"lock":"db","token":2,"ttl_ms":1}}"#,
            failure::LOST,
        ),
        (
            r#"{"renew":{"lock":"other","token":1,"ttl_ms":1}}"#,
            failure::LOST,
        ),
        (r#"{"release":{"lock":"db","token":0}}"#, failure::LOST),
        (
            r#"{"acquire":{"lock":"","owner":"a","ttl_ms":1}}"#,
            failure::BAD_NAME,
        ),
        (
            r#"{"acquire":{"lock":"x","owner":"","ttl_ms":1}}"#,
            failure::BAD_NAME,
        ),
        (&long_name, failure::BAD_NAME),
        (
            r#"{"acquire":{"lock":"x","owner":"a","ttl_ms":0}}"#,
            failure::BAD_TTL,
        ),
        (
            r#"{"acquire":{"lock":"x","owner":"a","ttl_ms":86400001}}"#,
            failure::BAD_TTL,
        ),
        (
            r#"{"renew":{"lock":"db","token":1,"ttl_ms":18446744073709551615}}"#,
            failure::BAD_TTL,
        ),
        (r#"{"acquire":{"lock":"x","owner":"a"}}"#, MALFORMED),
        (r#"{"steal":{"lock":"db"}}"#, MALFORMED),
        ("", MALFORMED),
    ] {
        assert_eq!(
            apply(&mut locks, at(2, 10), command),
            Err(code),
            "{command}"
        );
        assert!(snapshot(&locks, 4096) == before, "{command}");
    }
}

#[test]
fn many_leases_that_end_at_once_are_cleared_away_over_some_commands() {
    let mut locks = Locks::default();
    for index in 0..100 {
        let command = format!(r#"{{"acquire":{{"lock":"{index}","owner":"a","ttl_ms":1000}}}}"#);
        apply(&mut locks, at(index, 0), &command).expect("it is free");
    }
    let mut expired = Vec::new();
    for index in 100..104 {
        let command = format!(r#"{{"acquire":{{"lock":"{index}","owner":"a","ttl_ms":1000}}}}"#);
        let (_, events) = apply(&mut locks, at(index, 1000), &command).expect("it is free");
        expired.push(events.len() - 1);
        // What is not cleared away yet is over all the same.
        assert_eq!(holder(&locks, at(index, 1000), "99"), None);
    }
    assert_eq!(expired, [32, 32, 32, 4]);
}

#[test]
fn watchers_see_a_lease_end_before_its_lock_is_granted_anew_however_many_end_at_once() {
    let mut locks = Locks::default();
    for index in 0..100 {
        let command = format!(r#"{{"acquire":{{"lock":"{index}","owner":"a","ttl_ms":1000}}}}"#);
        apply(&mut locks, at(index, 0), &command).expect("it is free");
    }
    let again = r#"{"acquire":{"lock":"99","owner":"a","ttl_ms":1000}}"#;
    let (_, events) = apply(&mut locks, at(100, 1000), again).expect("it is free");
    assert_eq!(events.first().map(String::as_str), Some(r#"expired "99""#));
    assert_eq!(events.last().map(String::as_str), Some(r#"acquired "99""#));
    assert_eq!(events.len(), 34);
}

/// Commands over few locks and owners, at times that often stand still and never go back.
fn random_history(random: &mut Random) -> Vec<Entry> {
    let (mut index, mut ms) = (0, 0);
    let mut tokens = vec![0];
    (0..1000)
        .map(|_| {
            index += 1 + random.below(3);
            ms += random.below(4) * random.below(30);
            let lock = (*random.pick(&["x", "y", "z"])).to_owned();
            let owner = (*random.pick(&["a", "b"])).to_owned();
            let token = *random.pick(&tokens[tokens.len().saturating_sub(6)..]);
            let ttl_ms = random.below(200);
            let command = match random.below(10) {
                0..5 => {
                    tokens.push(index);
                    json(&Command::Acquire(Acquire {
                        lock,
                        owner,
                        ttl_ms,
                    }))
                }
                5..7 => json(&Command::Renew(Renew {
                    lock,
                    token,
                    ttl_ms,
                })),
                7..9 => json(&Command::Release(Release { lock, token })),
                _ => random.bytes(40),
            };
            Entry {
                context: at(index, ms),
                command,
            }
        })
        .collect()
}

#[test]
fn random_histories_never_give_a_lock_to_two_and_tokens_only_grow() {
    let queries = ["x", "y", "z"].map(|lock| {
        json(&Query::Holder {
            lock: lock.to_owned(),
        })
    });
    for seed in 0..20 {
        let history = random_history(&mut Random::new(seed));
        let run = replicate::<Locks>(&history, &queries, seed);

        // Per lock: owner, token and end of the newest grant.
        let mut granted: BTreeMap<String, (String, u64, u64)> = BTreeMap::new();
        let (mut done, mut held) = (0, 0);
        for (Entry { context, command }, outcome) in history.iter().zip(&run.outcomes) {
            held += usize::from(outcome.as_ref().is_err_and(|it| it.code == failure::HELD));
            let Ok(outcome) = outcome else { continue };
            done += 1;
            let reply: Reply = serde_json::from_slice(&outcome.response).expect("a reply");
            let (lock, owner) = match serde_json::from_slice(command).expect("a command") {
                Command::Acquire(Acquire { lock, owner, .. }) => {
                    if let Some((before, token, end)) = granted.get(&lock) {
                        if reply.token == *token {
                            assert_eq!(owner, *before, "the same token, another owner");
                            assert!(context.time_ms < *end, "a lease that was over came back");
                        } else {
                            assert!(reply.token > *token, "a lower token");
                            assert!(context.time_ms >= *end, "{owner} got what {before} holds");
                        }
                    }
                    (lock, owner)
                }
                Command::Renew(Renew { lock, token, .. })
                | Command::Release(Release { lock, token }) => {
                    let (owner, newest, end) = &granted[&lock];
                    assert_eq!(token, *newest);
                    assert!(context.time_ms < *end);
                    (lock, owner.clone())
                }
            };
            granted.insert(lock, (owner, reply.token, reply.expires_ms));
        }
        assert!(done > 200 && held > 30, "{done} done, {held} held");
    }
}

#[test]
fn a_restored_service_expires_what_the_saved_one_held() {
    let mut locks = Locks::default();
    apply(&mut locks, at(1, 0), ACQUIRE_BY_A).expect("it is free");
    let mut restored: Locks = restore(&snapshot(&locks, 3), 3).expect("its own snapshot");
    let other = r#"{"acquire":{"lock":"other","owner":"b","ttl_ms":1}}"#;
    let (_, events) = apply(&mut restored, at(2, 500), other).expect("it is free");
    assert_eq!(
        events,
        [
            format!("{} \"db\"", topic::EXPIRED),
            "acquired \"other\"".into()
        ]
    );
}
