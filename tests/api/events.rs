//! `/fsm/events`: what a listener is answered before anything is emitted.

use rkv_tests::Cluster;
use rkv_tests::wait::{GENEROUS, check, until};

use crate::shared::three;

#[tokio::test]
async fn a_listener_is_told_at_once_where_it_starts() {
    let three = three().await;
    for client in three.roles() {
        let mut from_now = client.listen("/fsm/events", None).await.expect("served");
        let start = from_now.next_block().await.expect("an id");
        assert!(!start.is_message(), "{start:?}");
        assert!(start.id.parse::<u64>().is_ok(), "{start:?}");

        let path = "/fsm/events?after=999999.3";
        let mut later = client.listen(path, None).await.expect("served");
        assert_eq!(later.next_block().await.expect("an id").id, "999999.3");
        // Both, as a browser that reconnects sends them: the header is the newer one.
        let mut again = client.listen(path, Some("1000000")).await.expect("served");
        assert_eq!(again.next_block().await.expect("an id").id, "1000000");
    }
}

#[tokio::test]
async fn an_id_that_is_none_is_refused_with_how_one_looks() {
    let three = three().await;
    for client in three.roles() {
        for bad in ["", "x", "-1", "1.", "1.2.3", "1.4294967296", "%ff"] {
            let path = format!("/fsm/events?after={bad}");
            let answer = client.listen(&path, None).await.expect_err(bad);
            let problem = answer.problem(400);
            assert!(
                problem.detail.contains("after"),
                "{bad}: {}",
                problem.detail
            );
        }
        let answer = client.listen("/fsm/events", Some("x")).await;
        let problem = answer.expect_err("refused").problem(400);
        assert!(
            problem.detail.contains("INDEX.POSITION"),
            "{}",
            problem.detail
        );
        client.post("/fsm/events", "").await.problem(405);
    }
}

#[tokio::test]
async fn a_listener_over_the_limit_has_to_wait_for_another_to_go() {
    let cluster = Cluster::start_with(1, &["--max-event-listeners", "2"]).await;
    let client = cluster.client(1);
    let first = client.listen("/fsm/events", None).await.expect("served");
    let _second = client.listen("/fsm/events", None).await.expect("served");
    let third = client.listen("/fsm/events", None).await;
    let problem = third.expect_err("there is no room").problem(429);
    assert_eq!(
        (problem.code.as_str(), problem.limit),
        ("overloaded", Some(2))
    );
    assert!(problem.retryable);

    drop(first);
    until("there is room for another", GENEROUS, async || {
        let served = client.listen("/fsm/events", None).await;
        check(served.is_ok(), || format!("{served:?}"))
    })
    .await;
}
