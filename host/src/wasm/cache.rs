//! Compiled components on this node's disk, so that a restart does not compile them again.
//!
//! An entry is only ever written by this node for itself: compiled code is native code, and
//! nothing that came over the network or in a snapshot may get in here.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use super::engine::WASMTIME_VERSION;
use crate::types::ModuleId;

/// First bytes of an entry. The sha256 of the compiled code follows, then the code.
const MAGIC: [u8; 8] = *b"rkvcwasm";
const HEADER_BYTES: usize = MAGIC.len() + 32;
/// Compiled modules that are kept. One of a Python module takes some 50 MB.
const ENTRIES: usize = 16;

/// A folder of compiled components.
///
/// Whatever is wrong with an entry, it is as if it were not there: the component is compiled and
/// the entry written anew.
#[derive(Debug)]
pub(super) struct CompiledCache {
    dir: PathBuf,
    /// The end of the names of entries that this engine can load.
    suffix: String,
}

impl CompiledCache {
    /// Makes the folder where it is missing, closes it to other users, and removes what only
    /// another engine could load.
    ///
    /// The suffix has wasmtime's full version, although the hash covers it: wasmtime itself
    /// compares the major version only, and would load what an older patch release miscompiled.
    pub(super) fn open(dir: PathBuf, engine: &wasmtime::Engine) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        fs::set_permissions(&dir, Permissions::from_mode(0o700))?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let suffix = format!("-{WASMTIME_VERSION}-{:016x}.cwasm", hasher.finish());
        let cache = Self { dir, suffix };
        for (path, _) in cache.entries()? {
            if !path.to_string_lossy().ends_with(&cache.suffix) {
                fs::remove_file(path)?;
            }
        }
        Ok(cache)
    }

    /// The component compiled from the module `id`, when there is a good entry for it.
    pub(super) fn load(&self, engine: &wasmtime::Engine, id: ModuleId) -> Option<Component> {
        let path = self.path(id);
        match read_entry(&path) {
            Ok(code) => match deserialize(engine, &code) {
                Ok(component) => return Some(component),
                Err(error) => tracing::warn!(path = %path.display(), %error, "compiled again"),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(path = %path.display(), %error, "compiled again"),
        }
        None
    }

    /// Keeps `component`, compiled from the module `id`. That it cannot be kept is worth a line in
    /// the log and nothing more.
    pub(super) fn store(&self, id: ModuleId, component: &Component) {
        let path = self.path(id);
        let written = component
            .serialize()
            .map_err(io::Error::other)
            .and_then(|code| write_entry(&path, &code))
            .and_then(|()| self.evict());
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "cannot keep a compiled module");
        }
    }

    fn path(&self, id: ModuleId) -> PathBuf {
        self.dir.join(format!("{id}{}", self.suffix))
    }

    /// Entries, whole or half written, with the time of their last change.
    fn entries(&self) -> io::Result<Vec<(PathBuf, SystemTime)>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "cwasm" || extension == "tmp")
            {
                let modified = fs::metadata(&path)?.modified()?;
                entries.push((path, modified));
            }
        }
        Ok(entries)
    }

    fn evict(&self) -> io::Result<()> {
        let mut entries = self.entries()?;
        entries.sort_by_key(|(_, modified)| std::cmp::Reverse(*modified));
        entries
            .iter()
            .skip(ENTRIES)
            .try_for_each(|(path, _)| fs::remove_file(path))
    }
}

fn read_entry(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the entry is damaged");
    let (header, code) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(damaged)?;
    if header != header_of(code) {
        return Err(damaged());
    }
    Ok(bytes.split_off(HEADER_BYTES))
}

/// Writes beside the entry and renames, so that no reader meets half of one. Nothing is synced:
/// after a power cut the checksum tells a torn entry, and it is compiled again.
#[allow(
    clippy::disallowed_methods,
    reason = "a lost or torn entry is compiled again"
)]
fn write_entry(path: &Path, code: &[u8]) -> io::Result<()> {
    // Two threads may load the same module at once.
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let temporary = path.with_extension(format!("{}.tmp", WRITES.fetch_add(1, Ordering::Relaxed)));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(&header_of(code))?;
            file.write_all(code)
        })
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The failure to write is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn header_of(code: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..MAGIC.len()].copy_from_slice(&MAGIC);
    header[MAGIC.len()..].copy_from_slice(&Sha256::digest(code));
    header
}

#[allow(
    unsafe_code,
    reason = "compiled code can only be loaded by an unsafe function"
)]
fn deserialize(engine: &wasmtime::Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` wants bytes that `Component::serialize` made. `code` matched the
    // sha256 that only `store` writes beside such bytes, in a folder that no other user can write
    // to (mode 0700), under a name with this very wasmtime's version and settings. Whoever can
    // forge all that runs as this user, and needs no forged cache to run code.
    unsafe { Component::deserialize(engine, code) }
}
