//! The one place that decides how guest code is compiled and run.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Inlining, OperatorCost, OptLevel, Strategy};

use super::bindings::{self, HostState};
use super::cache::CompiledCache;
use super::instance;
use super::module::{Module, ModuleError};
use super::thread::GUEST_STACK_BYTES;
use crate::types::ModuleId;

/// The version of wasmtime, all of it: fuel and bugs change between patch releases.
pub const WASMTIME_VERSION: &str = "48.0.8";

/// The WIT package that modules are written against.
pub const INTERFACE: &str = "rkv:fsm@0.1.0";

/// What each operator costs. The defaults are fair, but they are part of what nodes have to agree
/// on, so they are stated and go into the fingerprint.
const FUEL_COSTS: OperatorCost = OperatorCost::new();

/// Compiles and runs modules. Cheap to clone; all clones are one engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    wasmtime: wasmtime::Engine,
    linker: Linker<HostState>,
    cache: Option<CompiledCache>,
    fingerprint: [u8; 32],
    compilations: AtomicU64,
}

/// Why there is no engine. Nothing a module does leads here.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// wasmtime does not run on this machine with the settings that determinism needs.
    #[error("cannot set up wasmtime: {0}")]
    Setup(String),
    /// The folder for compiled modules cannot be used.
    #[error("cannot use {path} for compiled modules: {source}")]
    CacheDir {
        /// The folder.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
}

impl Engine {
    /// An engine that keeps compiled modules in `cache_dir`, which belongs to this process alone,
    /// or nowhere: then every load compiles, which takes from 60 ms for a small Rust module to 20 s
    /// for a Python one.
    pub fn new(cache_dir: Option<PathBuf>) -> Result<Self, EngineError> {
        Self::of(&config(), cache_dir)
    }

    /// The same engine on wasmtime's interpreter instead of the processor, several times slower.
    ///
    /// It has to compute the same, fuel included: tests hold the compiler to that. A node never uses
    /// it.
    pub fn interpreted() -> Result<Self, EngineError> {
        let mut config = config();
        config.target("pulley64").map_err(setup_error)?;
        Self::of(&config, None)
    }

    fn of(config: &Config, cache_dir: Option<PathBuf>) -> Result<Self, EngineError> {
        let wasmtime = wasmtime::Engine::new(config).map_err(setup_error)?;
        let mut linker = Linker::new(&wasmtime);
        bindings::add_imports(&mut linker).map_err(setup_error)?;
        let cache = match cache_dir {
            None => None,
            Some(path) => match CompiledCache::open(path.clone(), &wasmtime) {
                Ok(cache) => Some(cache),
                Err(source) => return Err(EngineError::CacheDir { path, source }),
            },
        };
        let shared = Shared {
            fingerprint: fingerprint(&wasmtime),
            wasmtime,
            linker,
            cache,
            compilations: AtomicU64::new(0),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Checks `wasm` and makes a module of it: see [`ModuleError`] for what is refused. A module
    /// of more than `max_bytes` is too large; [`MAX_MODULE_BYTES`](super::MAX_MODULE_BYTES) is a
    /// good bound.
    ///
    /// Takes as long as compiling does, unless the compiled form is in the cache.
    pub fn load(&self, wasm: &[u8], max_bytes: usize) -> Result<Module, ModuleError> {
        Module::load(self, wasm, max_bytes)
    }

    /// What this engine's results depend on: two nodes with equal fingerprints compute the same
    /// from the same entries. Covers wasmtime's version, the settings, the interface and the
    /// bounds of this layer, but not the processor: results do not depend on it.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.shared.fingerprint
    }

    /// Modules that were compiled since the start, rather than found in the cache.
    pub fn compilations(&self) -> u64 {
        self.shared.compilations.load(Ordering::Relaxed)
    }

    pub(super) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.shared.wasmtime
    }

    pub(super) fn linker(&self) -> &Linker<HostState> {
        &self.shared.linker
    }

    /// The component of the bytes `wasm` with the sha256 `id`, from the cache if it is there.
    pub(super) fn compile(&self, id: ModuleId, wasm: &[u8]) -> wasmtime::Result<Component> {
        let shared = &*self.shared;
        let cached = shared
            .cache
            .as_ref()
            .and_then(|cache| cache.load(&shared.wasmtime, id));
        if let Some(component) = cached {
            return Ok(component);
        }
        shared.compilations.fetch_add(1, Ordering::Relaxed);
        let component = Component::from_binary(&shared.wasmtime, wasm)?;
        if let Some(cache) = &shared.cache {
            cache.store(id, &component);
        }
        Ok(component)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("cache", &self.shared.cache)
            .finish_non_exhaustive()
    }
}

fn setup_error(error: wasmtime::Error) -> EngineError {
    EngineError::Setup(format!("{error:#}"))
}

/// Threads, GC, exceptions and component-model async are not compiled into this wasmtime at all
/// (`default-features = false`); what follows is what remains to decide.
fn config() -> Config {
    let mut config = Config::new();
    config
        // Which bits a NaN has is the processor's choice otherwise, and a guest can see them.
        .cranelift_nan_canonicalization(true)
        // A bound on run time that is counted in operators, hence equal everywhere. Epochs are
        // clocks.
        .consume_fuel(true)
        .operator_cost(FUEL_COSTS)
        // Deeper than the guest's own shadow stack: see GUEST_STACK_BYTES. wasmtime wants its
        // (unused) async stack to be no smaller.
        .max_wasm_stack(GUEST_STACK_BYTES)
        .async_stack_size(GUEST_STACK_BYTES)
        // The one wasm proposal whose results differ between processors by design.
        .wasm_relaxed_simd(false)
        // Allocation by the host on the guest's behalf, with collections at times of its own.
        .wasm_gc(false)
        // Nobody's toolchain needs them, and the memory limit counts one memory of 32 bits.
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        // A copy-on-write image costs no fuel to set up, a copied data segment does, and which
        // of the two it is depends on the platform.
        .memory_init_cow(false)
        // One compiler and one way to compile: the other backend counts fuel differently.
        .strategy(Strategy::Cranelift)
        .compiler_inlining(Inlining::No)
        .cranelift_opt_level(OptLevel::Speed)
        // All that a 32-bit memory can ever need: it never moves, so a grow never copies it.
        .memory_reservation(4 << 30)
        .memory_may_move(false);
    config
}

/// wasmtime's own compatibility hash would not do: it covers the processor's features, and so
/// tells apart nodes that agree.
fn fingerprint(engine: &wasmtime::Engine) -> [u8; 32] {
    let settings = [
        ("features", engine.get_wasm_features().bits()),
        (
            "canonical NaN",
            engine
                .get_cranelift_nan_canonicalization()
                .map_or(2, u64::from),
        ),
        ("fuel", engine.get_consume_fuel().into()),
        ("epochs", engine.get_epoch_interruption().into()),
        ("copy-on-write", engine.get_memory_init_cow().into()),
        ("stack bytes", engine.get_max_wasm_stack() as u64),
        ("response bytes", instance::MAX_RESPONSE_BYTES as u64),
        ("chunk fuel", instance::CHUNK_FUEL),
    ];
    let mut hash = Sha256::new();
    hash.update(format!(
        "wasmtime {WASMTIME_VERSION}\ninterface {INTERFACE}\n{FUEL_COSTS:?}\n"
    ));
    for (name, value) in settings {
        hash.update(format!("{name} {value}\n"));
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_in_the_lock_file() {
        let lock = include_str!("../../../Cargo.lock");
        let entry = format!("name = \"wasmtime\"\nversion = \"{WASMTIME_VERSION}\"\n");
        assert!(
            lock.contains(&entry),
            "WASMTIME_VERSION is not what Cargo.lock has"
        );
    }

    #[test]
    fn the_interface_is_the_one_in_the_wit_package() {
        let wit = include_str!("../../../wit/fsm.wit");
        assert!(wit.contains(&format!("package {INTERFACE};")));
    }

    #[test]
    fn the_fingerprint_sees_a_changed_setting() {
        let of = |config: &Config| fingerprint(&wasmtime::Engine::new(config).unwrap());
        let mut other = config();
        other.max_wasm_stack(1 << 20);
        assert_ne!(of(&config()), of(&other));
        assert_eq!(of(&config()), Engine::new(None).unwrap().fingerprint());
    }
}
