//! The corpus and mutations of it, without a fuzzer.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;

use fastrand::Rng;

/// Set to anything, it has the corpus written anew, where seeds have changed.
const WRITE_CORPUS: &str = "RKV_WRITE_CORPUS";
/// The seed of the mutations, instead of the one that is always used.
const SEED: &str = "RKV_FUZZ_SEED";
/// How many mutations, instead of a few thousand.
const RUNS: &str = "RKV_FUZZ_RUNS";

type Seeds = Vec<(&'static str, Vec<u8>)>;

/// Runs a target over its corpus, which has the seeds in it, and over mutations.
fn exercise(target: &str, run: fn(&[u8]), seeds: &Seeds, runs: u64) {
    let corpus = corpus(target, seeds);
    for (name, input) in &corpus {
        attempt(&format!("{target}/{name}"), run, input);
    }
    let number = |name| std::env::var(name).ok()?.parse().ok();
    let seed = number(SEED).unwrap_or(2026);
    let mut rng = Rng::with_seed(seed);
    for round in 0..number(RUNS).unwrap_or(runs) {
        let mut input = corpus[rng.usize(..corpus.len())].1.clone();
        for _ in 0..rng.u8(1..5) {
            mutate(&mut input, &corpus[rng.usize(..corpus.len())].1, &mut rng);
        }
        attempt(
            &format!("{target}, seed {seed}, round {round}"),
            run,
            &input,
        );
    }
}

fn attempt(what: &str, run: fn(&[u8]), input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(input))) {
        eprintln!("{what} fails on {:?}", bytes::Bytes::copy_from_slice(input));
        resume_unwind(panic);
    }
}

/// The committed inputs of a target, by name: its seeds, and what fuzzing has found.
fn corpus(target: &str, seeds: &Seeds) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../hack/fuzz/corpus"));
    let folder = folder.join(target);
    if std::env::var_os(WRITE_CORPUS).is_some() {
        fs::create_dir_all(&folder).expect("a folder");
        for (name, input) in seeds {
            fs::write(folder.join(name), input).expect("a file");
        }
    }
    for (name, input) in seeds {
        let committed = fs::read(folder.join(name)).unwrap_or_default();
        assert!(
            committed == *input,
            "{target}/{name} is not what it would be today: set {WRITE_CORPUS}=1 and run this again"
        );
    }
    let files = fs::read_dir(&folder).expect("a corpus");
    let mut inputs: Vec<_> = files
        .map(|file| {
            let file = file.expect("a file");
            let name = file.file_name().to_string_lossy().into_owned();
            (name, fs::read(file.path()).expect("a file"))
        })
        .collect();
    inputs.sort();
    inputs
}

/// Numbers at which lengths and counts go wrong.
const EDGES: [u64; 8] = [0, 1, 0x7f, 0x80, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];

/// Changes a few bytes, as transmission, versions and malice do.
fn mutate(input: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    let at = rng.usize(..=input.len());
    let end = (at + rng.usize(..16)).min(input.len());
    match rng.u8(..8) {
        0 | 1 if at < input.len() => input[at] ^= 1 << rng.u8(..8),
        2 if at < input.len() => input[at] = rng.u8(..),
        3 => input.truncate(at),
        4 => {
            input.splice(at..end, []);
        }
        5 => {
            let copied = input[at..end].to_vec();
            input.splice(at..at, copied);
        }
        6 => {
            let number = rng.choice(EDGES).unwrap_or_default().to_le_bytes();
            let width = rng.choice([1, 2, 4, 8]).unwrap_or(1);
            input.splice(at..end, number[..width].iter().copied());
        }
        _ => {
            let from = rng.usize(..=other.len());
            let to = (from + rng.usize(..64)).min(other.len());
            input.splice(at..end, other[from..to].iter().copied());
        }
    }
}

#[test]
fn raft_frames() {
    let seeds = crate::raft::fuzz::seeds();
    exercise("raft_frames", super::raft_frames, &seeds, 20_000);
}

#[test]
fn snapshot() {
    exercise(
        "snapshot",
        super::snapshot,
        &super::snapshot::seeds(),
        5_000,
    );
}

#[test]
fn messages() {
    exercise(
        "messages",
        super::messages,
        &super::messages::seeds(),
        20_000,
    );
}

#[test]
fn http_target() {
    let seeds = crate::api::fuzz::seeds();
    exercise("http_target", super::http_target, &seeds, 10_000);
}

/// The state machine of the tests, as a component.
fn counter() -> Vec<u8> {
    let text = include_str!("../../tests/wasm/counter.wat");
    let mut core = wat::parse_str(text).expect("it assembles");
    let mut resolve = wit_parser::Resolve::default();
    let interface = include_str!("../../../wit/fsm.wit");
    let package = resolve.push_str("fsm.wit", interface).expect("it parses");
    let world = resolve.select_world(&[package], Some("fsm"));
    let world = world.expect("the world exists");
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut core, &resolve, world, encoding)
        .expect("the interface can be embedded");
    wit_component::ComponentEncoder::default()
        .module(&core)
        .and_then(|encoder| encoder.encode())
        .expect("it becomes a component")
}

#[test]
fn component() {
    let assemble = |text: &str| wat::parse_str(text).expect("it assembles");
    let wasi = r#"(component (import "wasi:cli/environment@0.2.0" (instance)))"#;
    let seeds = vec![
        ("empty", assemble("(component)")),
        ("core", assemble("(module (memory 1))")),
        ("wasi", assemble(wasi)),
        ("counter", counter()),
    ];
    exercise("component", super::component, &seeds, 2_000);
}
