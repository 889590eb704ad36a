use super::*;

#[tokio::test]
async fn the_floor_holds_a_purge_back_until_it_is_raised() {
    let backend = disk();
    let mut log = open(&backend);
    log.set_purge_floor(PurgeFloor::Nothing).unwrap();
    log.blocking_append(entries(1, 0..10)).await.unwrap();
    log.purge(id(1, 8)).await.unwrap();
    assert_eq!(
        purged_and_last(&mut log).await,
        (Some(id(1, 8)), Some(id(1, 9)))
    );
    assert_eq!(ids(&mut log).await.len(), 10, "nothing may go yet");

    log.set_purge_floor(PurgeFloor::Upto(id(1, 4))).unwrap();
    assert_eq!(ids(&mut log).await[0], id(1, 5));
    log.close().unwrap();
    drop(log);
    let mut log = open(&backend);
    assert_eq!(
        purged_and_last(&mut log).await,
        (Some(id(1, 4)), Some(id(1, 9)))
    );
    assert_eq!(
        ids(&mut log).await,
        (5..10).map(|index| id(1, index)).collect::<Vec<_>>()
    );

    log.set_purge_floor(PurgeFloor::Upto(id(1, 9))).unwrap();
    assert_eq!(
        ids(&mut log).await.len(),
        5,
        "never beyond what openraft asked for"
    );
}

/// The leader's snapshot is ahead of the log: whatever the floor, the old entries would be cut off
/// from the next one by a hole.
#[tokio::test]
async fn a_purge_beyond_the_end_empties_the_log_whatever_the_floor() {
    let backend = disk();
    let mut log = open(&backend);
    log.set_purge_floor(PurgeFloor::Nothing).unwrap();
    log.blocking_append(entries(1, 0..3000)).await.unwrap();
    log.purge(id(2, 5000)).await.unwrap();
    log.blocking_append(entries(2, 5001..5003)).await.unwrap();
    log.close().unwrap();
    drop(log);

    let mut log = open(&backend);
    assert_eq!(
        purged_and_last(&mut log).await,
        (Some(id(2, 5000)), Some(id(2, 5002)))
    );
    assert_eq!(ids(&mut log).await, [id(2, 5001), id(2, 5002)]);
    assert_eq!(log.bytes_after(None).unwrap(), 2 * WEIGHT);
}

/// Otherwise the file would grow for ever.
#[tokio::test]
async fn the_space_of_purged_entries_is_used_again() {
    let backend = disk();
    let mut log = open(&backend);
    let mut lengths = Vec::new();
    for round in 0..40 {
        for index in 30 * round..30 * (round + 1) {
            let entries = entries(1, index..index + 1);
            log.blocking_append(entries).await.unwrap();
        }
        log.purge(id(1, 30 * (round + 1) - 10)).await.unwrap();
        lengths.push(backend.len().unwrap());
    }
    assert_eq!(lengths[10], lengths[39], "{lengths:?}");
    log.close().unwrap();
    drop(log);
    let mut log = open(&backend);
    assert_eq!(ids(&mut log).await.len(), 9);
}

/// An entry may be larger than an extent: it gets several in a row.
#[tokio::test]
async fn large_entries_come_and_go() {
    let backend = disk();
    let mut log = open(&backend);
    let large = |index| {
        let command = Bytes::from(vec![b'y'; 40_000]);
        let proposal = Proposal::Command {
            time_ms: index,
            command,
        };
        Entry::new_normal(id(1, index), proposal)
    };
    let mut most = 0;
    for index in 0..60 {
        let entry = match index % 3 {
            0 => large(index),
            _ => entry(1, index),
        };
        log.blocking_append([entry]).await.unwrap();
        if index > 5 {
            log.purge(id(1, index - 3)).await.unwrap();
        }
        // What was queued before it is on disk then.
        log.save_vote(&vote(index + 1)).await.unwrap();
        most = most.max(backend.len().unwrap());
        let mut again = open(&TestBackend::holding(backend.content()));
        let found = again.try_get_log_entries(..).await.unwrap();
        assert_eq!(found, log.try_get_log_entries(..).await.unwrap());
    }
    assert!(most < 20 * (16 << 10), "{most}");
}
