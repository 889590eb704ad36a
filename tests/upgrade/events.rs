//! Events that commands emit: who listens gets each of them once, in order, on whatever node.

use rkv_tests::wait::{GENEROUS, check, until};
use rkv_tests::{Client, Cluster, EventStream, SentEvent, StreamEnd};

use crate::guests::{faulty, lock, upload};

/// A cluster that runs a module from nothing, and its leader.
async fn start(size: u64, flags: &[&str], bytes: bytes::Bytes) -> (Cluster, u64) {
    let mut cluster = Cluster::start_with(size, flags).await;
    let module = upload(&mut cluster, bytes).await.module;
    let leader = cluster.leader().await;
    let target = format!("/fsm/activate?module={module}&state=reset&memory_mb=64");
    cluster.client(leader).post(&target, "").await.expect(200);
    (cluster, leader)
}

async fn apply(client: &Client, command: &str) {
    client
        .post("/fsm/apply", command.to_owned())
        .await
        .expect(200);
}

async fn listen(client: &Client, query: &str, last: Option<&str>) -> EventStream {
    let stream = client.listen(&format!("/fsm/events{query}"), last).await;
    stream.unwrap_or_else(|answer| panic!("{answer}"))
}

/// The oldest id that a node says can be asked for.
async fn oldest(client: &Client) -> String {
    let answer = client.listen("/fsm/events?after=0", None).await;
    let problem = answer.expect_err("the oldest events are gone").problem(410);
    assert_eq!(problem.code, "events_gone");
    let oldest = problem.detail.rsplit(' ').next();
    oldest.expect("the last word").to_owned()
}

/// `INDEX.POSITION`, to compare.
fn place(event: &SentEvent) -> (u64, u32) {
    let (index, position) = event.id.split_once('.').expect("an event's id");
    (
        index.parse().expect("an index"),
        position.parse().expect("a position"),
    )
}

/// The command whose event it is, and its number among those of the command.
fn number(event: &SentEvent) -> (u64, u32) {
    let data = event.json();
    assert_eq!(
        (data.topic.as_str(), data.index),
        ("emitted", place(event).0)
    );
    (data.index, data.text.parse().expect("a number"))
}

#[tokio::test]
async fn every_node_tells_the_same_events_with_the_same_ids() {
    let (cluster, leader) = start(3, &[], lock()).await;
    let client = cluster.client(leader);
    let mut streams = Vec::new();
    for id in cluster.ids() {
        let all = listen(&cluster.client(id), "", None).await;
        let released = listen(&cluster.client(id), "?topic=released", None).await;
        streams.push((all, released));
    }
    let acquire = |owner: &str, ttl_ms: u32| {
        format!(r#"{{"acquire":{{"lock":"db","owner":"{owner}","ttl_ms":{ttl_ms}}}}}"#)
    };
    apply(&client, &acquire("a", 1)).await;
    // Log time has to pass the end of the lease before another owner gets the lock.
    let granted = until("the lease is over", GENEROUS, async || {
        let answer = client.post("/fsm/apply", acquire("b", 60_000)).await;
        if answer.status == 200 {
            Ok(answer)
        } else {
            Err(answer.to_string())
        }
    })
    .await;
    let granted: serde_json::Value = serde_json::from_slice(&granted.body).expect("JSON");
    let token = granted["token"].as_u64().expect("a token");
    let release = format!(r#"{{"release":{{"lock":"db","token":{token}}}}}"#);
    apply(&client, &release).await;

    let mut told = Vec::new();
    for (mut all, mut released) in streams {
        let events = all.take(4).await;
        assert_eq!(released.next().await, events[3]);
        told.push(events);
    }
    let topics: Vec<_> = told[0].iter().map(|event| event.json().topic).collect();
    assert_eq!(topics, ["acquired", "expired", "acquired", "released"]);
    // The new holder and the end of the old one are of the same entry.
    let places: Vec<_> = told[0].iter().map(place).collect();
    assert_eq!((places[1], places[2]), ((token, 0), (token, 1)));
    let data = told[0][2].json();
    assert_eq!(
        data.text,
        format!(r#"{{"lock":"db","owner":"b","token":{token}}}"#)
    );
    assert!(data.time_ms > 0);
    assert!(told.iter().all(|events| *events == told[0]), "{told:?}");
}

#[tokio::test]
async fn a_listener_goes_on_after_a_killed_node_is_back_or_on_another_node() {
    let (mut cluster, leader) = start(3, &[], faulty()).await;
    let follower = cluster.follower().await;
    let client = cluster.client(leader);
    let mut stream = listen(&cluster.client(follower), "?after=0", None).await;
    for _ in 0..10 {
        apply(&client, "emit 3").await;
    }
    let mut heard = stream.take(17).await;
    cluster.node_mut(follower).kill9();
    assert_eq!(stream.end().await, StreamEnd::Broken);
    for _ in 0..10 {
        apply(&client, "emit 3").await;
    }
    cluster.restart(follower).await;

    let last = heard[16].id.clone();
    let rest = listen(&cluster.client(follower), "?after=0", Some(&last))
        .await
        .take(43)
        .await;
    let elsewhere = listen(&client, &format!("?after={last}"), None)
        .await
        .take(43)
        .await;
    assert_eq!(rest, elsewhere);
    heard.extend(rest);
    let all = listen(&client, "?after=0", None).await.take(60).await;
    assert_eq!(heard, all);
    assert!(all.is_sorted_by(|left, right| place(left) < place(right)));
    let numbers: Vec<u32> = all.iter().map(|event| number(event).1).collect();
    assert_eq!(numbers, [0, 1, 2].repeat(20));
}

#[tokio::test]
async fn what_is_rebuilt_after_a_trap_is_not_told_again() {
    let (cluster, leader) = start(3, &[], faulty()).await;
    let client = cluster.client(leader);
    let mut streams = Vec::new();
    for id in cluster.ids() {
        streams.push(listen(&cluster.client(id), "", None).await);
    }
    apply(&client, "emit 2").await;
    client.post("/fsm/apply", "panic").await.problem(422);
    apply(&client, "emit 1").await;
    client.post("/fsm/query", "panic").await.problem(422);
    apply(&client, "emit 3").await;
    for (id, mut stream) in cluster.ids().into_iter().zip(streams) {
        let heard = stream.take(6).await;
        let numbers: Vec<u32> = heard.iter().map(|event| number(event).1).collect();
        assert_eq!(numbers, [0, 1, 0, 0, 1, 2], "{heard:?}");
        // Nor does the node keep anything twice.
        let mut kept = listen(&cluster.client(id), "?after=0", None).await;
        assert_eq!(kept.take(6).await, heard, "node {id}");
    }
}

#[tokio::test]
async fn events_that_are_too_many_to_keep_are_gone() {
    let (cluster, leader) = start(1, &[], faulty()).await;
    let client = cluster.client(leader);
    for _ in 0..14 {
        apply(&client, "emit 5000").await;
    }
    let oldest = oldest(&client).await;
    let mut kept = listen(&client, &format!("?after={oldest}"), None).await;
    let events = kept.take(65_536).await;
    let next = events.first().map(number);
    assert_eq!(next, Some((place(&events[0]).0, 70_000 - 65_536)));
    assert_eq!(events.last().map(|event| number(event).1), Some(4_999));
}

#[tokio::test]
async fn a_listener_that_does_not_read_is_told_what_it_missed() {
    let (cluster, leader) = start(1, &[], faulty()).await;
    let client = cluster.client(leader);
    let mut slow = listen(&client, "", None).await;
    // More than the node keeps and all buffers between hold.
    let mut newest = None;
    for _ in 0..40 {
        apply(&client, "emit 10000").await;
    }
    let mut gaps = 0;
    while newest != Some(9_999) || gaps == 0 {
        let event = slow.next().await;
        if event.event != "missed" {
            newest = Some(number(&event).1);
            continue;
        }
        gaps += 1;
        let (gap, after) = (place(&event), slow.next().await);
        assert!(event.data.contains(&event.id), "{event:?}");
        assert!(place(&after) > gap, "{event:?}, then {after:?}");
        newest = Some(number(&after).1);
        assert!(
            newest == Some(gap.1 + 1) || newest == Some(0),
            "{event:?}, then {after:?}"
        );
    }
}

#[tokio::test]
async fn a_node_knows_no_events_before_the_snapshot_that_it_started_from() {
    let flags = ["--snapshot-entries", "20", "--keep-entries", "2"];
    let (mut cluster, leader) = start(1, &flags, faulty()).await;
    let client = cluster.client(leader);
    let mut silent = listen(&client, "?topic=silent&after=0", None).await;
    assert_eq!(silent.next_block().await.expect("an id").id, "0");
    for _ in 0..100 {
        apply(&client, "emit 1").await;
    }
    let snapshot = until(
        "a snapshot is taken and none is due",
        GENEROUS,
        async || {
            let stats = client.stats().await;
            let (applied, snapshot) = (stats.applied_index, stats.snapshot_index);
            match (applied, snapshot) {
                (Some(applied), Some(snapshot)) if applied < snapshot + 20 => Ok(snapshot),
                _ => Err(format!("{stats:?}")),
            }
        },
    )
    .await;
    // Nothing was ever emitted for this one, yet it learns how far it has come.
    let come = silent.next_block().await.expect("an id");
    assert!(!come.is_message(), "{come:?}");
    assert!(
        come.id.parse::<u64>().is_ok_and(|come| come >= snapshot),
        "{come:?}, snapshot at {snapshot}"
    );

    cluster.node_mut(leader).kill9();
    cluster.restart(leader).await;
    // Checkpoints go on while nothing is emitted, so there may be a newer snapshot by now.
    let floor: u64 = oldest(&client).await.parse().expect("an index");
    let snapshots = client.stats().await.fsm.snapshots;
    assert!(
        floor >= snapshot && snapshots.contains(&floor),
        "{floor}, snapshots at {snapshots:?}"
    );
    let come = come.id.parse::<u64>().expect("an index").max(floor);
    listen(&client, "?topic=silent&after=0", Some(&come.to_string())).await;

    // Neither does a node that joined with a snapshot, as the log before it is purged.
    let purged = until("the log is purged", GENEROUS, async || {
        apply(&client, "emit 1").await;
        let stats = client.stats().await;
        stats.purged_index.ok_or_else(|| format!("{stats:?}"))
    })
    .await;
    cluster.grow_to(2).await;
    let joined = cluster.client(2);
    let oldest: u64 = oldest(&joined).await.parse().expect("an index");
    assert!(oldest >= purged, "{oldest}, purged up to {purged}");
    let mut stream = listen(&joined, &format!("?after={oldest}"), None).await;
    let leader = cluster.leader().await;
    apply(&cluster.client(leader), "emit 1").await;
    let told = number(&stream.next().await);
    assert!(
        told.0 > oldest,
        "{told:?}, asked for what is after {oldest}"
    );
}

#[tokio::test]
async fn a_node_that_can_write_no_more_ends_its_streams() {
    let (mut cluster, leader) = start(1, &[], faulty()).await;
    cluster.node_mut(leader).kill9();
    let fails_later = "log-write-fails=20*off->return".to_owned();
    cluster.node_mut(leader).spec_mut().failpoints = Some(fails_later);
    cluster.restart(leader).await;
    let client = cluster.client(leader);
    let stream = listen(&client, "", None).await;
    until("a write fails", GENEROUS, async || {
        let answer = client.post("/fsm/apply", "add").await;
        check(answer.status >= 500, || answer.to_string())
    })
    .await;
    assert_eq!(stream.end().await, StreamEnd::Complete);
    let again = client.listen("/fsm/events", None).await;
    again.expect_err("nothing will come").problem(503);
}
