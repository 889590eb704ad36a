use std::fs;
use std::io;

use super::super::snapshot_format::{PREFIX_BYTES, TRAILER_BYTES};
use super::super::testing::{Fault, TestFiles};
use super::*;

struct Fixture {
    dir: DataDir,
    store: SnapshotStore,
    _temp: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        let store = SnapshotStore::open(&dir).unwrap();
        Self {
            dir,
            store,
            _temp: temp,
        }
    }

    fn reopen(&mut self) {
        self.store = SnapshotStore::open(&self.dir).unwrap();
    }

    /// The names in the folder that end in `extension`.
    fn names(&self, extension: &str) -> Vec<String> {
        let paths = self.store.folder.with_extension(extension).unwrap();
        let names = paths
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().into());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

fn meta(index: u64) -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(LogId::new_term_index(1, index)),
        ..Default::default()
    }
}

/// A snapshot with the given chunks.
fn write(store: &SnapshotStore, index: u64, chunks: &[&[u8]]) -> SnapshotFile {
    let mut writer = store.begin(meta(index), b"head".to_vec()).unwrap();
    for chunk in chunks {
        writer.write_chunk(chunk).unwrap();
    }
    writer.finish().unwrap()
}

fn content(snapshot: &SnapshotFile) -> Vec<u8> {
    snapshot
        .chunks()
        .map(Result::unwrap)
        .collect::<Vec<_>>()
        .concat()
}

fn newest_index(store: &SnapshotStore) -> Option<u64> {
    let newest = store.newest_good().unwrap()?;
    newest.meta().last_log_id.map(|id| id.index)
}

#[test]
fn a_snapshot_is_read_back_as_it_was_written() {
    let mut fixture = Fixture::new();
    assert!(fixture.store.newest_good().unwrap().is_none());
    let written = write(&fixture.store, 5, &[b"one", b"two", b"three"]);
    fixture.reopen();
    let newest = fixture.store.newest_good().unwrap().unwrap();
    assert_eq!(newest.meta(), &meta(5));
    assert_eq!(newest.head(), b"head");
    assert_eq!(newest.id(), written.id());
    let chunks: Vec<_> = newest.chunks().map(Result::unwrap).collect();
    assert_eq!(chunks, [&b"one"[..], b"two", b"three"]);
    assert_eq!(newest.size(), fs::metadata(newest.path()).unwrap().len());
}

#[test]
fn equal_snapshots_have_equal_ids_and_others_do_not() {
    let (one, two) = (Fixture::new(), Fixture::new());
    let id = write(&one.store, 5, &[b"state"]).id();
    assert_eq!(write(&two.store, 5, &[b"state"]).id(), id);
    assert_ne!(write(&two.store, 5, &[b"State"]).id(), id);
    assert_ne!(write(&two.store, 5, &[b"st", b"ate"]).id(), id);
}

#[test]
fn two_snapshots_are_kept_and_the_log_behind_the_older_one() {
    let fixture = Fixture::new();
    assert_eq!(fixture.store.purge_floor(), PurgeFloor::Nothing);
    write(&fixture.store, 1, &[b"1"]);
    assert_eq!(fixture.store.purge_floor(), PurgeFloor::Nothing);
    write(&fixture.store, 2, &[b"2"]);
    let first = write(&fixture.store, 3, &[b"3"]);
    let floor = PurgeFloor::Upto(LogId::new_term_index(1, 2));
    assert_eq!(fixture.store.purge_floor(), floor);
    assert_eq!(fixture.names("snap").len(), 2);

    let second = write(&fixture.store, 3, &[b"three"]);
    assert_eq!(
        fixture.names("snap").len(),
        2,
        "the later of two equals replaces the earlier"
    );
    assert_eq!(
        fixture.store.newest_good().unwrap().unwrap().id(),
        second.id()
    );
    assert_eq!(
        content(&first),
        b"3",
        "an open file outlives its replacement"
    );
}

#[test]
fn every_truncation_and_every_flipped_bit_is_noticed() {
    let fixture = Fixture::new();
    let snapshot = write(&fixture.store, 1, &[b"some state", b"more of it"]);
    let good = fs::read(snapshot.path()).unwrap();
    let bad = fixture.dir.path().join("bad.snap");
    let verify = |bytes: &[u8]| {
        fs::write(&bad, bytes).unwrap();
        SnapshotFile::open(&bad).and_then(|snapshot| {
            snapshot.verify()?;
            snapshot.verify_checksum(|_| ())
        })
    };
    verify(&good).unwrap();
    for length in 0..good.len() {
        assert!(verify(&good[..length]).is_err(), "cut to {length} bytes");
    }
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn chunks_that_changed_places_are_noticed_without_the_sha256() {
    let fixture = Fixture::new();
    let snapshot = write(&fixture.store, 1, &[b"aaaa", b"bbbb"]);
    let mut bytes = fs::read(snapshot.path()).unwrap();
    let end = bytes.len() - TRAILER_BYTES;
    bytes[end - 24..end].rotate_left(12);
    let bad = fixture.dir.path().join("bad.snap");
    fs::write(&bad, bytes).unwrap();
    let error = SnapshotFile::open(&bad).unwrap().verify().unwrap_err();
    assert!(matches!(error, StorageError::Damaged { .. }), "{error}");
}

#[test]
fn a_damaged_snapshot_is_set_aside_and_the_older_one_used() {
    // In the header, in a chunk, in the trailer, and cut in the middle.
    let damages: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes[PREFIX_BYTES] ^= 1,
        |bytes| {
            let at = bytes.len() - TRAILER_BYTES - 1;
            bytes[at] ^= 1;
        },
        |bytes| *bytes.last_mut().unwrap() ^= 1,
        |bytes| bytes.truncate(bytes.len() / 2),
    ];
    for damage in damages {
        let mut fixture = Fixture::new();
        write(&fixture.store, 1, &[b"old"]);
        let newest = write(&fixture.store, 2, &[b"new"]);
        let mut bytes = fs::read(newest.path()).unwrap();
        damage(&mut bytes);
        fs::write(newest.path(), bytes).unwrap();

        fixture.reopen();
        assert_eq!(newest_index(&fixture.store), Some(1));
        assert_eq!(fixture.names("bad").len(), 1);
        assert_eq!(fixture.store.purge_floor(), PurgeFloor::Nothing);
        write(&fixture.store, 3, &[b"newer"]);
        assert_eq!(newest_index(&fixture.store), Some(3));
    }
}

#[test]
fn a_snapshot_of_a_newer_release_is_refused_and_left_alone() {
    let fixture = Fixture::new();
    let snapshot = write(&fixture.store, 1, &[b"state"]);
    let mut bytes = fs::read(snapshot.path()).unwrap();
    bytes[8] += 1;
    fs::write(snapshot.path(), bytes).unwrap();
    let error = SnapshotStore::open(&fixture.dir).unwrap_err();
    assert!(
        matches!(
            error,
            StorageError::NewerFormat {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(fixture.names("snap").len(), 1);
}

#[test]
fn an_unfinished_snapshot_leaves_nothing() {
    let mut fixture = Fixture::new();
    let mut writer = fixture.store.begin(meta(1), Vec::new()).unwrap();
    writer.write_chunk(b"half").unwrap();
    assert_eq!(fixture.names("tmp").len(), 1);
    drop(writer);
    assert!(fixture.names("tmp").is_empty());

    fs::write(fixture.dir.snapshots().join("left.7.tmp"), b"by a dead run").unwrap();
    fixture.reopen();
    assert!(fixture.names("tmp").is_empty());
    assert!(fixture.store.newest_good().unwrap().is_none());
}

#[test]
fn a_full_disk_keeps_the_snapshot_before() {
    let files = TestFiles::new();
    let dir = DataDir::open_in(Arc::new(files.clone()), &files.root()).unwrap();
    let store = SnapshotStore::open(&dir).unwrap();
    write(&store, 1, &[b"old"]);
    // create, write the header, a chunk and the trailer, sync, rename.
    for calls in 0..6 {
        files.arm(calls, Fault::Full);
        let written = store.begin(meta(2), Vec::new()).and_then(|mut writer| {
            writer.write_chunk(b"new")?;
            writer.finish()
        });
        files.mend();
        let error = written.unwrap_err();
        let StorageError::Io { source, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        assert_eq!(newest_index(&store), Some(1), "after {calls} calls");
        assert!(store.folder.with_extension("tmp").unwrap().is_empty());
    }
}

#[test]
fn a_chunk_of_no_bytes_or_too_many_is_refused() {
    let fixture = Fixture::new();
    let mut writer = fixture.store.begin(meta(1), Vec::new()).unwrap();
    assert!(matches!(
        writer.write_chunk(b""),
        Err(StorageError::Refused(_))
    ));
    let long = vec![0; super::super::MAX_CHUNK_BYTES + 1];
    assert!(matches!(
        writer.write_chunk(&long),
        Err(StorageError::Refused(_))
    ));
    writer.write_chunk(&long[1..]).unwrap();
    assert_eq!(content(&writer.finish().unwrap()), &long[1..]);
}

/// Sends what is missing, `step` bytes at a time, at most `limit` of them.
fn send(from: &SnapshotFile, to: &mut IncomingSnapshot, step: usize, limit: u64) {
    let stop = to.offset() + limit;
    let mut buffer = vec![0; step];
    while to.offset() < stop {
        let wanted = usize::try_from(stop - to.offset()).map_or(step, |left| left.min(step));
        let read = from.read_at(to.offset(), &mut buffer[..wanted]).unwrap();
        if read == 0 {
            break;
        }
        to.write_at_end(&buffer[..read]).unwrap();
    }
}

#[test]
fn a_transfer_resumes_after_the_receiver_died_and_installs_the_same_file() {
    let sender = Fixture::new();
    let mut receiver = Fixture::new();
    let sent = write(&sender.store, 9, &[&[1; 1000], &[2; 1000]]);
    let mut incoming = receiver.store.incoming(sent.id()).unwrap();
    send(&sent, &mut incoming, 100, 700);
    drop(incoming);

    receiver.reopen();
    let mut incoming = receiver.store.incoming(sent.id()).unwrap();
    assert_eq!(incoming.offset(), 700);
    send(&sent, &mut incoming, 300, u64::from(u32::MAX));
    let received = incoming.finish().unwrap();
    assert_eq!(received.id(), sent.id());
    assert_eq!(content(&received), content(&sent));
    assert_eq!(
        newest_index(&receiver.store),
        None,
        "openraft has not decided yet"
    );
    let kept = receiver.store.keep(received.clone()).unwrap();
    receiver.store.discard(&received).unwrap();
    assert_eq!(content(&kept), content(&sent));
    assert_eq!(newest_index(&receiver.store), Some(9));
    assert!(receiver.names("partial").is_empty());
    assert!(receiver.names("received").is_empty());
}

#[test]
fn a_transfer_that_is_not_whole_or_not_what_was_announced_installs_nothing() {
    let sender = Fixture::new();
    let receiver = Fixture::new();
    let sent = write(&sender.store, 9, &[&[1; 1000]]);

    let mut incoming = receiver.store.incoming(sent.id()).unwrap();
    send(&sent, &mut incoming, 100, 500);
    assert!(matches!(incoming.finish(), Err(StorageError::Refused(_))));

    let mut incoming = receiver.store.incoming(sent.id()).unwrap();
    assert_eq!(incoming.offset(), 500, "what arrived stays");
    incoming.write_at_end(&[7; 100]).unwrap();
    send(&sent, &mut incoming, 100, 10_000);
    assert!(matches!(
        incoming.write_at_end(b"x"),
        Err(StorageError::Refused(_))
    ));
    assert!(matches!(
        incoming.finish(),
        Err(StorageError::Damaged { .. })
    ));
    assert_eq!(newest_index(&receiver.store), None);
    assert_eq!(
        receiver.store.incoming(sent.id()).unwrap().offset(),
        0,
        "it starts from nothing"
    );
}

#[test]
fn a_later_transfer_takes_over() {
    let sender = Fixture::new();
    let receiver = Fixture::new();
    let (old, new) = (
        write(&sender.store, 1, &[b"1"]),
        write(&sender.store, 2, &[b"2"]),
    );
    let mut first = receiver.store.incoming(old.id()).unwrap();
    send(&old, &mut first, 10, 10);
    let mut second = receiver.store.incoming(new.id()).unwrap();
    assert_eq!(receiver.names("partial").len(), 1);
    assert!(matches!(
        first.write_at_end(b"x"),
        Err(StorageError::Refused(_))
    ));
    send(&new, &mut second, 10, 10_000);
    receiver.store.keep(second.finish().unwrap()).unwrap();
    assert_eq!(newest_index(&receiver.store), Some(2));
}

/// The snapshot of another store, received by this one.
fn receive(fixture: &Fixture, snapshot: &SnapshotFile) -> SnapshotFile {
    let mut incoming = fixture.store.incoming(snapshot.id()).unwrap();
    send(snapshot, &mut incoming, 100, u64::MAX);
    incoming.finish().unwrap()
}

#[test]
fn a_snapshot_that_replaces_all_others_may_be_older_or_as_old_as_they_are() {
    for index in [3, 7, 8, 20] {
        let (mut fixture, donor) = (Fixture::new(), Fixture::new());
        write(&fixture.store, 7, &[b"bad"]);
        write(&fixture.store, 8, &[b"bad"]);
        let good = write(&donor.store, index, &[b"good"]);
        let received = receive(&fixture, &good);
        let applied = Some(LogId::new_term_index(1, 20));
        fixture.store.replace_by(&received, applied).unwrap();
        for _ in 0..2 {
            let newest = fixture.store.newest_good().unwrap().unwrap();
            assert_eq!(newest.id(), good.id(), "{index}");
            assert_eq!(fixture.store.indexes(), [index]);
            assert_eq!(fixture.names("snap").len(), 1);
            fixture.reopen();
        }
    }
}

/// openraft purges the log behind it, so the node could not start from an older one.
#[test]
fn a_snapshot_of_the_leader_that_is_not_applied_yet_outlasts_a_repair() {
    let (mut fixture, peer) = (Fixture::new(), Fixture::new());
    write(&fixture.store, 7, &[b"bad"]);
    let leaders = receive(&fixture, &write(&peer.store, 30, &[b"good"]));
    let leaders = fixture.store.keep(leaders).unwrap();
    let good = receive(&fixture, &write(&peer.store, 5, &[b"good"]));
    let applied = Some(LogId::new_term_index(1, 9));
    fixture.store.replace_by(&good, applied).unwrap();
    for _ in 0..2 {
        assert_eq!(fixture.store.indexes(), [5, 30]);
        let newest = fixture.store.newest_good().unwrap().unwrap();
        assert_eq!(newest.id(), leaders.id());
        fixture.reopen();
    }
}

#[test]
fn a_snapshot_that_was_begun_before_a_repair_is_never_finished() {
    let (fixture, peer) = (Fixture::new(), Fixture::new());
    let applied = Some(LogId::new_term_index(1, 9));
    let mut begun = fixture.store.begin(meta(9), Vec::new()).unwrap();
    begun.write_chunk(b"bad").unwrap();
    let good = receive(&fixture, &write(&peer.store, 5, &[b"good"]));
    fixture.store.replace_by(&good, applied).unwrap();
    let error = begun.finish().unwrap_err();
    assert!(matches!(error, StorageError::Superseded), "{error}");
    assert_eq!(fixture.store.indexes(), [5]);
    assert!(fixture.names("tmp").is_empty());
    write(&fixture.store, 9, &[b"repaired"]);
}

#[test]
fn the_state_before_an_activation_is_kept_beside_the_snapshots() {
    let mut fixture = Fixture::new();
    for until in [5, 9] {
        let mut writer = fixture.store.begin_previous(until).unwrap();
        writer.write_chunk(&until.to_le_bytes()).unwrap();
        assert_eq!(writer.finish().unwrap().content_bytes(), 8);
        fixture.reopen();
    }
    assert!(fixture.store.previous(5).unwrap().is_none(), "replaced");
    let kept = fixture.store.previous(9).unwrap().unwrap();
    assert_eq!(content(&kept), 9_u64.to_le_bytes());
    assert!(fixture.store.newest_good().unwrap().is_none());

    fs::write(kept.path(), "rotten").unwrap();
    assert!(fixture.store.previous(9).unwrap().is_none());
    fixture.store.drop_previous().unwrap();
    assert!(fixture.names("previous").is_empty());
}
