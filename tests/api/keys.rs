//! `/keys/{key}`: write, read and remove one key.

use reqwest::Method;
use rkv_tests::{Connection, key_path};

use crate::shared::three;

#[tokio::test]
async fn a_value_comes_from_the_query_or_from_the_body() {
    let three = three().await;
    for (node, name) in three.roles().into_iter().zip(["leader", "follower"]) {
        let path = key_path(&format!("value-from-{name}"));
        node.follow(Method::POST, &format!("{path}?val=in%20the%20query"), "")
            .await
            .expect(200);
        assert_eq!(node.get(&path).await.expect(200).text(), "in the query");
        node.follow(Method::POST, &path, "in the body")
            .await
            .expect(200);
        assert_eq!(node.get(&path).await.expect(200).text(), "in the body");
    }
}

#[tokio::test]
async fn a_value_in_both_places_is_refused_and_leaves_nothing() {
    let three = three().await;
    for node in three.roles() {
        node.follow(Method::POST, "/keys/two-values?val=a", "b")
            .await
            .problem(400);
        assert_eq!(node.value("two-values").await, None);
    }
}

#[tokio::test]
async fn a_write_without_a_value_is_refused_and_leaves_nothing() {
    let three = three().await;
    for node in three.roles() {
        node.follow(Method::POST, "/keys/no-value", "")
            .await
            .problem(400);
        assert_eq!(node.value("no-value").await, None);
    }
}

#[tokio::test]
async fn an_empty_value_is_a_value() {
    let three = three().await;
    for node in three.roles() {
        node.follow(Method::POST, "/keys/empty-value?val=", "")
            .await
            .expect(200);
        assert!(
            node.get("/keys/empty-value")
                .await
                .expect(200)
                .body
                .is_empty()
        );
        node.remove("empty-value").await;
    }
}

#[tokio::test]
async fn any_bytes_come_back_as_they_were_written() {
    let three = three().await;
    let value: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    three.leader().put("any-bytes", value.clone()).await;
    for node in three.roles() {
        assert_eq!(node.value("any-bytes").await.expect("written"), value);
    }
}

#[tokio::test]
async fn a_later_write_replaces_an_earlier_one() {
    let three = three().await;
    for value in ["first", "second"] {
        three.leader().put("replaced", value).await;
        for node in three.roles() {
            assert_eq!(node.value("replaced").await.expect("written"), value);
        }
    }
}

#[tokio::test]
async fn a_missing_key_is_a_404() {
    let three = three().await;
    for node in three.roles() {
        let problem = node.get("/keys/was-never-written").await.problem(404);
        assert!(!problem.retryable, "{problem:?}");
    }
}

/// `HEAD` comes to the handler through the router, `GET` without it.
#[tokio::test]
async fn head_tells_what_get_would() {
    let three = three().await;
    let key = "headed/é";
    three.leader().put(key, "twelve bytes").await;
    let present = key_path(key);
    let too_long = key_path(&"k".repeat(5_000));
    for (path, status) in [
        (present.clone(), 200),
        (format!("{present}?consistency=stale"), 200),
        (format!("{present}?consistency=%73tale"), 200),
        (format!("{present}?consistency=never"), 400),
        (key_path("headed"), 404),
        (key_path("headed") + "?consistency=stale", 404),
        (too_long, 413),
        (format!("{present}/"), 404),
        ("/keys/".to_owned(), 404),
        ("/keys/%FF".to_owned(), 400),
    ] {
        for node in three.roles() {
            let of_get = node.get(&path).await;
            let of_head = node.send(Method::HEAD, &path, "").await;
            assert_eq!((of_get.status, of_head.status), (status, status), "{path}");
            for header in ["content-type", "allow"] {
                assert_eq!(of_get.header(header), of_head.header(header), "{path}");
            }
            assert!(of_head.body.is_empty());
            if status == 200 {
                assert_eq!(of_get.text(), "twelve bytes");
                assert_eq!(of_head.header("content-length"), "12");
            }
        }
    }
}

#[tokio::test]
async fn removing_a_key_succeeds_also_when_there_is_none() {
    let three = three().await;
    for node in three.roles() {
        node.put("removed", "x").await;
        for _ in 0..2 {
            node.follow(Method::DELETE, "/keys/removed", "")
                .await
                .expect(200);
            assert_eq!(node.value("removed").await, None);
        }
    }
}

#[tokio::test]
async fn both_spellings_reach_the_same_key() {
    let three = three().await;
    for node in three.roles() {
        node.follow(Method::POST, "/key/both-spellings?val=x", "")
            .await
            .expect(200);
        for path in ["/key/both-spellings", "/keys/both-spellings"] {
            assert_eq!(node.get(path).await.expect(200).text(), "x");
        }
        node.follow(Method::DELETE, "/key/both-spellings", "")
            .await
            .expect(200);
        assert_eq!(node.value("both-spellings").await, None);
    }
}

#[tokio::test]
async fn keys_are_any_text_when_percent_encoded() {
    let three = three().await;
    let keys = [
        "with/slash",
        "with space",
        "per%cent",
        "q?u=e&r#y",
        "+plus+",
        "ключ-钥匙-🔑",
        "a\0b\n",
    ];
    for key in keys {
        let key = format!("any-text {key}");
        three.follower().put(&key, key.clone()).await;
        for node in three.roles() {
            assert_eq!(
                node.value(&key).await.as_deref(),
                Some(key.as_bytes()),
                "{key:?}"
            );
            assert!(node.keys().await.contains(&key), "{key:?} is listed");
        }
    }
}

#[tokio::test]
async fn dots_are_a_key_and_not_a_folder() {
    let three = three().await;
    let [leader, _] = three.role_ids();
    let address = three.cluster().node(leader).spec().http_addr;
    // No client library keeps these as they are.
    for target in ["/keys/%2E", "/keys/%2E%2E"] {
        Connection::ask(address, "POST", &format!("{target}?val=dots"))
            .await
            .expect(200);
        let read = Connection::ask(address, "GET", target).await.expect(200);
        assert_eq!(read.text(), "dots");
        Connection::ask(address, "DELETE", target).await.expect(200);
    }
}

#[tokio::test]
async fn a_key_that_is_not_utf8_is_refused() {
    let three = three().await;
    let [leader, follower] = three
        .role_ids()
        .map(|id| three.cluster().node(id).spec().http_addr);
    for method in ["GET", "POST", "DELETE"] {
        Connection::ask(leader, method, "/keys/%FF%FE?val=x")
            .await
            .problem(400);
    }
    Connection::ask(follower, "GET", "/keys/%FF%FE")
        .await
        .problem(400);
}

#[tokio::test]
async fn keys_are_listed_in_order_and_without_values() {
    let three = three().await;
    let written = ["listed-b", "listed-a", "listed-é", "listed-B", "listed-a/1"];
    for key in written {
        three.leader().put(key, "a-value-that-is-not-listed").await;
    }
    for node in three.roles() {
        let answer = node.get("/keys").await.expect(200);
        assert!(
            !answer.text().contains("a-value-that-is-not-listed"),
            "{answer}"
        );
        let keys: Vec<String> = answer.json();
        assert!(keys.is_sorted(), "{keys:?}");
        let listed: Vec<_> = keys
            .iter()
            .filter(|key| key.starts_with("listed-"))
            .collect();
        assert_eq!(
            listed,
            ["listed-B", "listed-a", "listed-a/1", "listed-b", "listed-é"]
        );
    }
}
