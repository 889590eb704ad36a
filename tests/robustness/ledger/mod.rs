//! A state machine that is not the bundled store: accounts, whose total never changes.

mod books;
mod teller;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use reqwest::Method;
use rkv_tests::wait::{GENEROUS, check, until};
use rkv_tests::{Client, Cluster, Fate};
use serde_json::json;
use tokio::task::JoinSet;

use self::books::{Books, Reading};
use self::teller::teller;
use crate::failover::Failovers;
use crate::guests;
use crate::run::Run;
use crate::scenario::{Options, Report, Stage, torment};

/// What all accounts hold together, always.
const TOTAL: u64 = 1_000_000;

/// Where it all is at first, and from where tellers are paid.
const POOL: &str = "pool";

/// Gets what the nemeses transfer to see whether the cluster serves.
const PROBE: &str = "probe";

/// Accounts that all tellers use, and what each has at first.
const SHARED: u32 = 6;
const SHARED_AMOUNT: u64 = 100;

/// The account of one teller, which nobody else uses.
fn own(teller: u32) -> String {
    format!("teller-{teller}")
}

fn shared(number: u32) -> String {
    format!("shared-{number}")
}

fn transfer(from: &str, to: &str, amount: u64) -> Bytes {
    let transfer = json!({"transfer": {"from": from, "to": to, "amount": amount}});
    transfer.to_string().into()
}

pub(crate) async fn run(options: Options) -> Report {
    let module = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(module.path(), guests::ledger()).expect("room for the module");
    let path = module.path().display().to_string();
    let mut stage = Stage::set(&options, &["--fsm", &path]).await;
    open_accounts(&mut stage.cluster, options.clients).await;

    let (run, books) = (Arc::new(Run::new()), Arc::new(Books::default()));
    let probe = |_| ("/fsm/apply", transfer(POOL, PROBE, 1));
    let mut arena = stage.arena(&run, &options, probe);
    let mut tasks = JoinSet::new();
    for number in 0..options.clients {
        let seed = options.seed ^ (u64::from(number) << 32);
        tasks.spawn(teller(Arc::clone(&run), Arc::clone(&books), number, seed));
    }
    let windows = torment(&mut arena, &run, &options, tasks).await;
    let tally = arena.tally();
    let mut cluster = arena.cluster;
    if run.violations().is_empty() {
        cluster.ready().await;
        cluster.equal_digests().await;
        if let Err(found) = settle(&run, &books, &mut cluster).await {
            run.violation(found);
        }
    }
    cluster.kill_together(&cluster.ids());
    Report {
        windows,
        requests: books.requests(),
        violations: run.violations(),
        tally,
        failovers: Failovers::default(),
        cluster: Some(cluster),
    }
}

/// Before anything goes wrong.
async fn open_accounts(cluster: &mut Cluster, tellers: u32) {
    let leader = cluster.leader().await;
    let client = cluster.client(leader);
    // Again what was refused for certain, as in an election on a busy machine. Nothing else: it may
    // have been carried out.
    let apply = async |command: Bytes| {
        until("a command of the set-up is applied", GENEROUS, async || {
            let answer = client.try_follow(Method::POST, "/fsm/apply", command.clone());
            let answer = answer.await;
            match Fate::of(&answer) {
                Fate::Acknowledged => Ok(()),
                Fate::Refused => Err(format!("{answer:?}")),
                Fate::Unknown => panic!("the set-up is in an unknown state: {answer:?}"),
            }
        })
        .await;
    };
    let accounts = [POOL, PROBE].map(str::to_owned).into_iter();
    let accounts = accounts.chain((0..tellers).map(own));
    for account in accounts.chain((0..SHARED).map(shared)) {
        let open = json!({"open": {"account": account}});
        apply(open.to_string().into()).await;
    }
    let deposit = json!({"deposit": {"account": POOL, "amount": TOTAL}});
    apply(deposit.to_string().into()).await;
    for number in 0..SHARED {
        apply(transfer(POOL, &shared(number), SHARED_AMOUNT)).await;
    }
}

/// Checks what was seen, and that all nodes end with the same balances.
async fn settle(run: &Run, books: &Books, cluster: &mut Cluster) -> Result<(), String> {
    let leader = cluster.caught_up().await;
    let mut first = None;
    for id in cluster.ids() {
        let client = cluster.client(id);
        let reading = until("a node tells the balances", GENEROUS, async || {
            let reading = read(run, &client, "/fsm/query").await;
            reading.ok_or_else(|| "refused for now".to_owned())
        })
        .await;
        let expected = first.get_or_insert_with(|| reading.balances.clone());
        check(*expected == reading.balances, || {
            format!("the balances of node {id} differ, with leader {leader}")
        })?;
        books.read(reading);
    }
    books.validate()
}

/// All balances, and when they were asked for.
async fn read(run: &Run, node: &Client, path: &str) -> Option<Reading> {
    let invoked = run.now();
    let query = r#"{"accounts":{}}"#;
    let answer = node.try_send(Method::POST, path, query).await.ok()?;
    if answer.status != 200 {
        assert!(answer.problem(answer.status).retryable, "{answer}");
        return None;
    }
    let balances: BTreeMap<String, u64> =
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    Some(Reading {
        invoked,
        returned: run.now(),
        balances,
    })
}
