use super::*;

const ROOMY: RingLimits = RingLimits {
    events: 1_000,
    bytes: 1 << 20,
};

fn event(index: LogIndex, position: u32, topic: &str) -> EmittedEvent {
    EmittedEvent {
        id: EventId::new(index, position),
        time_ms: index * 10,
        topic: topic.to_owned(),
        data: Vec::new(),
    }
}

/// Applies the entry at `index` with this many events of a topic.
fn apply(events: &Events, index: LogIndex, count: u32, topic: &str) {
    let emitted = (0..count).map(|position| event(index, position, topic));
    events.push(emitted.collect());
    events.advance(index);
}

fn id(text: &str) -> EventId {
    text.parse().unwrap()
}

/// The ids of all that a reader finds now, a gap as `missed ID`.
async fn drain(reader: &mut EventReader) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(news) = reader.next(Duration::ZERO).await {
        match news {
            EventNews::Missed(after) => found.push(format!("missed {after}")),
            EventNews::Events(events) => {
                found.extend(events.iter().map(|event| event.id.to_string()));
            }
        }
    }
    found
}

async fn after(events: &Events, from: &str) -> Vec<String> {
    drain(&mut events.read(Some(id(from)), None).unwrap()).await
}

#[test]
fn ids_are_text_and_in_the_order_of_the_log() {
    for text in ["0.0", "7.12", "18446744073709551615.0", "9"] {
        assert_eq!(id(text).to_string(), text);
    }
    assert!(id("7.0") < id("7.1") && id("7.1") < id("7") && id("7") < id("8.0"));
    for bad in ["", ".", "1.", ".1", "-1", "+1", "1.+2", "1.2.3", "x", " 1"] {
        assert_eq!(bad.parse::<EventId>(), Err(InvalidEventId), "{bad}");
    }
}

#[tokio::test]
async fn a_reader_gets_what_comes_after_its_id_in_order() {
    let events = Events::with(ROOMY);
    apply(&events, 3, 2, "a");
    apply(&events, 5, 3, "a");
    assert_eq!(
        after(&events, "0").await,
        ["3.0", "3.1", "5.0", "5.1", "5.2"]
    );
    assert_eq!(after(&events, "3.0").await, ["3.1", "5.0", "5.1", "5.2"]);
    assert_eq!(after(&events, "3").await, ["5.0", "5.1", "5.2"]);
    // Of another node, which is ahead of this one.
    let mut ahead = events.read(Some(id("6.0")), None).unwrap();
    assert!(drain(&mut ahead).await.is_empty());
    apply(&events, 6, 2, "a");
    assert_eq!(drain(&mut ahead).await, ["6.1"]);
}

#[tokio::test]
async fn a_reader_without_an_id_gets_what_comes_from_now_on() {
    let events = Events::with(ROOMY);
    apply(&events, 3, 2, "a");
    let mut reader = events.read(None, None).unwrap();
    assert!(drain(&mut reader).await.is_empty());
    apply(&events, 4, 1, "a");
    assert_eq!(drain(&mut reader).await, ["4.0"]);
}

#[tokio::test]
async fn a_reader_that_waits_is_woken() {
    let events = Events::with(ROOMY);
    let mut reader = events.read(None, None).unwrap();
    // Far longer than the test may take: only the event can end the wait, which begins first.
    let waits = reader.next(Duration::from_secs(3_600));
    let (news, ()) = futures::future::join(waits, async { apply(&events, 1, 1, "a") }).await;
    assert_eq!(
        news,
        Some(EventNews::Events(vec![Arc::new(event(1, 0, "a"))]))
    );
}

#[tokio::test]
async fn entries_that_are_applied_again_emit_nothing_new() {
    let events = Events::with(ROOMY);
    apply(&events, 3, 2, "a");
    apply(&events, 4, 0, "a");
    // A rebuild: from an earlier index, and in other batches.
    let replayed = [event(3, 0, "a"), event(3, 1, "a"), event(4, 0, "a")];
    events.push(replayed.into());
    events.advance(4);
    apply(&events, 5, 1, "a");
    assert_eq!(after(&events, "0").await, ["3.0", "3.1", "5.0"]);
}

#[tokio::test]
async fn the_oldest_are_dropped_over_the_number() {
    let events = Events::with(RingLimits { events: 3, ..ROOMY });
    apply(&events, 1, 2, "a");
    assert_eq!(after(&events, "0").await, ["1.0", "1.1"]);
    apply(&events, 2, 2, "a");
    let gone = events.read(Some(id("0")), None).unwrap_err();
    assert_eq!(gone.oldest, id("1.0"));
    assert!(gone.to_string().ends_with("is 1.0"), "{gone}");
    assert_eq!(after(&events, "1.0").await, ["1.1", "2.0", "2.1"]);
}

#[tokio::test]
async fn the_oldest_are_dropped_over_the_bytes() {
    let big = |index| EmittedEvent {
        data: vec![0; 400],
        ..event(index, 0, "a")
    };
    let limits = RingLimits {
        bytes: 2 * big(1).size() + 10,
        ..ROOMY
    };
    let events = Events::with(limits);
    events.push(vec![big(1), big(2), big(3)]);
    assert_eq!(after(&events, "1.0").await, ["2.0", "3.0"]);
    assert!(events.read(Some(id("0")), None).is_err());
    // One that has no room at all leaves nothing, and is missed as well.
    events.push(vec![EmittedEvent {
        data: vec![0; 2_000],
        ..event(4, 0, "a")
    }]);
    let gone = events.read(Some(id("3.0")), None).unwrap_err();
    assert_eq!(gone.oldest, id("4.0"));
    assert_eq!(events.0.ring.read().bytes, 0);
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_told_once_and_goes_on() {
    let events = Events::with(RingLimits { events: 2, ..ROOMY });
    let mut reader = events.read(None, None).unwrap();
    apply(&events, 1, 5, "a");
    assert_eq!(drain(&mut reader).await, ["missed 1.2", "1.3", "1.4"]);
    apply(&events, 2, 1, "a");
    assert_eq!(drain(&mut reader).await, ["2.0"]);
}

#[tokio::test]
async fn a_snapshot_in_the_place_of_entries_leaves_a_gap() {
    let events = Events::with(ROOMY);
    apply(&events, 3, 1, "a");
    let mut reader = events.read(Some(id("0")), None).unwrap();
    assert_eq!(drain(&mut reader).await, ["3.0"]);
    events.jump(9);
    assert_eq!(drain(&mut reader).await, ["missed 9"]);
    assert_eq!(
        events.read(Some(id("9.5")), None).unwrap_err().oldest,
        id("9")
    );
    apply(&events, 10, 1, "a");
    assert_eq!(drain(&mut reader).await, ["10.0"]);
    assert_eq!(after(&events, "9").await, ["10.0"]);
}

#[tokio::test]
async fn a_snapshot_of_what_was_applied_here_leaves_none() {
    let events = Events::with(ROOMY);
    apply(&events, 3, 1, "a");
    apply(&events, 4, 0, "a");
    events.jump(3);
    events.jump(4);
    assert_eq!(after(&events, "0").await, ["3.0"]);
}

#[tokio::test]
async fn a_topic_is_matched_exactly_and_the_cursor_passes_over_the_others() {
    let events = Events::with(RingLimits {
        events: 10 * LOOK_EVENTS,
        bytes: 16 << 20,
    });
    apply(&events, 1, 1, "lock");
    // More than one look takes.
    let many = u32::try_from(3 * LOOK_EVENTS).unwrap();
    apply(&events, 2, many, "locks");
    apply(&events, 3, 1, "lock");
    apply(&events, 4, 1, "Lock");
    apply(&events, 5, 0, "lock");
    let topic = Some("lock".to_owned());
    let mut reader = events.read(Some(id("0")), topic).unwrap();
    assert_eq!(drain(&mut reader).await, ["1.0", "3.0"]);
    // Also over entries that emit nothing: coming back from here, nothing is missed.
    assert_eq!(reader.cursor(), id("5"));
    apply(&events, 6, 0, "lock");
    assert!(drain(&mut reader).await.is_empty());
    assert_eq!(reader.cursor(), id("6"));
}

#[tokio::test]
async fn one_read_takes_a_bounded_number_of_bytes() {
    let events = Events::with(RING);
    let big = |index| EmittedEvent {
        data: vec![0; LOOK_BYTES / 2],
        ..event(index, 0, "a")
    };
    events.push((1..=4).map(big).collect());
    let mut reader = events.read(Some(id("0")), None).unwrap();
    let Some(EventNews::Events(first)) = reader.next(Duration::ZERO).await else {
        panic!("there are events");
    };
    assert_eq!(first.len(), 2);
    assert_eq!(drain(&mut reader).await, ["3.0", "4.0"]);
}
