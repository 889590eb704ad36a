//! Microbenchmarks of what every request passes: `cargo bench -p rkv-bench`. A regression shows as a
//! change against the run before, which criterion keeps in cargo's target folder.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use openraft::entry::RaftEntry;
use openraft::storage::RaftLogStorageExt;
use rkv_fsm::StateMachine;
use rkv_host::bundled;
use rkv_host::storage::{DataDir, Database, LogFile, LogLimits, LogStore};
use rkv_host::types::{Entry, Limits, LogId, Proposal};
use rkv_host::wasm::{ApplyEntry, Context, Engine, Instance, MAX_MODULE_BYTES, with_guest_stack};
use rkv_kv::Kv;
use rkv_kv_protocol::{Command, Query};

const KEYS: u64 = 100_000;
const VALUE: [u8; 64] = [b'v'; 64];
/// A single request, and what many clients make of it.
const BATCHES: [usize; 2] = [1, 64];

fn main() {
    with_guest_stack(run).expect("a thread with a deep stack");
}

fn run() {
    let mut criterion = Criterion::default()
        .sample_size(30)
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    log(&mut criterion);
    guest(&mut criterion);
    criterion.final_summary();
}

/// The bundled store: as a component, and compiled in.
fn guest(criterion: &mut Criterion) {
    let engine = Engine::new(None).expect("an engine");
    let module = engine
        .load(bundled::KV, MAX_MODULE_BYTES)
        .expect("the bundled module");
    let mut component = module.instantiate(&Limits::DEFAULT).expect("an instance");
    let mut native = Kv::default();
    let mut index = 0;
    for _ in 0..KEYS {
        let (context, command) = next(&mut index);
        apply(&mut component, &[(context, command.clone())]);
        native
            .apply(guest_context(context), command)
            .expect("a write");
    }
    let mut group = criterion.benchmark_group("apply");
    for batch in BATCHES {
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(BenchmarkId::new("component", batch), |bencher| {
            let commands = || (0..batch).map(|_| next(&mut index)).collect::<Vec<_>>();
            let size = criterion::BatchSize::SmallInput;
            bencher.iter_batched(commands, |batch| apply(&mut component, &batch), size);
        });
        group.bench_function(BenchmarkId::new("native", batch), |bencher| {
            let commands = || (0..batch).map(|_| next(&mut index)).collect::<Vec<_>>();
            let run = |batch: Vec<(Context, Vec<u8>)>| {
                for (context, command) in batch {
                    let _ = black_box(native.apply(guest_context(context), command));
                }
            };
            bencher.iter_batched(commands, run, criterion::BatchSize::SmallInput);
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("query");
    for batch in BATCHES {
        let queries: Vec<_> = (0..batch as u64).map(|number| get(number * 997)).collect();
        let queries: Vec<&[u8]> = queries.iter().map(Vec::as_slice).collect();
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(BenchmarkId::new("component", batch), |bencher| {
            bencher.iter(|| component.query(context(index), &queries).expect("answers"));
        });
        group.bench_function(BenchmarkId::new("native", batch), |bencher| {
            bencher.iter(|| {
                for query in &queries {
                    let now = guest_context(context(index));
                    let _ = black_box(native.query(now, query.to_vec()));
                }
            });
        });
    }
    group.finish();
}

fn apply(component: &mut Instance, batch: &[(Context, Vec<u8>)]) {
    let entries: Vec<_> = batch
        .iter()
        .map(|(context, command)| ApplyEntry {
            context: *context,
            command,
        })
        .collect();
    black_box(component.apply(&entries).expect("outcomes"));
}

fn context(index: u64) -> Context {
    Context {
        index,
        term: 1,
        time_ms: index,
        seed: index,
    }
}

fn guest_context(context: Context) -> rkv_fsm::Context {
    rkv_fsm::Context {
        index: context.index,
        term: context.term,
        time_ms: context.time_ms,
        seed: context.seed,
    }
}

fn key(number: u64) -> String {
    format!("key-{:012}", number % KEYS)
}

/// A write of the next key.
fn next(index: &mut u64) -> (Context, Vec<u8>) {
    *index += 1;
    let key = key(*index);
    let command = Command::Set {
        key: key.as_bytes(),
        value: &VALUE,
    };
    (context(*index), command.encode())
}

fn get(number: u64) -> Vec<u8> {
    let key = key(number);
    Query::Get {
        key: key.as_bytes(),
    }
    .encode()
}

/// Entries until they are on disk.
fn log(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    // Below the target folder: a temporary folder may be in memory.
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target");
    let dir = tempfile::tempdir_in(target).expect("a folder");
    let data = DataDir::open(dir.path()).expect("a data directory");
    let database = Database::open(data.database()).expect("a database");
    let file = LogFile::open(&data, &database).expect("a log's file");
    let mut log = LogStore::open(file, LogLimits::DEFAULT).expect("a log");
    let mut index = 0;
    let mut group = criterion.benchmark_group("log append, durable");
    for batch in BATCHES {
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(BenchmarkId::from_parameter(batch), |bencher| {
            bencher.iter(|| {
                let entries: Vec<_> = (0..batch).map(|_| entry(&mut index)).collect();
                runtime
                    .block_on(log.blocking_append(entries))
                    .expect("an append");
            });
        });
    }
    group.finish();
}

fn entry(index: &mut u64) -> Entry {
    let command = Bytes::from(next(&mut index.clone()).1);
    let id = LogId::new_term_index(1, *index);
    *index += 1;
    let proposal = Proposal::Command {
        time_ms: *index,
        command,
    };
    Entry::new_normal(id, proposal)
}
