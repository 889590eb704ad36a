//! All nodes are restarted in turn, as for an upgrade, while clients write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use rkv_tests::wait::{GENEROUS, check, until};
use rkv_tests::{Client, Cluster, Fate, History, Write, key_path};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;

const WRITERS: usize = 32;

/// What a client waits before it tries the next node.
const PAUSE: Duration = Duration::from_millis(10);

/// Writes between two restarts.
const PROGRESS: usize = 200;

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    acknowledged: AtomicUsize,
    gap: Mutex<Gap>,
}

#[derive(Debug, Default)]
struct Gap {
    last: Option<Instant>,
    longest: Duration,
}

impl Shared {
    async fn acknowledge(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        let mut gap = self.gap.lock().await;
        let now = Instant::now();
        if let Some(last) = gap.last.replace(now) {
            gap.longest = gap.longest.max(now - last);
        }
    }

    async fn progress(&self) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + PROGRESS;
        until("more writes are acknowledged", GENEROUS, async || {
            let now = self.acknowledged.load(Ordering::Relaxed);
            check(now >= goal, || format!("{now} of {goal}"))
        })
        .await;
    }
}

/// Writes keys of its own until it is told to stop, each through one node after the other until it is
/// acknowledged or its fate is unknown.
async fn write(shared: Arc<Shared>, nodes: Vec<Client>, writer: usize) -> Vec<Write> {
    let mut writes = Vec::new();
    let mut turn = writer;
    while !shared.stop.load(Ordering::Relaxed) {
        let key = format!("rolling-{writer}-{}", writes.len());
        let value = format!("value of {key}");
        let fate = loop {
            let node = &nodes[turn % nodes.len()];
            let answer = node
                .try_follow(Method::POST, &key_path(&key), value.clone())
                .await;
            let fate = Fate::of(&answer);
            if let Ok(answer) = &answer {
                let is_fair = match fate {
                    Fate::Acknowledged => true,
                    Fate::Refused => {
                        answer.status == 307 || answer.problem(answer.status).retryable
                    }
                    Fate::Unknown => answer.status == 504,
                };
                assert!(is_fair, "a client can make nothing of {answer}");
            }
            if fate != Fate::Refused || shared.stop.load(Ordering::Relaxed) {
                break fate;
            }
            turn += 1;
            sleep(PAUSE).await;
        };
        if fate == Fate::Acknowledged {
            shared.acknowledge().await;
        }
        writes.push(Write { key, value, fate });
    }
    writes
}

#[tokio::test]
async fn a_rolling_restart_shows_writers_nothing_that_they_cannot_repeat() {
    let mut cluster = Cluster::start(3).await;
    let shared = Arc::new(Shared::default());
    let nodes: Vec<_> = cluster
        .ids()
        .into_iter()
        .map(|id| cluster.client(id))
        .collect();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(Arc::clone(&shared), nodes.clone(), writer));
    }
    for id in cluster.ids() {
        shared.progress().await;
        cluster.node_mut(id).terminate();
        let exit = cluster.node_mut(id).exit(GENEROUS).await;
        assert_eq!(exit.status.code(), Some(0), "node {id}:\n{}", exit.log);
        cluster.node_mut(id).start();
        let node = cluster.client(id);
        until("the node is ready", GENEROUS, async || {
            let answer = node.try_send(Method::GET, "/readyz?verbose", "").await;
            let answer = answer.map_err(|error| error.to_string())?;
            check(answer.status == 200, || answer.to_string())
        })
        .await;
    }
    shared.progress().await;
    shared.stop.store(true, Ordering::Relaxed);
    let history = History::new(writers.join_all().await.into_iter().flatten().collect());
    println!(
        "longest gap between two acknowledged writes: {:?}",
        shared.gap.lock().await.longest
    );
    history.verify_everywhere(&mut cluster).await;
}
