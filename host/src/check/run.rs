//! `rkvd fsm check`: everything in order.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::compare::Way;
use super::history::{Entry, commands_for, history};
use super::plain::Plain;
use super::random::Random;
use super::report;
use super::text::{BadLine, parse_lines};
use crate::types::Limits;
use crate::wasm::{Engine, EngineError, MAX_MODULE_BYTES, Module, ModuleError, with_guest_stack};

/// What a module may use during a check: as much fuel as in a new cluster, and no more memory than
/// can be filled again and again.
pub const LIMITS: Limits = Limits {
    memory_bytes: 256 << 20,
    ..Limits::DEFAULT
};

/// Bytes of a file of commands.
const MAX_ENTRIES_BYTES: usize = 8 << 20;

/// What to check, and with what.
#[derive(Debug, Clone)]
pub struct Options {
    /// The module.
    pub module: PathBuf,
    /// Commands, one per line.
    pub entries: Option<PathBuf>,
    /// How many commands to generate behind those.
    pub count: usize,
    /// What the generated commands, and all other choices, depend on.
    pub seed: u64,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was found.
    Good,
    /// Something was found, and printed.
    Bad,
}

/// Why there was no check. Says nothing about the module.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A file of commands has a line that is none.
    #[error("{path}: {source}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line.
        source: BadLine,
    },
    /// A file of commands is too large.
    #[error("{path} has more than the {MAX_ENTRIES_BYTES} bytes of commands that a check takes")]
    TooManyEntries {
        /// The file.
        path: PathBuf,
    },
    /// No module runs here.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The module may be good.
    #[error(transparent)]
    Node(ModuleError),
    /// There is no thread with enough stack.
    #[error("cannot run the module: {0}")]
    Thread(io::Error),
    /// The results cannot be printed.
    #[error("cannot print the results: {0}")]
    Print(#[from] io::Error),
}

/// Checks a module and prints to `out` what is checked and what is found.
pub fn run(options: &Options, out: &mut (impl Write + Send)) -> Result<Verdict, CheckError> {
    let examples = match &options.entries {
        Some(path) => read_entries(path)?,
        None => Vec::new(),
    };
    let started = Instant::now();
    let module = match load(&options.module)? {
        Ok(module) => module,
        Err(error @ ModuleError::Node(_)) => return Err(CheckError::Node(error)),
        Err(error) => {
            report::refused(&error, out)?;
            return Ok(Verdict::Bad);
        }
    };
    report::module(&module, started.elapsed(), out)?;

    let mut random = Random::new(options.seed);
    let generated = commands_for(module.description(), &examples, options.count, &mut random);
    report::sources(options, &module, examples.len(), out)?;
    let commands = examples.into_iter().chain(generated).collect();
    let entries = history(commands, &mut random);
    with_guest_stack(|| compare(&module, &entries, options.seed, out))
        .map_err(CheckError::Thread)?
}

fn compare(
    module: &Module,
    entries: &[Entry],
    seed: u64,
    out: &mut impl Write,
) -> Result<Verdict, CheckError> {
    let plain = match Plain::run(module, &LIMITS, entries) {
        Ok(plain) => plain,
        Err(finding) => {
            report::step("applied one at a time", &Err(finding), out)?;
            return Ok(Verdict::Bad);
        }
    };
    report::plain(&plain, entries, out)?;
    let mut verdict = Verdict::Good;
    for way in Way::ALL {
        let compared = plain.compare(way, seed);
        report::step(way, &compared, out)?;
        if compared.is_err() {
            verdict = Verdict::Bad;
        }
    }
    Ok(verdict)
}

fn read_entries(path: &Path) -> Result<Vec<Vec<u8>>, CheckError> {
    let bytes = read(path, MAX_ENTRIES_BYTES)?;
    let path = || path.to_owned();
    if bytes.len() > MAX_ENTRIES_BYTES {
        return Err(CheckError::TooManyEntries { path: path() });
    }
    parse_lines(&bytes).map_err(|source| CheckError::Line {
        path: path(),
        source,
    })
}

/// What an upload would make of the file.
fn load(path: &Path) -> Result<Result<Module, ModuleError>, CheckError> {
    let wasm = read(path, MAX_MODULE_BYTES)?;
    let loaded = Engine::new(None)?.load(&wasm, MAX_MODULE_BYTES);
    Ok(loaded.map_err(|error| match (error, fs::metadata(path)) {
        // No more than that was read of it.
        (ModuleError::TooLarge { limit, size }, Ok(file)) => {
            let in_file = usize::try_from(file.len()).unwrap_or(usize::MAX);
            ModuleError::TooLarge {
                limit,
                size: size.max(in_file),
            }
        }
        (error, _) => error,
    }))
}

/// A file, or so much of it that it is seen to be too large.
fn read(path: &Path, max_bytes: usize) -> Result<Vec<u8>, CheckError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(max_bytes as u64 + 1).read_to_end(&mut bytes))
        .map_err(|source| CheckError::Read {
            path: path.to_owned(),
            source,
        })?;
    Ok(bytes)
}
