//! The modules on this node: their bytes on disk, and which of them are compiled.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::error::FsmError;
use crate::failpoint;
use crate::storage::{ModuleStore, StorageError};
use crate::types::{Description, ModuleId};
use crate::wasm::{Engine, Module, ModuleError};

/// Keeps modules, and compiles them ahead of their use. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: Engine,
    store: ModuleStore,
    max_bytes: u64,
    compiled: Mutex<BTreeMap<ModuleId, Module>>,
}

impl Registry {
    /// Keeps modules of at most `max_bytes` in `store`, and compiles them with `engine`.
    pub fn new(engine: Engine, store: ModuleStore, max_bytes: u64) -> Self {
        let compiled = Mutex::default();
        let shared = Shared {
            engine,
            store,
            max_bytes,
            compiled,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// What the results of this node's engine depend on.
    pub fn fingerprint(&self) -> [u8; 32] {
        if failpoint::is_armed("other-engine") {
            return [0; 32];
        }
        self.shared.engine.fingerprint()
    }

    /// Bytes that a module may have.
    pub fn max_bytes(&self) -> u64 {
        self.shared.max_bytes
    }

    /// Checks that bytes are a state machine. Takes as long as compiling them.
    ///
    /// # Errors
    /// What the module's author has to mend.
    pub fn check(&self, bytes: &[u8]) -> Result<Module, ModuleError> {
        let max_bytes = usize::try_from(self.shared.max_bytes).unwrap_or(usize::MAX);
        self.shared.engine.load(bytes, max_bytes)
    }

    /// Puts a module's bytes on disk, durably.
    ///
    /// # Errors
    /// What the disk says.
    pub fn put(&self, bytes: &[u8]) -> Result<ModuleId, StorageError> {
        self.shared.store.put(bytes)
    }

    /// A module's bytes, if they are here.
    ///
    /// # Errors
    /// What the disk says.
    pub fn bytes(&self, module: ModuleId) -> Result<Option<Vec<u8>>, StorageError> {
        self.shared.store.get(module)
    }

    /// The compiled module: from memory, or compiled now.
    pub(super) fn load(&self, module: ModuleId) -> Result<Module, FsmError> {
        if let Some(compiled) = self.shared.compiled.lock().get(&module) {
            return Ok(compiled.clone());
        }
        let bytes = self.bytes(module)?.ok_or(FsmError::NoModule { module })?;
        let loaded = self.check(&bytes);
        let loaded = loaded.map_err(|source| FsmError::Module { module, source })?;
        self.shared.compiled.lock().insert(module, loaded.clone());
        Ok(loaded)
    }

    /// Compiles a module beside whatever else goes on.
    pub(super) fn prepare(&self, module: ModuleId) {
        let registry = self.clone();
        let compile = move || {
            if let Err(error) = registry.load(module) {
                tracing::error!(%module, %error, "cannot compile a module");
            }
        };
        let thread = std::thread::Builder::new()
            .name("rkv-compile".to_owned())
            .spawn(compile);
        if let Err(error) = thread {
            // It is compiled when it is activated.
            tracing::warn!(%module, %error, "cannot compile a module ahead of its use");
        }
    }

    /// What a compiled module says of itself.
    pub fn description(&self, module: ModuleId) -> Option<Description> {
        let compiled = self.shared.compiled.lock();
        compiled
            .get(&module)
            .map(|module| module.description().clone())
    }

    /// Modules that can be activated here without compiling them first.
    pub fn ready(&self) -> Vec<ModuleId> {
        self.shared.compiled.lock().keys().copied().collect()
    }

    /// Forgets a module, on disk too.
    pub(super) fn remove(&self, module: ModuleId) -> Result<(), StorageError> {
        self.shared.compiled.lock().remove(&module);
        self.shared.store.remove(module)
    }
}
