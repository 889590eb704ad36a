//! Writes in the background.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::{Client, key_path};
use crate::cluster::Cluster;
use crate::history::{Fate, History, Write};
use crate::wait::{self, GENEROUS, check};

/// Bounds a workload that is never stopped, and the time that verifying it takes.
const MAX_WRITES_PER_TASK: usize = 4000;

/// A pause after a write that failed, so that a cluster without a leader is not drowned in retries
/// that use up the bound above.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(25);

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    acknowledged: AtomicUsize,
}

/// Tasks that write keys of their own through all nodes in turn, each as fast as it is answered.
#[derive(Debug)]
pub struct Workload {
    shared: Arc<Shared>,
    tasks: JoinSet<Vec<Write>>,
}

impl Workload {
    /// Starts `tasks` writers against all nodes of `cluster`. Keys begin with `name`.
    pub fn start(cluster: &Cluster, name: &str, tasks: usize) -> Self {
        let clients = cluster.ids().into_iter().map(|id| cluster.client(id));
        Self::through(clients.collect(), name, tasks)
    }

    /// Starts `tasks` writers that go through these nodes. Keys begin with `name`.
    pub fn through(clients: Vec<Client>, name: &str, tasks: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let mut set = JoinSet::new();
        for task in 0..tasks {
            set.spawn(write(
                Arc::clone(&shared),
                clients.clone(),
                name.to_owned(),
                task,
            ));
        }
        Self { shared, tasks: set }
    }

    /// How many writes were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until `more` further writes were acknowledged: the cluster serves.
    ///
    /// # Panics
    ///
    /// When that takes unreasonably long.
    pub async fn progress(&self, more: usize) {
        let goal = self.acknowledged() + more;
        wait::until(
            &format!("{more} more writes are acknowledged"),
            GENEROUS,
            async || {
                check(self.acknowledged() >= goal, || {
                    format!("{} of {goal}", self.acknowledged())
                })
            },
        )
        .await;
    }

    /// Stops the writers and returns what they know.
    ///
    /// # Panics
    ///
    /// When a writer met an answer that breaks the contract.
    pub async fn stop(self) -> History {
        self.shared.stop.store(true, Ordering::Relaxed);
        History::new(self.tasks.join_all().await.into_iter().flatten().collect())
    }
}

async fn write(shared: Arc<Shared>, clients: Vec<Client>, name: String, task: usize) -> Vec<Write> {
    let mut writes = Vec::new();
    for number in 0..MAX_WRITES_PER_TASK {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("{name}-{task}-{number}");
        let value = format!("value of {key}");
        let client = &clients[(task + number) % clients.len()];
        let answer = client
            .try_follow(Method::POST, &key_path(&key), value.clone())
            .await;
        let fate = Fate::of(&answer);
        writes.push(Write { key, value, fate });
        if fate == Fate::Acknowledged {
            shared.acknowledged.fetch_add(1, Ordering::Relaxed);
        } else {
            sleep(PAUSE_AFTER_FAILURE).await;
        }
    }
    writes
}
