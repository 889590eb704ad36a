//! A disk in memory that forgets what was not synced, fails, or hangs, as a test commands.

use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};
use redb::StorageBackend;

/// Bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;

/// The disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct TestBackend {
    disk: Arc<(Mutex<Disk>, Condvar)>,
}

#[derive(Debug, Default)]
struct Disk {
    /// What a reader sees.
    live: Vec<u8>,
    /// What a crash cannot take.
    durable: Vec<u8>,
    /// Writes since the last sync, in order.
    unsynced: Vec<(usize, Vec<u8>)>,
    syncs_fail: bool,
    syncs_hang: bool,
    /// Syncs that hang now.
    hanging: usize,
}

impl TestBackend {
    /// A disk with the given content, all of it durable.
    pub(super) fn holding(image: Vec<u8>) -> Self {
        let backend = Self::default();
        backend.disk().durable.clone_from(&image);
        backend.disk().live = image;
        backend
    }

    pub(super) fn fail_syncs(&self) {
        self.disk().syncs_fail = true;
    }

    /// Makes syncs hang until [`TestBackend::resume`].
    pub(super) fn hang(&self) {
        self.disk().syncs_hang = true;
    }

    /// Returns once a sync hangs.
    pub(super) fn await_hanging(&self) {
        let mut disk = self.disk();
        while disk.hanging == 0 {
            self.disk.1.wait(&mut disk);
        }
    }

    pub(super) fn resume(&self) {
        self.disk().syncs_hang = false;
        self.disk.1.notify_all();
    }

    /// What is found after a power failure now: all that was synced, and of the rest the sectors
    /// that `survives` picks.
    pub(super) fn crash(&self, mut survives: impl FnMut() -> bool) -> Vec<u8> {
        let disk = self.disk();
        let mut image = disk.durable.clone();
        for (offset, data) in &disk.unsynced {
            for (sector, part) in data.chunks(SECTOR).enumerate() {
                let at = offset + sector * SECTOR;
                if survives() && at + part.len() <= image.len() {
                    image[at..at + part.len()].copy_from_slice(part);
                }
            }
        }
        image
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.0.lock()
    }
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
        self.disk().live.resize(place(len), 0);
        Ok(())
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
        disk.durable = disk.live.clone();
        disk.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut disk = self.disk();
        let start = place(offset);
        disk.live[start..start + data.len()].copy_from_slice(data);
        disk.unsynced.push((start, data.to_vec()));
        Ok(())
    }
}
