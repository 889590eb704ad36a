//! The locks.

use std::collections::{BTreeMap, BTreeSet};

use rkv_fsm::json::{Events, JsonMachine};
use rkv_fsm::{Context, Description, Failure};
use serde::{Deserialize, Serialize};

use crate::{Acquire, Command, Lease, Query, Release, Renew, Reply, failure, topic};

const MAX_NAME_BYTES: usize = 256;
const MAX_TTL_MS: u64 = 24 * 60 * 60 * 1000;

/// How many leases that are over a command clears away. A command adds one at most, so they do not
/// pile up, and a command that comes behind a long silence does not take long.
const MAX_EXPIRED: usize = 32;

/// Locks and who holds them. Those that nobody holds take no memory.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(from = "Saved")]
pub struct Locks {
    leases: BTreeMap<String, Lease>,
    /// The same leases in the order in which they end: when, and of which lock.
    #[serde(skip)]
    ends: BTreeSet<(u64, String)>,
}

impl Locks {
    /// The lease of a lock that is held now.
    fn holder(&self, now: Context, lock: &str) -> Option<&Lease> {
        self.leases.get(lock).filter(|lease| !lease.is_over(now))
    }

    /// The lease that goes with this token.
    fn held_with(&self, now: Context, lock: &str, token: u64) -> Result<&Lease, Failure> {
        let holder = self.holder(now, lock).filter(|lease| lease.token == token);
        holder.ok_or_else(|| {
            let message = format!("lock {lock:?} is not held with token {token}, or no longer");
            refuse(failure::LOST, message)
        })
    }

    fn acquire(
        &mut self,
        now: Context,
        Acquire {
            lock,
            owner,
            ttl_ms,
        }: Acquire,
        events: &mut Events,
    ) -> Result<Reply, Failure> {
        check_name("lock", &lock)?;
        check_name("owner", &owner)?;
        let expires_ms = end_of(now, ttl_ms)?;
        let token = match self.holder(now, &lock) {
            None => now.index,
            Some(lease) if lease.owner == owner => lease.token,
            Some(lease) => {
                let (owner, until) = (&lease.owner, lease.expires_ms);
                let message = format!("lock {lock:?} is held by {owner:?} until {until}");
                return Err(refuse(failure::HELD, message));
            }
        };
        // Only now: a refusal changes nothing.
        let new = token == now.index;
        if new {
            // What is there still is a lease that is over.
            self.remove(&lock, topic::EXPIRED, events);
        }
        self.expire(now, events);
        if new {
            emit(events, topic::ACQUIRED, &lock, &owner, token);
        }
        self.put(
            lock,
            Lease {
                owner,
                token,
                expires_ms,
            },
        );
        Ok(Reply { token, expires_ms })
    }

    fn renew(
        &mut self,
        now: Context,
        Renew {
            lock,
            token,
            ttl_ms,
        }: Renew,
        events: &mut Events,
    ) -> Result<Reply, Failure> {
        let expires_ms = end_of(now, ttl_ms)?;
        let lease = self.held_with(now, &lock, token)?.clone();
        self.expire(now, events);
        self.put(
            lock,
            Lease {
                expires_ms,
                ..lease
            },
        );
        Ok(Reply { token, expires_ms })
    }

    fn release(
        &mut self,
        now: Context,
        Release { lock, token }: Release,
        events: &mut Events,
    ) -> Result<Reply, Failure> {
        self.held_with(now, &lock, token)?;
        self.expire(now, events);
        self.remove(&lock, topic::RELEASED, events);
        Ok(Reply {
            token,
            expires_ms: now.time_ms,
        })
    }

    /// Clears leases away that are over, those that ended first before others.
    fn expire(&mut self, now: Context, events: &mut Events) {
        for _ in 0..MAX_EXPIRED {
            let Some((_, lock)) = self.ends.first().filter(|(end, _)| *end <= now.time_ms) else {
                return;
            };
            let lock = lock.clone();
            self.remove(&lock, topic::EXPIRED, events);
        }
    }

    fn put(&mut self, lock: String, lease: Lease) {
        self.ends.insert((lease.expires_ms, lock.clone()));
        if let Some(before) = self.leases.insert(lock.clone(), lease.clone())
            && before.expires_ms != lease.expires_ms
        {
            self.ends.remove(&(before.expires_ms, lock));
        }
    }

    fn remove(&mut self, lock: &str, topic: &str, events: &mut Events) {
        if let Some((lock, lease)) = self.leases.remove_entry(lock) {
            emit(events, topic, &lock, &lease.owner, lease.token);
            self.ends.remove(&(lease.expires_ms, lock));
        }
    }
}

impl JsonMachine for Locks {
    type Command = Command;
    type Reply = Reply;
    type Query = Query;
    type Answer = Option<Lease>;

    fn description() -> Description {
        Description {
            name: "lock".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            schema: 1,
            reads_schemas: vec![1],
            protocols: vec!["rkv:lock@1".to_owned()],
        }
    }

    fn execute(
        &mut self,
        now: Context,
        command: Command,
        events: &mut Events,
    ) -> Result<Reply, Failure> {
        match command {
            Command::Acquire(acquire) => self.acquire(now, acquire, events),
            Command::Renew(renew) => self.renew(now, renew, events),
            Command::Release(release) => self.release(now, release, events),
        }
    }

    fn answer(&self, now: Context, query: Query) -> Result<Option<Lease>, Failure> {
        let Query::Holder { lock } = query;
        Ok(self.holder(now, &lock).cloned())
    }
}

/// What a snapshot holds.
#[derive(Deserialize)]
struct Saved {
    leases: BTreeMap<String, Lease>,
}

impl From<Saved> for Locks {
    fn from(Saved { leases }: Saved) -> Self {
        let ends = leases
            .iter()
            .map(|(lock, lease)| (lease.expires_ms, lock.clone()))
            .collect();
        Self { leases, ends }
    }
}

fn end_of(now: Context, ttl_ms: u64) -> Result<u64, Failure> {
    if (1..=MAX_TTL_MS).contains(&ttl_ms) {
        Ok(now.time_ms.saturating_add(ttl_ms))
    } else {
        let message = format!("a lease lasts from 1 to {MAX_TTL_MS} ms, not {ttl_ms}");
        Err(refuse(failure::BAD_TTL, message))
    }
}

fn check_name(what: &str, name: &str) -> Result<(), Failure> {
    if (1..=MAX_NAME_BYTES).contains(&name.len()) {
        Ok(())
    } else {
        let message = format!(
            "the {what} has 1 to {MAX_NAME_BYTES} bytes, not {}",
            name.len()
        );
        Err(refuse(failure::BAD_NAME, message))
    }
}

fn emit(events: &mut Events, topic: &str, lock: &str, owner: &str, token: u64) {
    #[derive(Serialize)]
    struct Change<'a> {
        lock: &'a str,
        owner: &'a str,
        token: u64,
    }
    events.emit(topic, &Change { lock, owner, token });
}

fn refuse(code: u32, message: String) -> Failure {
    Failure { code, message }
}
