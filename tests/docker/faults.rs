//! Containers that are cut off, killed, restarted, while clients write.

use rkv_tests::wait::{GENEROUS, check, until};

use crate::containers::Containers;
use crate::engine::{health, inspect};

/// Peers find each other by name each time they dial, so an address that belongs to somebody else by
/// then, another first node even, misleads nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_cut_off_comes_back_by_itself_at_another_address() {
    let Some(mut cluster) = Containers::start(3).await else {
        return;
    };
    let workload = cluster.workload("cut-off");
    workload.progress(20).await;

    let cut_off = cluster.leader(&cluster.ids()).await;
    let before = cluster.address(cut_off);
    let started = inspect(&cluster.host(cut_off))["State"]["StartedAt"].clone();
    cluster.disconnect(cut_off);
    cluster.leader(&cluster.others(cut_off)).await;
    workload.progress(50).await;
    until("it is known to be cut off", GENEROUS, async || {
        let health = health(&cluster.host(cut_off));
        check(health == "unhealthy", || health)
    })
    .await;

    let taken = cluster.add_stranger();
    cluster.connect(cut_off);
    let after = cluster.address(cut_off);
    eprintln!("node {cut_off} was at {before} and is at {after}; a stranger is at {taken}");
    assert_ne!(before, after, "it shows nothing at the same address");
    cluster.ready().await;
    workload.progress(20).await;
    assert_eq!(
        inspect(&cluster.host(cut_off))["State"]["StartedAt"],
        started
    );

    let history = workload.stop().await;
    for id in cluster.ids() {
        history.verify(&cluster.client(id)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_container_goes_on_with_its_volume() {
    let Some(cluster) = Containers::start(3).await else {
        return;
    };
    let workload = cluster.workload("killed");
    workload.progress(20).await;

    let killed = cluster.leader(&cluster.ids()).await;
    cluster.kill(killed);
    cluster.leader(&cluster.others(killed)).await;
    workload.progress(50).await;
    cluster.start_again(killed);
    cluster.ready().await;

    let history = workload.stop().await;
    for id in cluster.ids() {
        history.verify(&cluster.client(id)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_no_acknowledged_write() {
    let Some(cluster) = Containers::start(3).await else {
        return;
    };
    let workload = cluster.workload("rolling");
    for id in cluster.ids() {
        workload.progress(20).await;
        // 137 would be a SIGKILL: it did not end in time.
        assert_eq!(cluster.stop(id), 0, "node {id}");
        workload.progress(20).await;
        cluster.start_again(id);
        cluster.ready().await;
    }
    let history = workload.stop().await;
    for id in cluster.ids() {
        history.verify(&cluster.client(id)).await;
    }
}
