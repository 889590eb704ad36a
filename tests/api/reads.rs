//! Linearizable by default on every node; `?consistency=stale` reads what the node has.

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
