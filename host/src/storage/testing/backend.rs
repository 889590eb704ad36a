//! A disk in memory, under the log or a redb database.

use std::io;
use std::sync::Arc;

use fastrand::Rng;
use parking_lot::{Condvar, Mutex, MutexGuard};
use redb::StorageBackend;

use super::{EIO, ENOSPC, SECTOR};

/// What goes wrong at the operation that [`TestBackend::arm`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) enum Fault {
    /// The power: the operation may be half done, and nothing works after it.
    Power,
    /// This operation fails, and the next works again.
    Once,
    /// The disk is full, and stays so.
    Full,
}

/// The disk, as one process has it open. Clones are the same process.
#[derive(Clone, Debug, Default)]
pub(in crate::storage) struct TestBackend {
    disk: Arc<(Mutex<Disk>, Condvar)>,
    /// Which process this is: see [`TestBackend::kill`].
    process: u64,
}

#[derive(Debug, Default)]
struct Disk {
    /// What a reader sees.
    live: Vec<u8>,
    /// What a power failure cannot take.
    durable: Vec<u8>,
    /// Changes since the last sync, in order.
    pending: Vec<Change>,
    /// The process that is alive.
    process: u64,
    /// Operations until the fault.
    armed: Option<(usize, Fault)>,
    fired: Option<Fault>,
    syncs_lie: bool,
    syncs_fail: bool,
    syncs_hang: bool,
    /// Syncs that hang now.
    hanging: usize,
}

#[derive(Clone, Debug)]
enum Change {
    Length(usize),
    Bytes(usize, Vec<u8>),
}

impl TestBackend {
    /// A disk with the given content, all of it durable.
    pub(in crate::storage) fn holding(image: Vec<u8>) -> Self {
        let backend = Self::default();
        backend.disk().durable.clone_from(&image);
        backend.disk().live = image;
        backend
    }

    /// A disk that reports syncs which it did not do. No store is safe on it.
    pub(in crate::storage) fn lying(image: Vec<u8>) -> Self {
        let backend = Self::holding(image);
        backend.disk().syncs_lie = true;
        backend
    }

    /// What a reader sees.
    pub(in crate::storage) fn content(&self) -> Vec<u8> {
        self.disk().live.clone()
    }

    /// Where these bytes are.
    pub(in crate::storage) fn find(&self, bytes: &[u8]) -> Vec<usize> {
        let live = &self.disk().live;
        let mut places = live.windows(bytes.len()).enumerate();
        let found = places.by_ref().filter(|(_, window)| *window == bytes);
        found.map(|(at, _)| at).collect()
    }

    pub(in crate::storage) fn fail_syncs(&self) {
        self.disk().syncs_fail = true;
    }

    /// Makes syncs hang until [`TestBackend::resume`].
    pub(in crate::storage) fn hang(&self) {
        self.disk().syncs_hang = true;
    }

    /// Returns once a sync hangs, or an operation has failed.
    pub(in crate::storage) fn await_hanging(&self) {
        let mut disk = self.disk();
        while disk.hanging == 0 && disk.fired.is_none() {
            self.disk.1.wait(&mut disk);
        }
    }

    pub(in crate::storage) fn resume(&self) {
        self.disk().syncs_hang = false;
        self.disk.1.notify_all();
    }

    /// Has `fault` happen after that many writes, syncs and changes of length.
    pub(in crate::storage) fn arm(&self, operations: usize, fault: Fault) {
        self.disk().armed = Some((operations, fault));
    }

    /// The fault that has happened.
    pub(in crate::storage) fn fired(&self) -> Option<Fault> {
        self.disk().fired
    }

    /// Ends the process. What it wrote, synced or not, is what the next one sees.
    pub(in crate::storage) fn kill(&self) -> Self {
        let mut disk = self.disk();
        disk.process += 1;
        disk.armed = None;
        disk.fired = None;
        Self {
            disk: self.disk.clone(),
            process: disk.process,
        }
    }

    /// What is found after a power failure now: all that was synced, and of the rest what chance
    /// lets through, change by change, and of a write sector by sector.
    pub(in crate::storage) fn power_failure(&self, rng: &mut Rng) -> Vec<u8> {
        let disk = self.disk();
        let mut image = disk.durable.clone();
        // Sometimes nothing, sometimes everything, mostly something.
        let share = rng.choice([0.0, 0.1, 0.5, 0.9, 1.0]).unwrap_or(0.5);
        for change in &disk.pending {
            match change {
                Change::Length(length) if rng.f64() < share => image.resize(*length, 0),
                Change::Length(_) => {}
                Change::Bytes(offset, data) => {
                    let torn = rng.bool();
                    let mut survives = rng.f64() < share;
                    for (at, part) in sectors(*offset, data) {
                        if torn {
                            survives = rng.f64() < share;
                        }
                        if survives && at + part.len() <= image.len() {
                            image[at..at + part.len()].copy_from_slice(part);
                        }
                    }
                }
            }
        }
        image
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.0.lock()
    }

    /// Does a change, unless the fault strikes: then perhaps a part of it.
    fn change(&self, change: Change) -> io::Result<()> {
        let mut disk = self.disk();
        let failed = self.step(&mut disk);
        match (&failed, change) {
            (Ok(()), change) => disk.apply(change),
            (Err(_), Change::Bytes(offset, mut data)) => {
                data.truncate(data.len() / 2);
                disk.apply(Change::Bytes(offset, data));
            }
            // The file's size is on its way, though nobody will hear of it.
            (Err(_), change) if disk.fired == Some(Fault::Power) => disk.apply(change),
            (Err(_), _) => {}
        }
        failed
    }

    /// Counts an operation.
    fn step(&self, disk: &mut Disk) -> io::Result<()> {
        if self.process != disk.process || disk.fired == Some(Fault::Power) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if disk.fired == Some(Fault::Full) {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        match disk.armed {
            Some((0, fault)) => {
                disk.armed = None;
                disk.fired = Some(fault);
                self.disk.1.notify_all();
                let full = fault == Fault::Full;
                Err(io::Error::from_raw_os_error(if full {
                    ENOSPC
                } else {
                    EIO
                }))
            }
            Some((left, fault)) => {
                disk.armed = Some((left - 1, fault));
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Disk {
    fn apply(&mut self, change: Change) {
        put(&mut self.live, &change);
        self.pending.push(change);
    }
}

fn put(image: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(length) => image.resize(*length, 0),
        Change::Bytes(offset, data) => image[*offset..*offset + data.len()].copy_from_slice(data),
    }
}

/// The parts of a write that a disk does whole or not at all, and where they go.
fn sectors(offset: usize, data: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let first = (SECTOR - offset % SECTOR).min(data.len());
    let (head, rest) = data.split_at(first);
    let rest = rest.chunks(SECTOR).enumerate();
    std::iter::once((offset, head))
        .chain(rest.map(move |(number, part)| (offset + first + number * SECTOR, part)))
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("a test's disk fits in memory")
}

impl StorageBackend for TestBackend {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.disk().live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let disk = self.disk();
        let start = place(offset);
        let part = disk.live.get(start..start + out.len());
        out.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.change(Change::Length(place(len)))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut disk = self.disk();
        disk.hanging += 1;
        self.disk.1.notify_all();
        while disk.syncs_hang {
            self.disk.1.wait(&mut disk);
        }
        disk.hanging -= 1;
        if disk.syncs_fail {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.step(&mut disk)?;
        if disk.syncs_lie {
            return Ok(());
        }
        for change in std::mem::take(&mut disk.pending) {
            put(&mut disk.durable, &change);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.change(Change::Bytes(place(offset), data.to_vec()))
    }
}
