//! The bundled key-value store: registers, batches and listings.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rkv_tests::Cluster;
use rkv_tests::wait::{GENEROUS, until};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep};

use crate::failover::Failovers;
use crate::guests;
use crate::history::{History, Operation};
use crate::run::Run;
use crate::scenario::{Options, Report, Stage, torment};
use crate::traffic::{BUCKETS, REGISTERS, client, list_bucket, read_register};
use crate::validate::validate;

/// How long clients use the same keys: some thousands of operations.
const EPOCH: Duration = Duration::from_secs(10);

const LOOK: Duration = Duration::from_millis(100);

/// Values that are compared between nodes at the end, besides all keys.
const COMPARED_VALUES: usize = 2_000;

pub(crate) async fn run(options: Options, failovers: usize) -> Report {
    let module = guests::kv_v2();
    let stage = Stage::set(&options, &[]).await;
    let (run, history) = (Arc::new(Run::new()), Arc::new(History::default()));
    let probe = |_| ("/keys/probe", Bytes::from_static(b"x"));
    let arena = stage.arena(&run, &options, probe);
    let mut arena = arena.with_module(module);
    let mut tasks = JoinSet::new();
    for number in 0..options.clients {
        let seed = options.seed ^ (u64::from(number) << 32);
        tasks.spawn(client(Arc::clone(&run), Arc::clone(&history), number, seed));
    }
    tasks.spawn(check_epochs(Arc::clone(&run), Arc::clone(&history)));
    let windows = torment(&mut arena, &run, &options, tasks).await;
    let tally = arena.tally();
    let mut cluster = arena.cluster;
    let mut measured = Failovers::default();
    if run.violations().is_empty() {
        cluster.ready().await;
        read_everything(&run, &history, &cluster).await;
        for epoch in history.epochs() {
            check_epoch(&run, &history, epoch).await;
        }
        cluster.agree_on_values(COMPARED_VALUES).await;
        cluster.equal_digests().await;
    }
    if run.violations().is_empty() {
        measured = Failovers::measure(&mut cluster, failovers).await;
    }
    cluster.kill_together(&cluster.ids());
    Report {
        windows,
        requests: history.requests(),
        violations: run.violations(),
        tally,
        failovers: measured,
        cluster: Some(cluster),
    }
}

/// Begins a new epoch from time to time, and checks each once nobody is in it any more.
async fn check_epochs(run: Arc<Run>, history: Arc<History>) {
    let mut begun = Instant::now();
    let mut unchecked = BTreeSet::from([run.epoch()]);
    while !run.is_over() {
        sleep(LOOK).await;
        if begun.elapsed() >= EPOCH {
            begun = Instant::now();
            run.next_epoch();
            unchecked.insert(run.epoch());
        }
        let complete = unchecked.iter().copied();
        let complete: Vec<_> = complete.filter(|&e| history.is_complete(e)).collect();
        for epoch in complete {
            unchecked.remove(&epoch);
            check_epoch(&run, &history, epoch).await;
        }
    }
}

async fn check_epoch(run: &Run, history: &History, epoch: u64) {
    let operations = history.of_epoch(epoch);
    let checked = spawn_blocking(move || validate(&operations)).await;
    match checked {
        Ok(Ok(())) => {}
        Ok(Err(found)) => run.violation(format!("epoch {epoch}: {found}")),
        Err(panic) => run.violation(format!("epoch {epoch} cannot be checked: {panic}")),
    }
}

/// Reads every key that was ever used once more: what was acknowledged must be there to the end.
async fn read_everything(run: &Run, history: &History, cluster: &Cluster) {
    let ids = cluster.ids();
    for epoch in history.epochs() {
        let node = usize::try_from(epoch).unwrap_or(0) % ids.len();
        let client = cluster.client(ids[node]);
        for register in 0..REGISTERS {
            let read = async || read_register(&client, epoch, register).await;
            read_once(run, history, epoch, read).await;
        }
        for bucket in 0..BUCKETS {
            let read = async || list_bucket(&client, epoch, bucket).await;
            read_once(run, history, epoch, read).await;
        }
    }
}

async fn read_once(
    run: &Run,
    history: &History,
    epoch: u64,
    mut read: impl AsyncFnMut() -> Option<crate::history::Action>,
) {
    let operation = until("a key is read once more", GENEROUS, async || {
        let invoked = run.now();
        let action = read().await.ok_or("refused for now")?;
        Ok(Operation {
            invoked,
            returned: Some(run.now()),
            action,
        })
    });
    history.record(epoch, operation.await);
}
