//! Writes on a follower: 307 to the leader, with all of the path and the query.

use reqwest::Method;

use crate::shared::three;

#[tokio::test]
async fn every_write_on_a_follower_points_at_the_same_target_on_the_leader() {
    let three = three().await;
    let [leader, _] = three.role_ids();
    let leader = three.cluster().node(leader).spec().http_addr;
    let writes = [
        (Method::POST, "/keys/redirected?val=x"),
        (Method::POST, "/key/redirected?val=x"),
        (Method::POST, "/keys/a%2Fb%20c%3F?val=%C3%A9%26%3D+%2B"),
        (Method::DELETE, "/keys/a%2Fb"),
        (Method::DELETE, "/key/a%2Fb"),
        (Method::POST, "/keys"),
        (Method::POST, "/nodes/9?addr=127.0.0.1:1"),
        (Method::POST, "/node/9?addr=127.0.0.1:1"),
        (Method::DELETE, "/nodes/9?addr=127.0.0.1:1"),
        (Method::DELETE, "/node/9?addr=127.0.0.1:1"),
        (Method::DELETE, "/join/9?addr=127.0.0.1:1"),
        (Method::POST, "/leader?id=1"),
    ];
    for (method, target) in writes {
        let body = if target == "/keys" {
            r#"{"redirected":"x"}"#
        } else {
            ""
        };
        let answer = three.follower().send(method, target, body).await;
        assert_eq!(
            answer.location(),
            format!("http://{leader}{target}"),
            "{answer}"
        );
    }
    assert_eq!(
        three.leader().value("redirected").await,
        None,
        "a redirect writes nothing"
    );
}

#[tokio::test]
async fn the_body_arrives_when_the_redirect_is_followed() {
    let three = three().await;
    let value = "x".repeat(100_000);
    let answer = three
        .follower()
        .follow(Method::POST, "/keys/followed", value.clone())
        .await;
    answer.expect(200);
    assert_eq!(
        three.follower().value("followed").await.expect("written"),
        value
    );
}

#[tokio::test]
async fn no_read_is_redirected() {
    let three = three().await;
    three.leader().put("read-anywhere", "x").await;
    for target in [
        "/keys/read-anywhere",
        "/keys",
        "/servers",
        "/stats",
        "/state",
        "/health",
    ] {
        three.follower().get(target).await.expect(200);
    }
}
