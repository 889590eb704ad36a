//! Requests that are almost right.

use rkv_tests::wait::GENEROUS;
use rkv_tests::{Answer, Cluster, Connection, Ended};
use tokio::task::JoinSet;

/// Requests, and how many are under way together.
const REQUESTS: usize = 1_500;
const AT_ONCE: usize = 50;

/// Nobody here waits long for the rest of a request that never comes.
const IMPATIENCE: [&str; 4] = ["--head-timeout-ms", "1000", "--body-timeout-ms", "1000"];

const SEED: u64 = 2026;

fn whole_requests() -> Vec<Vec<u8>> {
    let module = "0123456789abcdef".repeat(4);
    let targets = [
        ("GET", "/health".to_owned(), ""),
        ("GET", "/servers".to_owned(), ""),
        ("GET", "/stats?scope=cluster".to_owned(), ""),
        ("GET", "/state".to_owned(), ""),
        ("GET", "/keys?prefix=a&after=b&limit=3".to_owned(), ""),
        ("POST", "/keys".to_owned(), r#"{"a":"1","b":"\u00e9"}"#),
        ("GET", "/keys/a%2Fb?consistency=stale".to_owned(), ""),
        ("POST", "/keys/a?val=%00+%ff".to_owned(), ""),
        ("POST", "/key/b".to_owned(), "value"),
        ("DELETE", "/keys/a".to_owned(), ""),
        ("POST", "/nodes/7?addr=nowhere".to_owned(), ""),
        ("DELETE", "/join/7?addr=nowhere".to_owned(), ""),
        ("POST", "/fsm/apply".to_owned(), "\u{1}\u{1}\u{1}a\u{3}xyz"),
        (
            "POST",
            "/fsm/query?consistency=linearizable".to_owned(),
            "\u{1}\u{1}\u{1}a",
        ),
        ("POST", "/fsm/modules".to_owned(), "\0asm\r\0\u{1}\0"),
        ("GET", format!("/fsm/modules/{module}"), ""),
        ("POST", format!("/fsm/modules/{module}/dry-run"), ""),
        (
            "POST",
            format!("/fsm/activate?module={module}&state=reset&fuel=9"),
            "",
        ),
        ("POST", "/fsm/rollback?state=previous".to_owned(), ""),
    ];
    let request = |(method, target, body): &(&str, String, &str)| {
        let length = body.len();
        let head = format!("{method} {target} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}");
        format!("{head}\r\nconnection: close\r\n\r\n{body}").into_bytes()
    };
    targets.iter().map(request).collect()
}

fn mutate(request: &mut Vec<u8>, rng: &mut fastrand::Rng) {
    let at = rng.usize(..request.len().max(1));
    let end = (at + rng.usize(..8)).min(request.len());
    match rng.u8(..5) {
        0 if at < request.len() => request[at] ^= 1 << rng.u8(..8),
        1 if at < request.len() => request[at] = rng.u8(..),
        2 => {
            request.splice(at..end, []);
        }
        3 => {
            let copied = request[at..end].to_vec();
            request.splice(at..at, copied);
        }
        _ => {
            let word = [
                &b"%"[..],
                b"%00",
                b"%zz",
                b"\r\n",
                b"\n",
                b" ",
                b"?",
                b"&",
                b"/",
                b"//",
                b"..",
                b"\0",
                b"18446744073709551616",
                b"-1",
                b"\xff\xfe",
                b"transfer-encoding: chunked\r\n",
                b"#",
            ];
            let word = word[rng.usize(..word.len())];
            request.splice(at..end, word.iter().copied());
        }
    }
}

/// What a request is answered with; `None` when the connection is closed instead.
async fn attempt(mut connection: Connection, request: Vec<u8>) -> (Vec<u8>, Option<Answer>) {
    if connection.send(&request).await.is_err() {
        return (request, connection.answered());
    }
    match connection.answer(GENEROUS).await {
        Ok(answer) => (request, Some(answer)),
        Err(Ended::Closed) => (request, None),
        Err(Ended::StillOpen) => panic!("no answer to {:?}", bytes::Bytes::from(request)),
    }
}

#[tokio::test]
async fn a_request_that_is_almost_right_is_never_an_internal_error() {
    let cluster = Cluster::start_with(1, &IMPATIENCE).await;
    let address = cluster.node(1).spec().http_addr;
    let whole = whole_requests();
    let mut rng = fastrand::Rng::with_seed(SEED);
    let mut under_way = JoinSet::new();
    let mut answered = std::collections::BTreeMap::new();
    for round in 0..REQUESTS + AT_ONCE {
        if round < REQUESTS {
            let mut request = whole[rng.usize(..whole.len())].clone();
            for _ in 0..rng.u8(1..4) {
                mutate(&mut request, &mut rng);
            }
            under_way.spawn(attempt(Connection::open(address).await, request));
        }
        if round < AT_ONCE {
            continue;
        }
        let Some(done) = under_way.join_next().await else {
            break;
        };
        let (request, answer) = done.expect("no panic");
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        *answered.entry(status).or_insert(0) += 1;
        if let Some(answer) = answer {
            let request = bytes::Bytes::from(request);
            assert_ne!(answer.status, 500, "seed {SEED}: {request:?}: {answer}");
            // What is not HTTP at all is answered by the HTTP library, without a body.
            if answer.status >= 400 && !answer.body.is_empty() {
                let status = answer.status;
                answer.problem(status);
            }
        }
    }
    println!("answers by status (0: closed): {answered:?}");
    let log = cluster.node(1).log();
    assert!(!log.contains("panicked"), "{log}");
    cluster.client(1).put("afterwards", "x").await;
}
