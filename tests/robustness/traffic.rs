//! Clients of a key-value store that do this and that through any node, and write down what they saw.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use rkv_tests::{Answer, Client, Fate, Unreachable, key_path};
use tokio::time::{sleep, timeout};

use crate::checker::Value;
use crate::history::{Action, History, Operation};
use crate::run::Run;

/// Registers of an epoch: few, so that clients meet on them.
pub(crate) const REGISTERS: u32 = 8;

/// Buckets of an epoch: enough that a listing is short.
pub(crate) const BUCKETS: u32 = 8;

/// Keys that one batch writes.
const BATCH: u32 = 3;

/// How long a client waits for an answer. Longer than a node does that knows of a deadline; a node
/// that is paused does not.
const PATIENCE: Duration = Duration::from_secs(3);

/// The most that a client pauses between two requests, and after one that failed.
const MAX_PAUSE_MS: u64 = 40;

/// Each this many-th value is long, so that some appends and snapshots take several frames.
const LONG_EVERY: u64 = 16;
const LONG_BYTES: usize = 8 << 10;

/// Writes and reads until the run is over.
pub(crate) async fn client(run: Arc<Run>, history: Arc<History>, number: u32, seed: u64) {
    let mut client = TrafficClient {
        http: Client::new(run.any_member(&mut fastrand::Rng::new())),
        random: fastrand::Rng::with_seed(seed),
        run,
        history,
        number,
        writes: 0,
        single: None,
        epoch: 0,
    };
    while !client.run.is_over() {
        client.step().await;
        let pause = client.random.u64(0..MAX_PAUSE_MS);
        sleep(Duration::from_millis(pause)).await;
    }
}

struct TrafficClient {
    http: Client,
    random: fastrand::Rng,
    run: Arc<Run>,
    history: Arc<History>,
    number: u32,
    /// Writes so far: names the next one.
    writes: u32,
    /// A key that this client added alone in this epoch, and in which bucket: to remove later.
    single: Option<(u32, u32)>,
    epoch: u64,
}

impl TrafficClient {
    async fn step(&mut self) {
        let epoch = self.run.epoch();
        self.history.enter(self.number, epoch);
        if std::mem::replace(&mut self.epoch, epoch) != epoch {
            self.single = None;
        }
        let register = self.random.u32(..REGISTERS);
        let bucket = self.random.u32(..BUCKETS);
        match self.random.u8(..100) {
            0..36 => {
                let http = self.http_of_any();
                self.read(epoch, read_register(&http, epoch, register))
                    .await;
            }
            36..66 => {
                let value = self.unique();
                let path = key_path(&register_key(epoch, register));
                let put = Action::Put {
                    register,
                    value: u64::from(value),
                };
                self.write(epoch, Method::POST, &path, text(value.into()), put)
                    .await;
            }
            66..74 => {
                let path = key_path(&register_key(epoch, register));
                let delete = Action::Delete { register };
                self.write(epoch, Method::DELETE, &path, Bytes::new(), delete)
                    .await;
            }
            74..80 => {
                let member = self.unique();
                let add = Action::Add {
                    bucket,
                    members: vec![member],
                };
                let path = key_path(&member_key(epoch, bucket, member));
                self.write(epoch, Method::POST, &path, text(member.into()), add)
                    .await;
                self.single = Some((bucket, member));
            }
            80..83 => {
                let Some((bucket, member)) = self.single.take() else {
                    return;
                };
                let path = key_path(&member_key(epoch, bucket, member));
                let remove = Action::Remove { bucket, member };
                self.write(epoch, Method::DELETE, &path, Bytes::new(), remove)
                    .await;
            }
            83..91 => self.batch(epoch, bucket).await,
            _ => {
                let http = self.http_of_any();
                self.read(epoch, list_bucket(&http, epoch, bucket)).await;
            }
        }
    }

    async fn batch(&mut self, epoch: u64, bucket: u32) {
        let members: Vec<_> = (0..BATCH).map(|_| self.unique()).collect();
        let pairs: BTreeMap<_, _> = members
            .iter()
            .map(|&member| (member_key(epoch, bucket, member), member.to_string()))
            .collect();
        let body = serde_json::to_vec(&pairs).expect("text is JSON");
        let add = Action::Add { bucket, members };
        self.write(epoch, Method::POST, "/keys", body.into(), add)
            .await;
    }

    /// A number that no other client uses, nor this one again.
    fn unique(&mut self) -> u32 {
        self.writes += 1;
        (self.number << 24) | self.writes
    }

    fn http_of_any(&mut self) -> Client {
        self.http.at(self.run.any_member(&mut self.random))
    }

    async fn write(&mut self, epoch: u64, method: Method, path: &str, body: Bytes, action: Action) {
        let http = self.http_of_any();
        let invoked = self.run.now();
        let answer = timeout(PATIENCE, http.try_follow(method, path, body)).await;
        let returned = match answer.as_ref().map_or(Fate::Unknown, Fate::of) {
            Fate::Acknowledged => Some(self.run.now()),
            Fate::Unknown => None,
            Fate::Refused => return self.history.record_refused(invoked),
        };
        let operation = Operation {
            invoked,
            returned,
            action,
        };
        self.history.record(epoch, operation);
    }

    async fn read(&mut self, epoch: u64, read: impl Future<Output = Option<Action>>) {
        let invoked = self.run.now();
        let Ok(Some(action)) = timeout(PATIENCE, read).await else {
            return self.history.record_refused(invoked);
        };
        let operation = Operation {
            invoked,
            returned: Some(self.run.now()),
            action,
        };
        self.history.record(epoch, operation);
    }
}

/// Reads a register of an epoch; `None` when there is no answer for now.
pub(crate) async fn read_register(node: &Client, epoch: u64, register: u32) -> Option<Action> {
    let path = key_path(&register_key(epoch, register));
    let answer = node.try_send(Method::GET, &path, "").await;
    let seen = match served(answer)? {
        answer if answer.status == 404 => None,
        answer => Some(number(&answer)),
    };
    Some(Action::Get { register, seen })
}

/// Lists a bucket of an epoch; `None` when there is no answer for now.
pub(crate) async fn list_bucket(node: &Client, epoch: u64, bucket: u32) -> Option<Action> {
    let prefix = member_prefix(epoch, bucket);
    let path = format!("/keys?prefix={prefix}");
    let answer = served(node.try_send(Method::GET, &path, "").await)?;
    let keys: Vec<String> = answer.expect(200).json();
    let member = |key: &String| key.strip_prefix(&prefix)?.parse().ok();
    let seen = keys.iter().map(|key| {
        member(key).unwrap_or_else(|| panic!("'{key}' is listed under the prefix '{prefix}'"))
    });
    Some(Action::List {
        bucket,
        seen: seen.collect(),
    })
}

/// An answer that says what is there. A node may refuse to, but only for now.
fn served(answer: Result<Answer, Unreachable>) -> Option<Answer> {
    let answer = answer.ok()?;
    match answer.status {
        200 | 404 => Some(answer),
        status => {
            assert!(answer.problem(status).retryable, "{answer}");
            None
        }
    }
}

fn register_key(epoch: u64, register: u32) -> String {
    format!("register-{epoch}-{register}")
}

fn member_prefix(epoch: u64, bucket: u32) -> String {
    format!("bucket-{epoch}-{bucket}-")
}

fn member_key(epoch: u64, bucket: u32, member: u32) -> String {
    format!("{}{member}", member_prefix(epoch, bucket))
}

/// A value's bytes: the number, and for some what makes it long.
fn text(value: Value) -> Bytes {
    let mut text = format!("{value}:").into_bytes();
    if value.is_multiple_of(LONG_EVERY) {
        text.resize(LONG_BYTES, b'x');
    }
    text.into()
}

/// The number of a value that must be [`text`]'s, to the last byte.
fn number(answer: &Answer) -> Value {
    let digits = answer.text().split(':').next().unwrap_or_default();
    let value = digits.parse().ok();
    match value {
        Some(value) if text(value) == answer.body => value,
        _ => panic!("a value that nobody wrote: {answer}"),
    }
}
