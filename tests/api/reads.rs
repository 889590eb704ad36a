//! Linearizable by default on every node; `?consistency=stale` reads what the node has.

use reqwest::Method;
use rkv_tests::key_path;
use rkv_tests::wait::{GENEROUS, check, until};

use crate::shared::three;

#[tokio::test]
async fn every_node_reads_a_write_as_soon_as_it_was_acknowledged() {
    let three = three().await;
    for round in 0..50 {
        let value = round.to_string();
        three.leader().put("read-your-writes", value.clone()).await;
        for id in three.cluster().ids() {
            let read = three.cluster().client(id).value("read-your-writes").await;
            assert_eq!(read.expect("written"), value, "node {id}, round {round}");
        }
    }
}

#[tokio::test]
async fn every_node_lists_a_key_as_soon_as_it_was_acknowledged() {
    let three = three().await;
    for round in 0..20 {
        let key = format!("list-your-writes-{round}");
        three.leader().put(&key, "x").await;
        for id in three.cluster().ids() {
            assert!(
                three.cluster().client(id).keys().await.contains(&key),
                "node {id}, {key}"
            );
        }
    }
}

#[tokio::test]
async fn a_stale_read_sees_a_write_in_the_end() {
    let three = three().await;
    three.leader().put("stale-read", "x").await;
    for node in three.roles() {
        until("the node has applied the write", GENEROUS, async || {
            let value = node.stale_value("stale-read").await;
            check(value.as_deref() == Some(b"x"), || format!("{value:?}"))
        })
        .await;
        assert!(node.stale_keys().await.contains(&"stale-read".to_owned()));
    }
}

/// A stale read that does not have to wait is answered in another way than all others.
#[tokio::test]
async fn an_answer_at_once_is_that_of_a_read_that_waits() {
    let three = three().await;
    let leader = three.leader();
    leader.put("at-once", "twelve bytes").await;
    // Until the module is known to be quick.
    for _ in 0..100 {
        assert!(leader.stale_value("at-once").await.is_some());
    }
    let too_long = "k".repeat(5_000);
    for (key, status) in [("at-once", 200), ("not-there", 404), (&too_long, 413)] {
        // With a body, it has to be read first.
        for body in ["", "not asked for"] {
            let path = key_path(key);
            let waits = leader.send(Method::GET, &path, body).await;
            let stale = format!("{path}?consistency=stale");
            let at_once = leader.send(Method::GET, &stale, body).await;
            assert_eq!((waits.status, at_once.status), (status, status), "{key}");
            let kind = waits.header("content-type");
            assert_eq!(kind, at_once.header("content-type"));
            if status == 200 {
                assert_eq!(
                    (waits.text(), at_once.text()),
                    ("twelve bytes", "twelve bytes")
                );
            } else {
                let id = at_once.header("x-request-id");
                assert!(at_once.text().contains(id), "{}", at_once.text());
                let [waits, at_once] = [waits, at_once].map(|answer| answer.problem(status));
                assert_eq!((waits.code, waits.detail), (at_once.code, at_once.detail));
            }
        }
    }
}

#[tokio::test]
async fn an_unknown_consistency_is_refused() {
    let three = three().await;
    three.leader().put("consistency", "x").await;
    for node in three.roles() {
        for target in ["/keys/consistency", "/keys"] {
            node.get(&format!("{target}?consistency=linearizable"))
                .await
                .expect(200);
            node.get(&format!("{target}?consistency=whatever"))
                .await
                .problem(400);
        }
    }
}
