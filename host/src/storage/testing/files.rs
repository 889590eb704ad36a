//! A file system on which contents and names last only once they were synced, each by itself.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastrand::Rng;
use parking_lot::Mutex;
use tempfile::TempDir;

use super::super::files::{Files, OsFiles};
use super::{EIO, ENOSPC, Fault, SECTOR};

/// The file system, as one process uses it: a folder, and a record of what in it would outlast a
/// power failure.
#[derive(Clone, Debug)]
pub(in crate::storage) struct TestFiles {
    disk: Arc<Mutex<Disk>>,
    /// Which process this is: see [`TestFiles::kill`].
    process: u64,
}

#[derive(Debug)]
struct Disk {
    root: TempDir,
    /// What was ever created here, by number.
    nodes: Vec<Node>,
    /// The numbers of files, by what the system calls them.
    numbers: HashMap<u64, usize>,
    /// The names that a power failure cannot take.
    names: BTreeMap<PathBuf, usize>,
    /// Changes of names since their directories were synced, in order.
    pending: Vec<Change>,
    process: u64,
    /// Operations until the fault.
    armed: Option<(usize, Fault)>,
    fired: Option<Fault>,
    lies: bool,
}

#[derive(Debug)]
enum Node {
    Dir,
    File {
        /// Open, so that its content can be had whatever becomes of its name.
        file: File,
        /// What a power failure cannot take.
        durable: Vec<u8>,
        /// What a failed sync lost for good, though every reader still sees it.
        lost: Vec<Range<usize>>,
    },
}

#[derive(Debug)]
enum Change {
    Given(PathBuf, usize),
    Moved(PathBuf, PathBuf),
    Taken(PathBuf),
}

impl TestFiles {
    /// An empty file system.
    pub(in crate::storage) fn new() -> Self {
        let disk = Disk {
            root: folder(),
            nodes: Vec::new(),
            numbers: HashMap::new(),
            names: BTreeMap::new(),
            pending: Vec::new(),
            process: 0,
            armed: None,
            fired: None,
            lies: false,
        };
        Self {
            disk: Arc::new(Mutex::new(disk)),
            process: 0,
        }
    }

    /// Where the file system begins.
    pub(in crate::storage) fn root(&self) -> PathBuf {
        self.disk.lock().root.path().to_path_buf()
    }

    /// Has `fault` happen after that many operations.
    pub(in crate::storage) fn arm(&self, operations: usize, fault: Fault) {
        self.disk.lock().armed = Some((operations, fault));
    }

    /// The fault that has happened.
    pub(in crate::storage) fn fired(&self) -> Option<Fault> {
        self.disk.lock().fired
    }

    /// Has syncs succeed and do nothing. No store is safe on such a disk.
    pub(in crate::storage) fn lie(&self) {
        self.disk.lock().lies = true;
    }

    /// Lets the disk work again.
    pub(in crate::storage) fn mend(&self) {
        let mut disk = self.disk.lock();
        disk.armed = None;
        disk.fired = None;
    }

    /// Ends the process. The next one sees all that it did, synced or not.
    pub(in crate::storage) fn kill(&self) -> Self {
        self.mend();
        let mut disk = self.disk.lock();
        disk.process += 1;
        Self {
            disk: self.disk.clone(),
            process: disk.process,
        }
    }

    /// What is found after a power failure now: all that was synced, and of the rest what chance
    /// lets through.
    pub(in crate::storage) fn power_failure(&self, rng: &mut Rng) -> Self {
        let disk = self.disk.lock();
        // Sometimes nothing, sometimes everything.
        let share = [0.0, 0.5, 1.0][rng.usize(..3)];
        let mut names = disk.names.clone();
        for change in &disk.pending {
            if rng.f64() < share {
                change.apply(&mut names);
            }
        }
        let next = Self::new();
        let root = next.root();
        // Parents come before their children.
        for (name, number) in &names {
            let below = name.strip_prefix(disk.root.path()).unwrap();
            let path = root.join(below);
            if !path.parent().is_some_and(Path::is_dir) {
                continue;
            }
            match &disk.nodes[*number] {
                Node::Dir => next.create_dir(&path).unwrap(),
                node @ Node::File { .. } => {
                    let file = next.append(&path).unwrap();
                    next.write(&file, &node.survivor(share, rng)).unwrap();
                    next.sync(&file).unwrap();
                }
            }
            next.sync_dir(path.parent().unwrap()).unwrap();
        }
        next
    }

    /// Counts an operation.
    fn step(&self, disk: &mut Disk, needs_room: bool) -> io::Result<()> {
        if self.process != disk.process || disk.fired == Some(Fault::Power) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if disk.fired == Some(Fault::Full) && needs_room {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        let Some((left, fault)) = disk.armed else {
            return Ok(());
        };
        if left > 0 {
            disk.armed = Some((left - 1, fault));
            return Ok(());
        }
        disk.armed = None;
        disk.fired = Some(fault);
        match fault {
            Fault::Full if needs_room => Err(io::Error::from_raw_os_error(ENOSPC)),
            Fault::Full => Ok(()),
            Fault::Power | Fault::Once => Err(io::Error::from_raw_os_error(EIO)),
        }
    }
}

/// In memory where there is such a place: a test makes thousands of files.
fn folder() -> TempDir {
    let in_memory = tempfile::tempdir_in("/dev/shm");
    in_memory.or_else(|_| tempfile::tempdir()).unwrap()
}

impl Node {
    fn live(mut file: &File) -> Vec<u8> {
        let mut content = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut content).unwrap();
        content
    }

    /// What is left of a file. `share` of what was not synced has reached the disk.
    fn survivor(&self, share: f64, rng: &mut Rng) -> Vec<u8> {
        let Self::File { file, durable, .. } = self else {
            return Vec::new();
        };
        let live = Self::live(file);
        let mut content = durable.clone();
        if rng.f64() < share {
            content.resize(live.len(), 0);
        }
        for (old, new) in content.chunks_mut(SECTOR).zip(live.chunks(SECTOR)) {
            if rng.f64() < share {
                let length = old.len().min(new.len());
                old[..length].copy_from_slice(&new[..length]);
            }
        }
        content
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Given(path, number) => drop(names.insert(path.clone(), *number)),
            Self::Moved(from, to) => {
                if let Some(number) = names.remove(from) {
                    names.insert(to.clone(), number);
                }
            }
            Self::Taken(path) => drop(names.remove(path)),
        }
    }

    fn dir(&self) -> Option<&Path> {
        match self {
            Self::Given(path, _) | Self::Moved(_, path) | Self::Taken(path) => path.parent(),
        }
    }
}

impl Disk {
    fn node(&mut self, file: &File) -> &mut Node {
        let number = self.numbers[&file.metadata().unwrap().ino()];
        &mut self.nodes[number]
    }
}

impl Files for TestFiles {
    fn append(&self, path: &Path) -> io::Result<File> {
        let mut disk = self.disk.lock();
        let exists = path.exists();
        self.step(&mut disk, !exists)?;
        let file = OsFiles.append(path)?;
        if !exists {
            let number = disk.nodes.len();
            disk.numbers.insert(file.metadata()?.ino(), number);
            disk.nodes.push(Node::File {
                file: File::open(path)?,
                durable: Vec::new(),
                lost: Vec::new(),
            });
            disk.pending.push(Change::Given(path.to_path_buf(), number));
        }
        Ok(file)
    }

    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let failed = self.step(&mut disk, true);
        let written = if failed.is_ok() {
            bytes
        } else {
            &bytes[..bytes.len() / 2]
        };
        if self.process == disk.process {
            OsFiles.write(file, written)?;
        }
        failed
    }

    fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        self.step(&mut disk, false)?;
        OsFiles.cut(file, length)?;
        if let Node::File { lost, .. } = disk.node(file) {
            let length = usize::try_from(length).unwrap();
            lost.iter_mut()
                .for_each(|range| range.end = range.end.min(length));
            lost.retain(|range| !range.is_empty());
        }
        Ok(())
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let failed = self.step(&mut disk, true);
        if disk.lies {
            return failed;
        }
        let live = Node::live(file);
        if let Node::File { durable, lost, .. } = disk.node(file) {
            if failed.is_err() {
                lost.push(durable.len()..live.len());
            } else {
                durable.clone_from(&live);
                for range in lost.iter() {
                    let end = range.end.min(live.len());
                    durable[range.start.min(end)..end].fill(0);
                }
            }
        }
        failed
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        self.step(&mut disk, true)?;
        OsFiles.rename(from, to)?;
        disk.pending
            .push(Change::Moved(from.to_path_buf(), to.to_path_buf()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        self.step(&mut disk, false)?;
        fs::remove_file(path)?;
        disk.pending.push(Change::Taken(path.to_path_buf()));
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        self.step(&mut disk, true)?;
        OsFiles.create_dir(path)?;
        let number = disk.nodes.len();
        disk.nodes.push(Node::Dir);
        disk.pending.push(Change::Given(path.to_path_buf(), number));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        self.step(&mut disk, true)?;
        if disk.lies {
            return Ok(());
        }
        let Disk { pending, names, .. } = &mut *disk;
        let (synced, rest) = std::mem::take(pending)
            .into_iter()
            .partition(|change| change.dir() == Some(dir));
        *pending = rest;
        let synced: Vec<Change> = synced;
        synced.iter().for_each(|change| change.apply(names));
        Ok(())
    }
}
