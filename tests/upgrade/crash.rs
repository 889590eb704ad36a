//! `kill -9` at each step of an upload and an activation: after recovery, one module everywhere.

use bytes::Bytes;
use reqwest::Method;
use rkv_tests::wait::{GENEROUS, check, until};
use rkv_tests::{Cluster, Workload};

use crate::guests::{ModuleView, fsm, kv_v2};

/// What a node can be in the middle of, in the order in which it comes, and how often it came to
/// that already: a node that starts replays the log, and with it the bundled module.
const STEPS: [(&str, u32); 10] = [
    ("module-chunk", 1),
    ("module-before-store", 1),
    ("module-after-store", 1),
    ("activate-before", 1),
    ("previous-before-publish", 0),
    ("previous-after-publish", 0),
    ("activate-with-state", 1),
    ("activate-after", 1),
    ("snapshot-before-publish", 0),
    ("snapshot-after-publish", 0),
];

async fn die_at((step, replayed): (&str, u32), victim_leads: bool) {
    let mut cluster = Cluster::start_with(3, &["--snapshot-entries", "150"]).await;
    let victim = cluster.follower().await;
    cluster.node_mut(victim).kill9();
    cluster.node_mut(victim).spec_mut().failpoints = Some(match replayed {
        0 => format!("{step}=return"),
        times => format!("{step}={times}*off->return"),
    });
    cluster.restart(victim).await;
    while (cluster.leader().await == victim) != victim_leads {
        let leader = cluster.leader().await;
        cluster.node_mut(leader).terminate();
        cluster.node_mut(leader).exit(GENEROUS).await;
        cluster.restart(leader).await;
    }
    let workload = Workload::start(&cluster, step, 4);
    workload.progress(20).await;
    let witness = cluster.ids().into_iter().find(|id| *id != victim);
    let witness = witness.expect("a node that does not die");
    // The leader may die with the request: then somebody asks again.
    let mut module = None;
    until("the module is active", GENEROUS, async || {
        if !cluster.node_mut(victim).is_running() {
            cluster.node_mut(victim).spec_mut().failpoints = None;
            cluster.node_mut(victim).start();
        }
        let client = cluster.client(witness);
        let post = async |path: &str, body: Bytes| {
            let answer = client.try_follow(Method::POST, path, body).await;
            answer.map_err(|error| error.to_string())
        };
        let uploaded = post("/fsm/modules", kv_v2()).await?;
        check([200, 201].contains(&uploaded.status), || {
            uploaded.to_string()
        })?;
        let id = uploaded.json::<ModuleView>().module;
        let target = format!("/fsm/activate?module={id}&expect={}", {
            let active = fsm(&client).await.active;
            if active.module == id {
                module = Some(id);
                return Ok(());
            }
            active.module
        });
        let activated = post(&target, Bytes::new()).await?;
        check(activated.status == 200, || activated.to_string())?;
        module = Some(id);
        Ok(())
    })
    .await;
    // Snapshots come later, by themselves.
    workload.progress(400).await;
    until("the victim has met its failpoint", GENEROUS, async || {
        let met = cluster.node(victim).spec().failpoints.is_none()
            || !cluster.node_mut(victim).is_running();
        check(met, || step.to_owned())
    })
    .await;
    if !cluster.node_mut(victim).is_running() {
        cluster.node_mut(victim).spec_mut().failpoints = None;
        cluster.node_mut(victim).start();
    }
    let history = workload.stop().await;
    cluster.ready().await;
    cluster.equal_digests().await;
    for id in cluster.ids() {
        let active = fsm(&cluster.client(id)).await.active.module;
        assert_eq!(Some(active), module, "node {id} after {step}");
    }
    history.verify_everywhere(&mut cluster).await;
}

#[tokio::test]
async fn a_follower_that_dies_at_any_step_comes_back_to_the_same_module() {
    for step in STEPS {
        die_at(step, false).await;
    }
}

#[tokio::test]
async fn a_leader_that_dies_at_any_step_comes_back_to_the_same_module() {
    for step in STEPS {
        die_at(step, true).await;
    }
}
