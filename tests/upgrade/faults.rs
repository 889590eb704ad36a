//! A module that misbehaves costs the request that made it, and nothing else.

use rkv_tests::Cluster;
use rkv_tests::wait::{GENEROUS, check, until};

use crate::guests::{faulty, fsm, upload};

/// A cluster that runs the faulty module, and its leader.
async fn start(flags: &[&str]) -> (Cluster, u64) {
    let mut cluster = Cluster::start_with(3, flags).await;
    let module = upload(&mut cluster, faulty()).await.module;
    let leader = cluster.leader().await;
    // Little fuel, so that what never ends is soon at its end, and little memory likewise.
    let limits = "fuel=50000000&memory_mb=64";
    let target = format!("/fsm/activate?module={module}&state=reset&{limits}");
    cluster.client(leader).act(&target, "").await.expect(200);
    (cluster, leader)
}

#[tokio::test]
async fn a_command_that_traps_is_undone_and_the_next_one_works() {
    let (cluster, leader) = start(&[]).await;
    let client = cluster.client(leader);
    assert_eq!(
        client.act("/fsm/apply", "add").await.expect(200).text(),
        "1"
    );
    for bad in ["panic", "spin", "recurse", "eat"] {
        let problem = client.act("/fsm/apply", bad).await.problem(422);
        assert_eq!(problem.code, "trapped", "{bad}");
    }
    client.act("/fsm/apply", "refuse").await.problem(422);
    assert_eq!(
        client.act("/fsm/apply", "add").await.expect(200).text(),
        "2"
    );
    for id in cluster.ids() {
        let answer = cluster.client(id).post("/fsm/query", "get").await;
        assert_eq!(answer.expect(200).text(), "2", "node {id}");
    }
}

#[tokio::test]
async fn a_query_that_traps_costs_nobodys_state() {
    let (cluster, leader) = start(&[]).await;
    let client = cluster.client(leader);
    client.act("/fsm/apply", "add").await.expect(200);
    for bad in ["panic", "spin", "recurse"] {
        client.post("/fsm/query", bad).await.problem(422);
    }
    assert_eq!(
        client.post("/fsm/query", "get").await.expect(200).text(),
        "1"
    );
}

/// A module that has kept its calls short is called by whoever needs it, and not on a thread of its own.
#[tokio::test]
async fn what_traps_in_place_costs_no_more_than_elsewhere() {
    const SHORT_CALLS: usize = 100;
    let (mut cluster, leader) = start(&[]).await;
    let client = cluster.client(leader);
    let mut count = 0;
    for bad in ["panic", "spin", "recurse", "eat"] {
        for _ in 0..SHORT_CALLS {
            count += 1;
            let answer = client.act("/fsm/apply", "add").await.expect(200);
            assert_eq!(answer.text(), count.to_string());
        }
        let problem = client.act("/fsm/apply", bad).await.problem(422);
        assert_eq!(problem.code, "trapped", "{bad}");
    }
    for bad in ["panic", "spin", "recurse"] {
        for target in ["/fsm/query", "/fsm/query?consistency=stale"] {
            for _ in 0..SHORT_CALLS {
                let answer = client.post(target, "get").await.expect(200);
                assert_eq!(answer.text(), count.to_string());
            }
            client.post(target, bad).await.problem(422);
        }
    }
    cluster.equal_digests().await;
    for id in cluster.ids() {
        let log = cluster.node(id).log();
        assert!(log.contains("commands failed in place"), "node {id}: {log}");
    }
    let log = cluster.node(leader).log();
    assert!(log.contains("queries failed in place"), "{log}");
}

#[tokio::test]
async fn a_snapshot_that_traps_stops_no_node() {
    let (cluster, leader) = start(&["--snapshot-entries", "40"]).await;
    let client = cluster.client(leader);
    client.act("/fsm/apply", "break-snapshot").await.expect(200);
    for n in 1..=200 {
        let answer = client.act("/fsm/apply", "add").await.expect(200);
        assert_eq!(answer.text(), n.to_string());
    }
    for id in cluster.ids() {
        let client = cluster.client(id);
        client.get("/health").await.expect(200);
        assert_eq!(
            client.post("/fsm/query", "get").await.expect(200).text(),
            "200"
        );
    }
}

#[tokio::test]
async fn an_old_module_that_cannot_be_asked_for_its_state_stays_until_it_is_gone_around() {
    let (mut cluster, leader) = start(&[]).await;
    let client = cluster.client(leader);
    client.act("/fsm/apply", "add").await.expect(200);
    client.act("/fsm/apply", "break-snapshot").await.expect(200);
    let active = fsm(&client).await.active;
    let again = format!("/fsm/activate?module={}", active.module);
    for _ in 0..2 {
        let refused = client.act(&again, "").await.problem(422);
        assert!(
            refused.detail.contains("from=snapshot"),
            "{}",
            refused.detail
        );
    }
    assert_eq!(fsm(&client).await.active.since, active.since);
    cluster.equal_digests().await;
    let reset = format!("{again}&state=reset");
    client.act(&reset, "").await.expect(200);
    for id in cluster.ids() {
        let client = cluster.client(id);
        until("every node has switched", GENEROUS, async || {
            let answer = client.post("/fsm/query", "get").await.expect(200);
            check(answer.text() == "0", || answer.text().to_owned())
        })
        .await;
    }
    cluster.equal_digests().await;
}

/// Its state is lost on the node that restarts, and good on those that never had to restore it.
#[tokio::test]
async fn a_node_that_cannot_restore_its_state_follows_and_takes_the_next_one() {
    let (mut cluster, leader) = start(&["--snapshot-entries", "30", "--keep-entries", "5"]).await;
    let client = cluster.client(leader);
    client.act("/fsm/apply", "trap-restore").await.expect(200);
    for _ in 0..80 {
        client.act("/fsm/apply", "add").await.expect(200);
    }
    let follower = cluster.follower().await;
    until("a snapshot has the broken state", GENEROUS, async || {
        let stats = cluster.client(follower).stats().await;
        check(stats.snapshot_index > Some(60), || format!("{stats:?}"))
    })
    .await;
    cluster.node_mut(follower).kill9();
    cluster.node_mut(follower).start();
    let halted = cluster.client(follower);
    until("the node says what it lacks", GENEROUS, async || {
        let answer = halted.try_send(reqwest::Method::GET, "/health", "").await;
        let answer = answer.map_err(|error| error.to_string())?;
        check(answer.status == 503, || answer.to_string())
    })
    .await;
    let problem = halted.post("/fsm/query?consistency=stale", "get").await;
    let problem = problem.problem(503);
    assert_eq!(problem.code, "quarantined", "{}", problem.detail);

    // It still counts for the quorum.
    let other = cluster
        .ids()
        .into_iter()
        .find(|id| ![leader, follower].contains(id))
        .expect("a third node");
    cluster.node_mut(other).kill9();
    client.act("/fsm/apply", "add").await.expect(200);
    cluster.node_mut(other).start();
    let active = fsm(&client).await.active;
    until("every voter is ready again", GENEROUS, async || {
        let reset = format!("/fsm/activate?module={}&state=reset", active.module);
        let answer = client.act(&reset, "").await;
        check(answer.status == 200, || format!("{answer:?}"))
    })
    .await;
    for _ in 0..40 {
        client.act("/fsm/apply", "add").await.expect(200);
    }
    until("the nodes are repaired", GENEROUS, async || {
        for id in cluster.ids() {
            let answer = cluster.client(id).get("/health").await;
            check(answer.status == 200, || format!("node {id}: {answer}"))?;
        }
        Ok(())
    })
    .await;
    cluster.equal_digests().await;
    for id in cluster.ids() {
        let answer = cluster.client(id).post("/fsm/query", "get").await;
        assert_eq!(answer.expect(200).text(), "40", "node {id}");
    }
}

/// Whoever runs a module that cannot restore what it saved finds out at the next restart, on every
/// node. The cluster elects, says what is wrong, and lets the operator mend it.
#[tokio::test]
async fn a_cluster_that_lost_its_state_everywhere_can_be_given_another_module() {
    let (mut cluster, leader) = start(&["--snapshot-entries", "30", "--keep-entries", "5"]).await;
    let client = cluster.client(leader);
    let active = fsm(&client).await.active;
    client.act("/fsm/apply", "trap-restore").await.expect(200);
    for _ in 0..80 {
        client.act("/fsm/apply", "add").await.expect(200);
    }
    for id in cluster.ids() {
        until("a snapshot has the broken state", GENEROUS, async || {
            let stats = cluster.client(id).stats().await;
            check(stats.snapshot_index > Some(60), || format!("{stats:?}"))
        })
        .await;
    }
    for id in cluster.ids() {
        cluster.node_mut(id).kill9();
    }
    for id in cluster.ids() {
        cluster.node_mut(id).start();
    }
    let client = cluster.client(leader);
    let post = async |path: String| {
        let answer = client.try_follow(reqwest::Method::POST, &path, "").await;
        answer.map_err(|error| error.to_string())
    };
    let target = format!("/fsm/activate?module={}", active.module);
    until("the leader says what it lacks", GENEROUS, async || {
        let answer = post(target.clone()).await?;
        check(answer.status == 409, || answer.to_string())?;
        let detail = answer.problem(409).detail;
        check(detail.contains("state=reset"), || detail)
    })
    .await;
    let applied = post("/fsm/apply".to_owned()).await.expect("an answer");
    assert_eq!(applied.problem(503).code, "quarantined");

    until("the module starts over", GENEROUS, async || {
        let answer = post(format!("{target}&state=reset")).await?;
        check(answer.status == 200, || answer.to_string())
    })
    .await;
    let leader = cluster.leader().await;
    for n in 1..=50 {
        let answer = cluster.client(leader).act("/fsm/apply", "add").await;
        assert_eq!(answer.expect(200).text(), n.to_string());
    }
    cluster.equal_digests().await;
}

#[tokio::test]
async fn a_module_that_cannot_restore_the_state_is_refused_on_every_node() {
    let (mut cluster, leader) = start(&[]).await;
    let client = cluster.client(leader);
    client.act("/fsm/apply", "add").await.expect(200);
    // A failure, and a trap, in the middle of the restore.
    for bad in ["break-restore", "trap-restore"] {
        client.act("/fsm/apply", bad).await.expect(200);
        let active = fsm(&client).await.active;
        let again = format!("/fsm/activate?module={}", active.module);
        client.act(&again, "").await.problem(422);
        assert_eq!(fsm(&client).await.active.since, active.since);
        let path = format!("/fsm/modules/{}/dry-run", active.module);
        let report: serde_json::Value = client.post(&path, "").await.expect(200).json();
        assert_eq!(report["accepted"], false, "{report}");
    }
    assert_eq!(
        client.act("/fsm/apply", "add").await.expect(200).text(),
        "2"
    );
    cluster.equal_digests().await;
}
