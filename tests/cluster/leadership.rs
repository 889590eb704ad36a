//! Leadership that is handed over on request, and removals that touch the leader or the quorum.

use reqwest::Method;
use rkv_tests::wait::{GENEROUS, check, until};
use rkv_tests::{Cluster, Workload};
use serde::Deserialize;

#[derive(Debug, PartialEq, Deserialize)]
struct Leadership {
    leader: u64,
    term: u64,
}

fn removal(cluster: &Cluster, id: u64) -> String {
    format!("/nodes/{id}?addr={}", cluster.node(id).spec().raft_addr)
}

/// Kills a follower of three nodes. Returns the leader, the other follower, and the dead one.
async fn lose_one(cluster: &mut Cluster) -> (u64, u64, u64) {
    let leader = cluster.leader().await;
    let ids = cluster.ids();
    let others: Vec<_> = ids.into_iter().filter(|&id| id != leader).collect();
    let (dead, alive) = (others[0], others[1]);
    cluster.node_mut(dead).kill9();
    (leader, alive, dead)
}

#[tokio::test]
async fn leadership_moves_on_under_writes_and_nothing_is_lost() {
    let mut cluster = Cluster::start(3).await;
    let workload = Workload::start(&cluster, "handed", 4);
    let mut term = 0;
    for _ in 0..3 {
        let old = cluster.leader().await;
        let heir = cluster.follower().await;
        workload.progress(20).await;
        // Through the heir, which sends it to the leader.
        let target = format!("/leader?id={heir}");
        let answer = cluster.client(heir).follow(Method::POST, &target, "").await;
        let now: Leadership = answer.expect(200).json();
        assert!(
            now.leader == heir && now.term > term,
            "{now:?} after {term}"
        );
        term = now.term;
        let write = format!("/keys/by-{heir}?val=x");
        let redirect = cluster.client(old).post(&write, "").await;
        let leader = cluster.node(heir).spec().http_addr;
        assert_eq!(redirect.location(), format!("http://{leader}{write}"));
        cluster.client(heir).post(&write, "").await.expect(200);
    }
    workload.progress(20).await;
    workload.stop().await.verify_everywhere(&mut cluster).await;
}

#[tokio::test]
async fn a_node_that_leads_already_is_told_so() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let term = cluster.client(leader).stats().await.term;
    let target = format!("/leader?id={leader}");
    let answer = cluster.client(leader).post(&target, "").await.expect(200);
    assert_eq!(answer.json::<Leadership>(), Leadership { leader, term });
}

#[tokio::test]
async fn a_node_that_has_just_died_does_not_get_leadership() {
    let mut cluster = Cluster::start(3).await;
    let dead = cluster.follower().await;
    let leader = cluster.leader().await;
    let term = cluster.client(leader).stats().await.term;
    cluster.node_mut(dead).kill9();
    let target = format!("/leader?id={dead}");
    let problem = cluster.client(leader).post(&target, "").await.problem(409);
    assert_eq!(problem.code, "unfit_leader");
    assert!(problem.detail.contains("does not answer"), "{problem:?}");
    cluster
        .client(leader)
        .post("/keys/on?val=x", "")
        .await
        .expect(200);
    assert_eq!(cluster.client(leader).stats().await.term, term);
}

#[tokio::test]
async fn a_learner_does_not_get_leadership() {
    let mut cluster = Cluster::start(1).await;
    let learner = cluster.prepare();
    // It dies before it has any of the log, so it is a member that is not promoted.
    let armed = "log-before-commit=return".to_owned();
    cluster.node_mut(learner).spec_mut().failpoints = Some(armed);
    cluster.node_mut(learner).start();
    until("there is a learner", GENEROUS, async || {
        let stats = cluster.client(1).stats().await;
        check(stats.learners == [learner], || format!("{stats:?}"))
    })
    .await;
    let target = format!("/leader?id={learner}");
    // The request that added it may have its turn still, and waits for it to catch up.
    let problem = until("the node is refused", GENEROUS, async || {
        let answer = cluster.client(1).post(&target, "").await;
        check(answer.status != 503, || answer.to_string())?;
        Ok(answer.problem(409))
    })
    .await;
    assert_eq!(problem.code, "unfit_leader");
    assert!(problem.detail.contains("learner"), "{problem:?}");
    cluster.client(1).put("on", "x").await;
}

#[tokio::test]
async fn a_leader_is_removed_under_writes_by_the_one_that_follows_it() {
    let mut cluster = Cluster::start(3).await;
    let old = cluster.leader().await;
    let rest: Vec<_> = cluster.ids().into_iter().filter(|&id| id != old).collect();
    let workload = Workload::start(&cluster, "removed", 4);
    workload.progress(20).await;
    let target = removal(&cluster, old);
    let redirect = cluster.client(old).delete(&target).await;
    let new = redirect.location().to_owned();
    let heir = rest
        .iter()
        .copied()
        .find(|&id| new.contains(&cluster.node(id).spec().http_addr.to_string()))
        .unwrap_or_else(|| panic!("{new} is none of {rest:?}"));
    // It leads already: else it would answer what it was sent with `no_leader`.
    assert_eq!(cluster.client(heir).stats().await.leader, Some(heir));
    let other = cluster
        .client(old)
        .follow(Method::DELETE, &target, "")
        .await;
    other.expect(200);
    workload.progress(20).await;
    let history = workload.stop().await;
    cluster.forget(old);
    let leader = cluster.leader().await;
    assert_eq!(cluster.client(leader).stats().await.voters, rest);
    history.verify_everywhere(&mut cluster).await;
}

#[tokio::test]
async fn a_removal_that_costs_the_quorum_is_refused() {
    let mut cluster = Cluster::start(3).await;
    let (leader, alive, dead) = lose_one(&mut cluster).await;
    for id in [alive, leader] {
        let target = removal(&cluster, id);
        let problem = cluster.client(leader).delete(&target).await.problem(409);
        assert_eq!(problem.code, "costs_quorum", "{problem:?}");
        assert!(problem.detail.contains(&format!("[{dead}]")), "{problem:?}");
        let maybe = format!("{target}&force=maybe");
        cluster.client(leader).delete(&maybe).await.problem(400);
    }
    let mut voters = cluster.client(leader).stats().await.voters;
    voters.sort_unstable();
    assert_eq!(voters, cluster.ids());
    cluster.client(leader).put("still", "x").await;
    // The dead one costs nothing.
    let target = removal(&cluster, dead);
    cluster.client(leader).delete(&target).await.expect(200);
    cluster.forget(dead);
    cluster.client(leader).put("without", "x").await;
    cluster.agree().await;
}

#[tokio::test]
async fn a_forced_removal_is_done_once_enough_voters_answer() {
    let mut cluster = Cluster::start(3).await;
    let (leader, alive, dead) = lose_one(&mut cluster).await;
    let target = format!("{}&force=true", removal(&cluster, alive));
    let problem = cluster.client(leader).delete(&target).await.problem(504);
    assert_eq!(problem.outcome.as_deref(), Some("unknown"));
    cluster.node_mut(dead).start();
    until("the node is removed", GENEROUS, async || {
        let target = removal(&cluster, alive);
        let answer = cluster
            .client(leader)
            .follow(Method::DELETE, &target, "")
            .await;
        check([200, 404].contains(&answer.status), || answer.to_string())
    })
    .await;
    cluster.forget(alive);
    cluster.ready().await;
    let leader = cluster.leader().await;
    cluster.client(leader).put("after", "x").await;
    cluster.agree().await;
}
