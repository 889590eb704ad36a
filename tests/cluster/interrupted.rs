//! A node that dies at a named point of a step that has several.

use rkv_tests::Cluster;
use rkv_tests::wait::{GENEROUS, check, until};

const FLAGS: [&str; 4] = ["--snapshot-entries", "100", "--keep-entries", "5"];

/// Starts a node that dies when it comes to `point`, and waits until it has.
async fn die_at(cluster: &mut Cluster, id: u64, point: &str) {
    cluster.node_mut(id).spec_mut().failpoints = Some(format!("{point}=return"));
    cluster.node_mut(id).start();
    let exit = cluster.node_mut(id).exit(GENEROUS).await;
    assert!(exit.status.code().is_none(), "{point}: {}", exit.status);
    cluster.node_mut(id).spec_mut().failpoints = None;
}

/// Writes until the log no longer reaches back to what a node that is away has.
async fn outrun(cluster: &mut Cluster, away: u64, last: Option<u64>) {
    let leader = cluster.leader().await;
    assert_ne!(leader, away);
    until("only a snapshot helps", GENEROUS, async || {
        for n in 0..50 {
            cluster.client(leader).put(&format!("key-{n}"), "x").await;
        }
        for id in cluster.running() {
            // The log behind the older of two snapshots stays, and is purged a moment later.
            let snapshots = cluster.client(id).stats().await.fsm.snapshots;
            let enough = last.map_or(0, |last| last + 250);
            check(snapshots.first() > Some(&enough), || {
                format!("{snapshots:?}")
            })?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_follower_that_dies_while_it_receives_a_snapshot_gets_it_in_the_end() {
    let mut cluster = Cluster::start_with(3, &FLAGS).await;
    let away = cluster.follower().await;
    let last = cluster.client(away).stats().await.last_log_index;
    cluster.node_mut(away).kill9();
    outrun(&mut cluster, away, last).await;
    for point in [
        "snapshot-receive",
        "snapshot-received",
        "install-before",
        "install-after",
    ] {
        die_at(&mut cluster, away, point).await;
    }
    cluster.restart(away).await;
    cluster.agree().await;
}

#[tokio::test]
async fn a_leader_that_dies_while_it_sends_a_snapshot_does_so_when_it_is_back() {
    let mut cluster = Cluster::start_with(3, &FLAGS).await;
    let away = cluster.follower().await;
    let last = cluster.client(away).stats().await.last_log_index;
    cluster.node_mut(away).kill9();
    outrun(&mut cluster, away, last).await;
    // Both others are armed: whoever leads dies when it sends.
    let others: Vec<u64> = cluster.running();
    for &id in &others {
        cluster.node_mut(id).kill9();
        cluster.node_mut(id).spec_mut().failpoints = Some("snapshot-send=return".to_owned());
    }
    for id in cluster.ids() {
        cluster.node_mut(id).start();
    }
    until("a sender has died", GENEROUS, async || {
        let running = others.iter().all(|&id| cluster.node_mut(id).is_running());
        check(!running, || "all nodes run".to_owned())
    })
    .await;
    for &id in &others {
        cluster.node_mut(id).kill9();
        cluster.node_mut(id).spec_mut().failpoints = None;
        cluster.node_mut(id).start();
    }
    cluster.ready().await;
    cluster.agree().await;
}

#[tokio::test]
async fn a_node_that_dies_around_an_append_or_an_apply_has_what_it_acknowledged() {
    let mut cluster = Cluster::start(1).await;
    let mut written = 0;
    for point in [
        "log-before-commit",
        "log-after-commit",
        "apply-before",
        "apply-after",
    ] {
        cluster.node_mut(1).kill9();
        // Its first entries are those of its election.
        let armed = format!("{point}=40*off->return");
        cluster.node_mut(1).spec_mut().failpoints = Some(armed);
        cluster.restart(1).await;
        while cluster.node_mut(1).is_running() {
            let path = format!("/keys/key-{written}?val=x");
            let answer = cluster
                .client(1)
                .try_send(reqwest::Method::POST, &path, "")
                .await;
            if answer.is_ok_and(|answer| answer.status == 200) {
                written += 1;
            }
        }
        cluster.node_mut(1).spec_mut().failpoints = None;
        cluster.restart(1).await;
        let node = cluster.client(1);
        for n in 0..written {
            let value = node.value(&format!("key-{n}")).await;
            assert_eq!(value.as_deref(), Some(&b"x"[..]), "key-{n} after {point}");
        }
    }
    assert!(written > 60, "{written}");
}
