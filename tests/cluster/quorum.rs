//! Two of three nodes are gone: nothing is acknowledged, nothing hangs, stale reads go on.

use std::time::{Duration, Instant};

use rkv_tests::wait::{GENEROUS, until};
use rkv_tests::{Answer, Client, Cluster, key_path};

/// How long an answer may take when nothing can be decided. Functional: the server's own limit is
/// lower, a hang is longer.
const BOUNDED: Duration = Duration::from_secs(20);

/// Checks that a request got one of the answers for "cannot be decided now", in bounded time.
async fn undecided(answer: impl Future<Output = Answer>) -> Answer {
    let started = Instant::now();
    let answer = answer.await;
    let took = started.elapsed();
    assert!(took < BOUNDED, "{answer} after {took:?}");
    if answer.status == 504 {
        // Only a write; repeating it may do it twice.
        let problem = answer.problem(504);
        assert_eq!(problem.outcome.as_deref(), Some("unknown"), "{answer}");
        assert!(!problem.retryable, "{answer}");
    } else {
        assert!(answer.problem(503).retryable, "{answer}");
        assert!(
            answer.header("retry-after").parse::<u64>().is_ok(),
            "no Retry-After: {answer}"
        );
    }
    answer
}

/// Waits until a node knows that it has no leader: it stops redirecting.
async fn leaderless(node: &Client) {
    until("the node knows of no leader", GENEROUS, async || {
        let answer = node.post("/keys/probe?val=x", "").await;
        match answer.status {
            503 => Ok(()),
            _ => Err(answer.to_string()),
        }
    })
    .await;
}

async fn check_survivor(node: &Client) {
    leaderless(node).await;
    let write = undecided(node.post("/keys/refused?val=x", "")).await;
    assert_eq!(
        write.problem(503).outcome.as_deref(),
        Some("not_applied"),
        "{write}"
    );
    undecided(node.delete("/keys/written")).await;
    undecided(node.post("/keys", r#"{"refused":"x"}"#)).await;
    undecided(node.get(&key_path("written"))).await;
    undecided(node.get("/keys")).await;
    assert_eq!(node.stale_value("written").await.expect("still here"), "x");
    assert!(node.stale_keys().await.contains(&"written".to_owned()));
    let stats = node.cluster_stats().await;
    let reachable = stats.nodes.iter().filter(|node| node.reachable).count();
    assert_eq!((stats.nodes.len(), reachable), (3, 1), "{stats:?}");
    let unreachable = stats.nodes.iter().find(|node| !node.reachable);
    assert!(
        unreachable.is_some_and(|node| node.stats.is_none()),
        "{stats:?}"
    );
    for target in ["/stats", "/servers", "/state"] {
        node.get(target).await.expect(200);
    }
}

async fn cluster_with_a_key() -> Cluster {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    cluster.client(leader).put("written", "x").await;
    cluster.agree().await;
    cluster
}

async fn recovers(cluster: &mut Cluster, dead: &[u64]) {
    for &id in dead {
        cluster.node_mut(id).start();
    }
    cluster.ready().await;
    let leader = cluster.leader().await;
    cluster.client(leader).put("recovered", "x").await;
    assert_eq!(
        cluster.client(leader).value("written").await.expect("kept"),
        "x"
    );
    assert_eq!(
        cluster.client(leader).value("refused").await,
        None,
        "a refused write was done"
    );
    cluster.agree().await;
}

#[tokio::test]
async fn a_follower_that_is_left_alone_refuses_what_needs_a_quorum() {
    let mut cluster = cluster_with_a_key().await;
    let survivor = cluster.follower().await;
    let dead: Vec<_> = cluster
        .ids()
        .into_iter()
        .filter(|&id| id != survivor)
        .collect();
    for &id in &dead {
        cluster.node_mut(id).kill9();
    }
    check_survivor(&cluster.client(survivor)).await;
    recovers(&mut cluster, &dead).await;
}

#[tokio::test]
async fn a_leader_that_is_left_alone_refuses_what_needs_a_quorum() {
    let mut cluster = cluster_with_a_key().await;
    let survivor = cluster.leader().await;
    let dead: Vec<_> = cluster
        .ids()
        .into_iter()
        .filter(|&id| id != survivor)
        .collect();
    for &id in &dead {
        cluster.node_mut(id).kill9();
    }
    // Until it notices, a write is taken and not committed: unknown, but answered.
    undecided(cluster.client(survivor).post("/keys/in-between?val=x", "")).await;
    check_survivor(&cluster.client(survivor)).await;
    recovers(&mut cluster, &dead).await;
}

#[tokio::test]
async fn requests_that_pile_up_without_a_quorum_are_all_answered() {
    let mut cluster = cluster_with_a_key().await;
    let survivor = cluster.leader().await;
    let dead: Vec<_> = cluster
        .ids()
        .into_iter()
        .filter(|&id| id != survivor)
        .collect();
    for &id in &dead {
        cluster.node_mut(id).kill9();
    }
    let mut requests = tokio::task::JoinSet::new();
    for n in 0..100 {
        let node = cluster.client(survivor);
        requests.spawn(async move {
            undecided(async {
                match n % 2 {
                    0 => node.post(&format!("/keys/piled-{n}?val=x"), "").await,
                    _ => node.get("/keys/written").await,
                }
            })
            .await
        });
    }
    assert_eq!(requests.join_all().await.len(), 100);
    recovers(&mut cluster, &dead).await;
}

#[tokio::test]
async fn one_of_three_down_changes_nothing_for_clients() {
    let mut cluster = cluster_with_a_key().await;
    let dead = cluster.follower().await;
    cluster.node_mut(dead).kill9();
    for id in cluster.running() {
        let node = cluster.client(id);
        node.put("two-left", id.to_string()).await;
        assert_eq!(
            node.value("two-left").await.expect("written"),
            id.to_string()
        );
    }
    recovers(&mut cluster, &[dead]).await;
}
