//! Clients that are confused cost nobody else anything. Those that are slow or endless are in `hostile/`.

use rkv_tests::Connection;
use rkv_tests::wait::GENEROUS;

use crate::shared::three;

#[tokio::test]
async fn a_body_that_announces_too_much_is_refused_before_it_is_sent() {
    let three = three().await;
    for id in three.role_ids() {
        let address = three.cluster().node(id).spec().http_addr;
        let mut connection = Connection::open(address).await;
        let head = format!(
            "POST /keys/announced HTTP/1.1\r\nhost: {address}\r\ncontent-length: 1000000000\r\n\r\n"
        );
        connection.send(head.as_bytes()).await.expect("sent");
        let answer = connection
            .answer(GENEROUS)
            .await
            .expect("an answer without the body");
        // A follower may as well point at the leader without looking at the body.
        if answer.status != 307 {
            answer.problem(413);
        }
    }
    assert_eq!(three.leader().value("announced").await, None);
}

#[tokio::test]
async fn what_is_not_http_is_closed_and_delays_nobody() {
    let three = three().await;
    let [leader, _] = three.role_ids();
    let spec = three.cluster().node(leader).spec();
    for address in [spec.http_addr, spec.raft_addr] {
        for noise in [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
            b"\r\n\r\n\0\0",
            &[0xff; 4096],
        ] {
            let mut connection = Connection::open(address).await;
            // A node that closes at once may refuse the rest of what is sent.
            let _ = connection.send(noise).await;
        }
    }
    three.leader().put("after-noise", "x").await;
    assert_eq!(
        three
            .follower()
            .value("after-noise")
            .await
            .expect("written"),
        "x"
    );
}

#[tokio::test]
async fn requests_follow_one_another_on_one_connection() {
    let three = three().await;
    let [leader, _] = three.role_ids();
    let address = three.cluster().node(leader).spec().http_addr;
    let mut connection = Connection::open(address).await;
    let request = format!("GET /health HTTP/1.1\r\nhost: {address}\r\n\r\n");
    for _ in 0..3 {
        connection.send(request.as_bytes()).await.expect("sent");
        connection
            .answer(GENEROUS)
            .await
            .expect("an answer")
            .expect(200);
    }
}
