//! A node's stores in use, and what was acknowledged by them.

use std::sync::{Arc, OnceLock};

use fastrand::Rng;
use sha2::{Digest, Sha256};

use super::super::files::{Files, publish};
use super::super::testing::{Fault, TestFiles, seeds};
use super::super::*;
use super::IMAGES;
use crate::types::{LogId, LogIndex, ModuleId, SnapshotMeta};

/// What a snapshot of `index` has to say.
fn state(origin: &str, index: LogIndex) -> Vec<u8> {
    // More than a sector, so that it can be torn.
    format!("{origin} {index} ").repeat(200).into_bytes()
}

fn meta(index: LogIndex) -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(LogId::new_term_index(1, index)),
        ..Default::default()
    }
}

fn module_id(bytes: &[u8]) -> ModuleId {
    ModuleId(Sha256::digest(bytes).into())
}

fn write(mut writer: SnapshotWriter, state: &[u8]) -> Result<SnapshotFile, StorageError> {
    for chunk in state.chunks(1_000) {
        writer.write_chunk(chunk)?;
    }
    writer.finish()
}

fn content(file: &SnapshotFile) -> Result<Vec<u8>, StorageError> {
    let chunks: Result<Vec<_>, _> = file.chunks().collect();
    Ok(chunks?.concat())
}

/// What another node has: a snapshot that is ahead of all of ours, and one to repair us with.
fn donated() -> &'static (SnapshotFile, SnapshotFile) {
    static DONATED: OnceLock<(SnapshotFile, SnapshotFile)> = OnceLock::new();
    DONATED.get_or_init(|| {
        let donor = Stores::open(&TestFiles::new()).unwrap().snapshots;
        let give = |origin, index| {
            let writer = donor.begin(meta(index), Vec::new()).unwrap();
            write(writer, &state(origin, index)).unwrap()
        };
        (give("leader", 40), give("good", 35))
    })
}

/// The stores of a node, open.
struct Stores {
    dir: DataDir,
    snapshots: SnapshotStore,
    modules: ModuleStore,
}

impl Stores {
    fn open(files: &TestFiles) -> Result<Self, StorageError> {
        let path = files.root().join("nodes/1");
        let dir = DataDir::open_in(Arc::new(files.clone()), &path)?;
        if !dir.database().exists() {
            // Stands for a log: redb writes its files by itself.
            let temp = dir.database().with_extension("tmp");
            let file = files
                .append(&temp)
                .map_err(StorageError::io("create", &temp))?;
            publish(files, &file, &temp, &dir.database())?;
        }
        Ok(Self {
            snapshots: SnapshotStore::open(&dir)?,
            modules: ModuleStore::open(&dir)?,
            dir,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Repair {
    No,
    Begun,
    Done,
}

/// What was acknowledged.
#[derive(Clone, Debug)]
struct Known {
    newest: Option<LogIndex>,
    /// The log is gone up to here, and whether two snapshots cover that.
    purged: Option<LogIndex>,
    two: bool,
    modules: Vec<&'static [u8]>,
    previous: Option<LogIndex>,
    repair: Repair,
}

/// A node, from its first start on.
pub(super) struct Node {
    /// Which fault this is about.
    fault: String,
    pub(super) files: TestFiles,
    stores: Option<Stores>,
    known: Known,
    /// The fault has struck.
    pub(super) failed: bool,
}

pub(super) type Step = fn(&mut Node) -> Result<(), StorageError>;

const STEPS: &[(&str, Step)] = &[
    ("start", Node::start),
    ("put a module", |node| node.put(b"first module")),
    ("first snapshot", |node| node.snapshot("own", 10)),
    ("keep a state", |node| node.keep_previous(5)),
    ("second snapshot", |node| node.snapshot("own", 20)),
    ("third snapshot", |node| node.snapshot("own", 30)),
    ("the same snapshot", |node| node.snapshot("own", 30)),
    ("keep another state", |node| node.keep_previous(6)),
    ("put the module again", |node| node.put(b"first module")),
    ("put another module", |node| node.put(b"second module")),
    ("receive a snapshot", Node::receive),
    ("repair", Node::repair),
    ("snapshot after repair", |node| node.snapshot("good", 50)),
    ("keep one more state", |node| node.keep_previous(7)),
    ("another snapshot", |node| node.snapshot("good", 60)),
];

impl Node {
    pub(super) fn new(fault: String) -> Self {
        let files = TestFiles::new();
        Self {
            fault,
            files,
            stores: None,
            known: Known {
                newest: None,
                purged: None,
                two: false,
                modules: Vec::new(),
                previous: None,
                repair: Repair::No,
            },
            failed: false,
        }
    }

    /// Runs the steps until one fails, and returns that.
    pub(super) fn run_until_failure(&mut self) -> Option<Step> {
        for (name, step) in STEPS {
            if let Err(error) = step(self) {
                self.excuse(name, &error);
                return Some(*step);
            }
        }
        self.failed = self.files.fired().is_some();
        None
    }

    /// Runs all steps. One that fails is done again, until it succeeds.
    pub(super) fn run_all(&mut self) {
        for (name, step) in STEPS {
            while let Err(error) = step(self) {
                self.excuse(name, &error);
                self.files.mend();
            }
        }
        self.failed |= self.files.fired().is_some();
        self.files.mend();
        self.stores = None;
        self.check(&self.files, "after all");
    }

    /// The fault is the only reason to fail, and only once.
    fn excuse(&mut self, step: &str, error: &StorageError) {
        let struck = self.files.fired().is_some() && !self.failed;
        assert!(struck, "{}: cannot {step}: {error}", self.fault);
        self.failed = true;
    }

    /// Kills the process and starts another, which has to be right about what it finds.
    pub(super) fn restart(&mut self) {
        self.files = self.files.kill();
        self.stores = None;
        self.check(&self.files, "after a kill");
        self.start().unwrap();
        self.learn();
    }

    /// What the stores say is acknowledged by that.
    fn learn(&mut self) {
        let Some(stores) = &self.stores else { return };
        let newest = stores.snapshots.newest_good().unwrap();
        self.known.newest = newest.and_then(|file| Some(file.meta().last_log_id?.index));
        for module in [&b"first module"[..], b"second module"] {
            let id = module_id(module);
            if stores.modules.get(id).unwrap().is_some() && !self.known.modules.contains(&module) {
                self.known.modules.push(module);
            }
        }
        self.purge();
    }

    /// Looks at what may be left when the power goes now.
    pub(super) fn power_failures(&mut self) {
        self.files = self.files.kill();
        self.stores = None;
        for seed in seeds(IMAGES) {
            let left = self.files.power_failure(&mut Rng::with_seed(seed));
            self.check(&left, &format!("power failure, seed {seed}"));
            self.goes_on(&left).unwrap();
        }
    }

    fn start(&mut self) -> Result<(), StorageError> {
        self.stores = None;
        self.stores = Some(Stores::open(&self.files)?);
        Ok(())
    }

    fn stores(&self) -> &Stores {
        self.stores.as_ref().expect("it was started")
    }

    pub(super) fn put(&mut self, module: &'static [u8]) -> Result<(), StorageError> {
        self.stores().modules.put(module)?;
        self.known.modules.push(module);
        Ok(())
    }

    fn snapshot(&mut self, origin: &str, index: LogIndex) -> Result<(), StorageError> {
        let writer = self
            .stores()
            .snapshots
            .begin(meta(index), b"head".to_vec())?;
        write(writer, &state(origin, index))?;
        self.known.newest = Some(index);
        self.purge();
        Ok(())
    }

    /// The log goes as far as the snapshots allow.
    fn purge(&mut self) {
        if let PurgeFloor::Upto(floor) = self.stores().snapshots.purge_floor() {
            self.known.purged = self.known.purged.max(Some(floor.index));
            self.known.two = true;
        }
    }

    fn keep_previous(&mut self, until: LogIndex) -> Result<(), StorageError> {
        // Finished, it replaces the one before; there is a moment with both, and none without.
        write(
            self.stores().snapshots.begin_previous(until)?,
            &state("previous", until),
        )?;
        self.known.previous = Some(until);
        Ok(())
    }

    /// In two transfers, as the connection breaks.
    fn receive(&mut self) -> Result<(), StorageError> {
        let received = self.transfer(&donated().0)?;
        self.again(|store| store.keep(received.clone()))?;
        self.known.newest = Some(40);
        self.purge();
        Ok(())
    }

    fn transfer(&self, file: &SnapshotFile) -> Result<SnapshotFile, StorageError> {
        let mut bytes = vec![0; file.size() as usize];
        file.read_at(0, &mut bytes)?;
        let store = &self.stores().snapshots;
        let mut incoming = store.incoming(file.id())?;
        for limit in [bytes.len() / 2, bytes.len()] {
            while (incoming.offset() as usize) < limit {
                let start = incoming.offset() as usize;
                incoming.write_at_end(&bytes[start..limit.min(start + 700)])?;
            }
            incoming = store.incoming(file.id())?;
        }
        incoming.finish()
    }

    /// Calls, and once more if that failed and the disk works again.
    fn again<T>(
        &self,
        call: impl Fn(&SnapshotStore) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let store = &self.stores().snapshots;
        call(store).or_else(|error| match self.files.fired() {
            Some(Fault::Once) => {
                let second = call(store);
                Ok(second.unwrap_or_else(|error| panic!("{}, called again: {error}", self.fault)))
            }
            _ => Err(error),
        })
    }

    fn repair(&mut self) -> Result<(), StorageError> {
        let store = self.stores().snapshots.clone();
        let begun = store.begin(meta(38), Vec::new())?;
        let received = self.transfer(&donated().1)?;
        self.known.repair = Repair::Begun;
        self.known.two = false;
        self.known.previous = None;
        let applied = meta(45).last_log_id;
        self.again(|store| store.replace_by(&received, applied))?;
        self.known.repair = Repair::Done;
        self.known.newest = Some(35);
        let late = write(begun, &state("own", 38));
        assert!(
            late.is_err() || self.files.fired().is_some(),
            "{}: {late:?}",
            self.fault
        );
        Ok(())
    }

    /// Starts a node on `files`, and compares it with what is known.
    fn check(&self, files: &TestFiles, when: &str) {
        if let Err(violation) = self.compare(files) {
            panic!("{}, {when}: {violation}\n{:?}", self.fault, self.known);
        }
    }

    pub(super) fn compare(&self, files: &TestFiles) -> Result<(), String> {
        let text = |error: StorageError| error.to_string();
        let ensure = |right: bool, what: String| if right { Ok(()) } else { Err(what) };
        let stores = Stores::open(files).map_err(text)?;
        let known = &self.known;

        let newest = stores.snapshots.newest_good().map_err(text)?;
        let indexes = stores.snapshots.indexes();
        for index in &indexes {
            let file = stores.snapshots.at(*index).map_err(text)?;
            let content = content(&file.ok_or("a snapshot is gone")?).map_err(text)?;
            let repaired = content == state("good", *index);
            ensure(
                repaired || content == state("own", *index) || content == state("leader", *index),
                format!("snapshot {index} says something else"),
            )?;
            ensure(
                repaired || known.repair != Repair::Done,
                format!("snapshot {index} was replaced"),
            )?;
        }
        let newest = newest.and_then(|file| Some(file.meta().last_log_id?.index));
        ensure(
            newest >= known.newest || known.repair == Repair::Begun,
            format!("the newest snapshot is {newest:?}"),
        )?;
        ensure(
            newest >= known.purged && (!known.two || indexes.len() == 2),
            format!("snapshots {indexes:?} do not reach the log"),
        )?;
        ensure(
            !known.two || indexes.first().copied() >= known.purged,
            format!("the older of {indexes:?} does not reach the log"),
        )?;

        for module in &known.modules {
            let id = module_id(module);
            let stored = stores.modules.get(id).map_err(text)?;
            ensure(
                stored.as_deref() == Some(*module),
                format!("no module {id}"),
            )?;
        }
        for until in [5, 6, 7] {
            let kept = stores.snapshots.previous(until).map_err(text)?;
            ensure(
                kept.is_some() || known.previous != Some(until),
                format!("no state from before {until}"),
            )?;
            ensure(
                kept.is_none() || known.repair != Repair::Done || until == 7,
                format!("the state from before {until} was replaced"),
            )?;
            if let Some(file) = kept {
                let content = content(&file).map_err(text)?;
                ensure(
                    content == state("previous", until),
                    format!("torn state {until}"),
                )?;
            }
        }
        self.tidy(&stores)
            .map_err(|what| format!("left over: {what}"))?;
        Ok(())
    }

    /// Whatever was unfinished is gone, and nothing that was finished turned out damaged.
    fn tidy(&self, stores: &Stores) -> Result<(), String> {
        let mut counts = [("snap", 2), ("partial", 1), ("previous", 2), ("wasm", 3)];
        for folder in [stores.dir.snapshots(), stores.dir.modules()] {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let extension = path.extension().and_then(|extension| extension.to_str());
                let count = counts
                    .iter_mut()
                    .find(|(known, _)| Some(*known) == extension);
                match count {
                    Some((_, left)) if *left > 0 => *left -= 1,
                    _ => return Err(path.display().to_string()),
                }
            }
        }
        Ok(())
    }

    /// The stores work.
    fn goes_on(&self, files: &TestFiles) -> Result<(), StorageError> {
        let stores = Stores::open(files)?;
        let writer = stores.snapshots.begin(meta(90), Vec::new())?;
        let file = write(writer, &state("later", 90))?;
        drop(stores);
        let stores = Stores::open(files)?;
        let newest = stores.snapshots.newest_good()?;
        assert_eq!(
            newest.map(|found| found.id()),
            Some(file.id()),
            "{}",
            self.fault
        );
        Ok(())
    }
}
