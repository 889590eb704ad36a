use super::*;

#[tokio::test]
async fn the_floor_holds_a_purge_back_until_it_is_raised() {
    let backend = TestBackend::default();
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
    let backend = TestBackend::default();
    let mut log = open(&backend);
    log.set_purge_floor(PurgeFloor::Nothing).unwrap();
    log.blocking_append(entries(1, 0..3000)).await.unwrap();
    log.purge(id(2, 5000)).await.unwrap();
    log.blocking_append(entries(2, 5001..5003)).await.unwrap();
    log.close().unwrap();
    drop(log);

    // Closed in the middle of deleting 3000 entries, which counts for nothing.
    let mut log = open(&backend);
    assert_eq!(
        purged_and_last(&mut log).await,
        (Some(id(2, 5000)), Some(id(2, 5002)))
    );
    assert_eq!(ids(&mut log).await, [id(2, 5001), id(2, 5002)]);
    assert_eq!(log.bytes_after(None).unwrap(), 2 * WEIGHT);
}

#[tokio::test]
async fn an_interrupted_purge_is_finished_after_a_restart() {
    let backend = TestBackend::default();
    let mut log = open(&backend);
    log.blocking_append(entries(1, 0..5000)).await.unwrap();
    log.purge(id(1, 4998)).await.unwrap();
    log.close().unwrap();
    drop(log);

    let log = open(&backend);
    let database = log.inner.database.clone();
    let stored = || {
        let transaction = database.begin_read().unwrap();
        let table = transaction.open_table(LOG).unwrap();
        redb::ReadableTableMetadata::len(&table).unwrap()
    };
    while stored() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(stored(), 1);
}
