use rkv_host::types::Limits;
use rkv_host::wasm::*;
use rkv_kv_protocol::Command;
use sha2::Digest;

fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    s.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}
fn timed<T>(what: &str, f: impl FnOnce() -> T) -> T {
    let w = std::time::Instant::now();
    let c = cpu();
    let r = f();
    println!(
        "{what}: cpu {:.3} s, wall {:.3} s",
        cpu() - c,
        w.elapsed().as_secs_f64()
    );
    r
}
fn component(path: &str) -> Vec<u8> {
    let b = std::fs::read(path).unwrap();
    if b.starts_with(b"\0asm\x0d") {
        return b;
    }
    wit_component::ComponentEncoder::default()
        .module(&b)
        .unwrap()
        .encode()
        .unwrap()
}
#[test]
fn scratch() {
    let n: u64 = std::env::var("N").map_or(1_000_000, |v| v.parse().unwrap());
    let modules: Vec<Vec<u8>> = std::env::var("CORES")
        .unwrap()
        .split(',')
        .map(component)
        .collect();
    std::thread::Builder::new()
        .stack_size(THREAD_STACK_BYTES)
        .spawn(move || {
            let engine = Engine::new(None).unwrap();
            let loaded: Vec<Module> = modules
                .iter()
                .map(|m| engine.load(m, MAX_MODULE_BYTES).unwrap())
                .collect();
            let mut a = loaded[0].instantiate(&Limits::DEFAULT).unwrap();
            let ctx = |i| Context {
                index: i,
                term: 1,
                time_ms: 1000,
                seed: 42,
            };
            let value = format!("{:<100}", 0);
            timed("load", || {
                for first in (0..n).step_by(100) {
                    let keys: Vec<String> = (first..first + 100)
                        .map(|k| format!("key-{k:012}"))
                        .collect();
                    let c = Command::Batch(
                        keys.iter()
                            .map(|k| (k.as_bytes(), value.as_bytes()))
                            .collect(),
                    )
                    .encode();
                    a.apply(&[ApplyEntry {
                        context: ctx(first + 1),
                        command: &c,
                    }])
                    .unwrap()[0]
                        .as_ref()
                        .unwrap();
                }
            });
            let f = a.fuel_burnt();
            let c = Command::Set {
                key: b"key-000000500000",
                value: value.as_bytes(),
            }
            .encode();
            a.apply(&[ApplyEntry {
                context: ctx(n + 1),
                command: &c,
            }])
            .unwrap()[0]
                .as_ref()
                .unwrap();
            println!("fuel of a PUT {}", a.fuel_burnt() - f);
            let puts: Vec<Vec<u8>> = (0..256 * 40)
                .map(|i| {
                    Command::Set {
                        key: format!("key-{:012}", (i * 7919) % n).as_bytes(),
                        value: value.as_bytes(),
                    }
                    .encode()
                })
                .collect();
            for round in 0..3 {
                for size in [256, 64, 16, 4, 1] {
                    timed(
                        &format!("10240 PUTs, {size} at a time, round {round}"),
                        || {
                            for some in puts.chunks(size) {
                                let e: Vec<_> = some
                                    .iter()
                                    .map(|c| ApplyEntry {
                                        context: ctx(n + 1),
                                        command: c,
                                    })
                                    .collect();
                                a.apply(&e).unwrap();
                            }
                        },
                    );
                }
            }
            let big = "x".repeat(70_000);
            let keys: Vec<String> = (0..100).map(|k| format!("large-{k}")).collect();
            let c = Command::Batch(
                keys.iter()
                    .map(|k| (k.as_bytes(), big.as_bytes()))
                    .collect(),
            )
            .encode();
            let f = a.fuel_burnt();
            a.apply(&[ApplyEntry {
                context: ctx(n + 2),
                command: &c,
            }])
            .unwrap()[0]
                .as_ref()
                .unwrap();
            println!("fuel of the large batch {}", a.fuel_burnt() - f);
            let f = a.fuel_burnt();
            let chunks = timed("read out", || {
                let s = a.open_snapshot().unwrap();
                let mut chunks = Vec::new();
                loop {
                    let c = a.read_snapshot(&s, 1 << 20).unwrap();
                    if c.is_empty() {
                        break;
                    }
                    chunks.push(c);
                }
                a.close_snapshot(s).unwrap();
                chunks
            });
            println!("fuel of the read out {:.3e}", (a.fuel_burnt() - f) as f64);
            let bytes: usize = chunks.iter().map(Vec::len).sum();
            println!(
                "{} MB in {} chunks, memory {} MB",
                bytes / 1000000,
                chunks.len(),
                a.memory_bytes() / 1000000
            );
            timed("sha256", || {
                let mut h = sha2::Sha256::new();
                for c in &chunks {
                    h.update(c);
                }
                h.finalize()
            });
            timed("crc32", || {
                let mut h = crc32fast::Hasher::new();
                for c in &chunks {
                    h.update(c);
                }
                h.finalize()
            });
            let saved = a.describe().unwrap();
            for round in 0..2 {
                for (i, m) in loaded.iter().enumerate() {
                    let mut b = m.instantiate(&Limits::DEFAULT).unwrap();
                    let f = b.fuel_burnt();
                    timed(&format!("restore into {i} round {round}"), || {
                        let r = b.begin_restore(&saved).unwrap();
                        for c in &chunks {
                            b.restore_chunk(&r, c).unwrap().unwrap();
                        }
                        b.finish_restore(r).unwrap().unwrap();
                    });
                    println!(
                        "  fuel {:.3e} memory {} MB",
                        (b.fuel_burnt() - f) as f64,
                        b.memory_bytes() / 1000000
                    );
                    timed("drop", || drop(b));
                }
            }
        })
        .unwrap()
        .join()
        .unwrap();
}
