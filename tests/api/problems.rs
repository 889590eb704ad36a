//! Every error has a `application/problem+json` body, whatever went wrong.

use reqwest::Method;

use crate::shared::three;

#[tokio::test]
async fn an_unknown_route_is_a_404_with_a_body() {
    let three = three().await;
    for node in three.roles() {
        for target in ["/", "/nothing/here", "/keys/a/b", "/Keys/a"] {
            node.get(target).await.problem(404);
        }
    }
}

#[tokio::test]
async fn a_wrong_method_is_a_405_that_names_the_right_ones() {
    let three = three().await;
    let cases = [
        (Method::PUT, "/keys/a", &["GET", "POST", "DELETE"][..]),
        (Method::PATCH, "/key/a", &["GET", "POST", "DELETE"][..]),
        (Method::DELETE, "/keys", &["GET", "POST"][..]),
        (Method::GET, "/nodes/1", &["POST", "DELETE"][..]),
        (Method::POST, "/join/1", &["DELETE"][..]),
        (Method::GET, "/leader?id=1", &["POST"][..]),
        (Method::POST, "/health", &["GET"][..]),
        (Method::POST, "/servers", &["GET"][..]),
        (Method::DELETE, "/stats", &["GET"][..]),
        (Method::POST, "/state", &["GET"][..]),
    ];
    for node in three.roles() {
        for (method, target, right) in &cases {
            let answer = node.send(method.clone(), target, "").await;
            answer.problem(405);
            let allowed: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
            for method in *right {
                assert!(allowed.contains(method), "Allow: {allowed:?}, {answer}");
            }
        }
    }
}

#[tokio::test]
async fn an_error_has_no_text_of_the_implementation_and_says_what_to_mend() {
    let three = three().await;
    for node in three.roles() {
        let problem = node.get("/stats?scope=universe").await.problem(400);
        assert!(problem.detail.contains("scope"), "{problem:?}");
        let problem = node
            .follow(Method::POST, "/nodes/one?addr=127.0.0.1:1", "")
            .await;
        let problem = problem.problem(400);
        assert!(
            problem.detail.contains("id") || problem.detail.contains("one"),
            "{problem:?}"
        );
    }
}
