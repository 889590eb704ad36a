//! The state from before an activation on its way to disk. A thread of its own reads it from the old
//! instance, which lives as long as that takes, while the new one goes on: nobody waits for fsyncs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use super::error::FsmError;
use super::section::CHUNK_BYTES;
use crate::storage::{SnapshotFile, SnapshotStore, StorageError};
use crate::types::LogIndex;
use crate::wasm::{Instance, THREAD_STACK_BYTES};

/// The writing of a replaced state. Dropped, it ends early and leaves no file behind.
#[derive(Debug)]
pub(super) struct Keeping {
    until: LogIndex,
    progress: Arc<Progress>,
    thread: Option<JoinHandle<Result<(), StorageError>>>,
}

#[derive(Debug, Default)]
struct Progress {
    cancelled: AtomicBool,
    ended: Mutex<bool>,
    end: Condvar,
}

impl Keeping {
    /// Starts to write the state of `instance`, which the activation at `until` replaced.
    pub(super) fn start(
        instance: Instance,
        snapshots: SnapshotStore,
        until: LogIndex,
    ) -> Result<Self, FsmError> {
        let progress = Arc::new(Progress::default());
        let own = Arc::clone(&progress);
        let keep = move || {
            // Also when the thread panics.
            let _ending = Ending(&own);
            match write(instance, &snapshots, until, &own.cancelled) {
                Err(FsmError::Storage(error)) => Err(error),
                Err(error) => {
                    tracing::error!(%error, until, "the state before the activation is not kept");
                    Ok(())
                }
                Ok(()) => Ok(()),
            }
        };
        let thread = std::thread::Builder::new()
            .name("rkv-previous".to_owned())
            .stack_size(THREAD_STACK_BYTES)
            .spawn(keep)
            .map_err(|error| FsmError::Fault(format!("the system gives no thread: {error}")))?;
        Ok(Self {
            until,
            progress,
            thread: Some(thread),
        })
    }

    /// The activation whose previous state is still being written.
    pub(super) fn until(&self) -> Option<LogIndex> {
        (!*self.progress.ended.lock()).then_some(self.until)
    }

    /// Waits for the end. An error is the disk's.
    pub(super) fn finish(mut self) -> Result<(), FsmError> {
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(error.into()),
            Some(Err(_)) => Err(FsmError::Fault(
                "the thread that keeps the previous state panicked".to_owned(),
            )),
        }
    }

    /// The state, for whoever can wait until it is there.
    pub(super) fn awaited(&self) -> PreviousState {
        PreviousState::OnItsWay(self.until, Waiter(Arc::clone(&self.progress)))
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.progress.cancelled.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its outcome matters to nobody any more.
            let _ = thread.join();
        }
    }
}

/// Reads the state once more: the first time it went into the new module.
fn write(
    mut instance: Instance,
    snapshots: &SnapshotStore,
    until: LogIndex,
    cancelled: &AtomicBool,
) -> Result<(), FsmError> {
    let mut writer = snapshots.begin_previous(until)?;
    let snapshot = instance.open_snapshot().map_err(FsmError::Snapshot)?;
    loop {
        if cancelled.load(Ordering::Relaxed) {
            return Ok(());
        }
        let chunk = instance.read_snapshot(&snapshot, CHUNK_BYTES);
        let chunk = chunk.map_err(FsmError::Snapshot)?;
        if chunk.is_empty() {
            break;
        }
        writer.write_chunk(&chunk)?;
    }
    writer.finish()?;
    Ok(())
}

/// Tells those who wait.
struct Ending<'a>(&'a Progress);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        *self.0.ended.lock() = true;
        self.0.end.notify_all();
    }
}

/// Waits for the end of a [`Keeping`], and does not hold it up.
#[derive(Debug, Clone)]
pub(super) struct Waiter(Arc<Progress>);

/// The state from before the last activation, as of some moment.
#[derive(Debug)]
pub(super) enum PreviousState {
    /// There is none, or it cannot be had.
    Nothing,
    Kept(SnapshotFile),
    OnItsWay(LogIndex, Waiter),
}

impl PreviousState {
    /// The file, once it is written. Blocks that long.
    pub(super) fn file(
        self,
        snapshots: &SnapshotStore,
    ) -> Result<Option<SnapshotFile>, StorageError> {
        match self {
            Self::Nothing => Ok(None),
            Self::Kept(file) => Ok(Some(file)),
            Self::OnItsWay(until, Waiter(progress)) => {
                let mut ended = progress.ended.lock();
                while !*ended {
                    progress.end.wait(&mut ended);
                }
                snapshots.previous(until)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rkv_kv_protocol::Command;

    use super::*;
    use crate::storage::DataDir;
    use crate::types::Limits;
    use crate::wasm::{ApplyEntry, Context, Engine, MAX_MODULE_BYTES, with_guest_stack};

    const KV: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kv.wasm"));
    const UNTIL: LogIndex = 7;

    /// The bundled store with more than a chunk of state.
    fn instance() -> Instance {
        let engine = Engine::new(None).unwrap();
        let module = engine.load(KV, MAX_MODULE_BYTES).unwrap();
        let mut instance = module.instantiate(&Limits::DEFAULT).unwrap();
        let command = Command::Set {
            key: b"large",
            value: &vec![b'v'; 3 * CHUNK_BYTES as usize / 2],
        };
        let context = Context {
            index: UNTIL - 1,
            term: 1,
            time_ms: 0,
            seed: 0,
        };
        let entry = ApplyEntry {
            context,
            command: &command.encode(),
        };
        instance.apply(&[entry]).unwrap()[0].as_ref().unwrap();
        instance
    }

    fn with_store(test: impl FnOnce(&SnapshotStore) + Send) {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        let snapshots = SnapshotStore::open(&dir).unwrap();
        with_guest_stack(|| test(&snapshots)).unwrap();
    }

    fn length(file: &SnapshotFile) -> usize {
        file.chunks().map(|chunk| chunk.unwrap().len()).sum()
    }

    #[test]
    fn whoever_waits_gets_the_state_as_soon_as_it_is_written() {
        with_store(|snapshots| {
            let keeping = Keeping::start(instance(), snapshots.clone(), UNTIL).unwrap();
            let (first, second) = (keeping.awaited(), keeping.awaited());
            let file = first.file(snapshots).unwrap().unwrap();
            assert!(length(&file) > CHUNK_BYTES as usize);
            assert_eq!(keeping.until(), None);
            keeping.finish().unwrap();
            assert_eq!(
                second.file(snapshots).unwrap().map(|file| file.id()),
                Some(file.id())
            );
        });
    }

    /// As when the state is dropped, or the next activation replaces it.
    #[test]
    fn a_state_that_nobody_wants_any_more_leaves_nothing() {
        with_store(|snapshots| {
            let cancelled = AtomicBool::new(true);
            write(instance(), snapshots, UNTIL, &cancelled).unwrap();
            assert!(snapshots.previous(UNTIL).unwrap().is_none());
            // Done again, it is written.
            write(instance(), snapshots, UNTIL, &AtomicBool::new(false)).unwrap();
            assert!(snapshots.previous(UNTIL).unwrap().is_some());
        });
    }

    /// Whoever waits is not left waiting, and finds that there is none.
    #[test]
    fn an_end_without_a_file_ends_the_waiting() {
        with_store(|snapshots| {
            let keeping = Keeping::start(instance(), snapshots.clone(), UNTIL).unwrap();
            let waiting = keeping.awaited();
            drop(keeping);
            let found = waiting.file(snapshots).unwrap();
            assert_eq!(
                found.is_some(),
                snapshots.previous(UNTIL).unwrap().is_some()
            );
        });
    }
}
