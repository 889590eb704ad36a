//! Activation and rollback: on every node, at one index, with nothing lost.

use rkv_tests::wait::{GENEROUS, check, until};
use rkv_tests::{Cluster, Fate, Workload};

use crate::guests::{fsm, kv_v2, ledger, upload};

#[tokio::test]
async fn a_new_version_takes_over_the_state_and_the_old_one_takes_it_back() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    cluster.client(leader).put("before", "1").await;
    let bundled = fsm(&cluster.client(leader)).await.active.module;

    let module = upload(&mut cluster, kv_v2()).await.module;
    let target = format!("/fsm/activate?module={module}&expect={bundled}");
    cluster.client(leader).act(&target, "").await.expect(200);
    cluster.client(leader).put("between", "2").await;
    for id in cluster.ids() {
        let client = cluster.client(id);
        assert_eq!(client.value("before").await.expect("migrated"), "1");
        assert_eq!(client.value("between").await.expect("written"), "2");
        let fsm = fsm(&client).await;
        assert_eq!((fsm.active.module, fsm.active.schema), (module.clone(), 2));
        assert_eq!(fsm.history.last().expect("a history").module, bundled);
    }

    cluster
        .client(leader)
        .act("/fsm/rollback", "")
        .await
        .expect(200);
    let mut since = Vec::new();
    for id in cluster.ids() {
        let client = cluster.client(id);
        assert_eq!(client.value("between").await.expect("taken back"), "2");
        let fsm = fsm(&client).await;
        assert_eq!(
            (fsm.active.module, fsm.active.name.as_str()),
            (bundled.clone(), "kv")
        );
        since.push(fsm.active.since);
    }
    assert!(since.iter().all(|index| *index == since[0]), "{since:?}");
    cluster.agree().await;
}

#[tokio::test]
async fn a_dry_run_tells_what_an_activation_would_do_and_changes_nothing() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let client = cluster.client(leader);
    let before = fsm(&client).await.active;
    for n in 0..50 {
        client.put(&format!("copied-{n}"), "some value").await;
    }
    let fits = upload(&mut cluster, kv_v2()).await.module;
    let unfit = upload(&mut cluster, ledger()).await.module;
    for id in cluster.ids() {
        let client = cluster.client(id);
        let path = |module: &str| format!("/fsm/modules/{module}/dry-run");
        let report: serde_json::Value = client.post(&path(&fits), "").await.expect(200).json();
        assert_eq!(report["accepted"], true, "{report}");
        assert!(report["state_bytes"].as_u64() > Some(500), "{report}");
        assert!(
            report["migrated_bytes"].as_u64() > report["state_bytes"].as_u64(),
            "{report}"
        );
        let report: serde_json::Value = client.post(&path(&unfit), "").await.expect(200).json();
        assert_eq!(report["accepted"], false, "{report}");
        assert!(
            report["reason"]
                .as_str()
                .is_some_and(|why| why.contains("code")),
            "{report}"
        );
    }
    let after = fsm(&client).await.active;
    assert_eq!((after.module, after.since), (before.module, before.since));
    assert_eq!(
        client.value("copied-49").await.expect("there"),
        "some value"
    );
}

#[tokio::test]
async fn writes_go_on_through_ten_switches_and_none_is_lost() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let module = upload(&mut cluster, kv_v2()).await.module;
    let workload = Workload::start(&cluster, "switches", 8);
    for _ in 0..5 {
        workload.progress(50).await;
        let target = format!("/fsm/activate?module={module}");
        cluster.client(leader).act(&target, "").await.expect(200);
        workload.progress(50).await;
        cluster
            .client(leader)
            .act("/fsm/rollback", "")
            .await
            .expect(200);
    }
    let history = workload.stop().await;
    assert_eq!(history.count(Fate::Unknown), 0, "nobody was killed");
    for id in cluster.ids() {
        history.verify(&cluster.client(id)).await;
    }
    cluster.agree().await;
}

#[tokio::test]
async fn a_node_that_was_away_and_one_that_joins_later_run_the_new_module() {
    let mut cluster =
        Cluster::start_with(3, &["--snapshot-entries", "50", "--keep-entries", "5"]).await;
    let away = cluster.follower().await;
    let module = upload(&mut cluster, kv_v2()).await.module;
    cluster.node_mut(away).kill9();
    let leader = cluster.leader().await;
    let client = cluster.client(leader);
    // Every voter has to have the module ready, and this one cannot say so.
    let target = format!("/fsm/activate?module={module}");
    let refused = client.post(&target, "").await.problem(409);
    assert!(
        refused.detail.contains(&away.to_string()),
        "{}",
        refused.detail
    );

    cluster.restart(away).await;
    until("the module can be activated", GENEROUS, async || {
        let answer = cluster.client(leader).act(&target, "").await;
        check(answer.status == 200, || format!("{answer:?}"))
    })
    .await;
    cluster.node_mut(away).kill9();
    for n in 0..200 {
        cluster
            .client(leader)
            .put(&format!("meanwhile-{n}"), "x")
            .await;
    }
    cluster.restart(away).await;
    cluster.grow_to(4).await;
    cluster.agree().await;
    for id in cluster.ids() {
        assert_eq!(fsm(&cluster.client(id)).await.active.module, module);
    }
}

#[tokio::test]
async fn a_ledger_takes_the_place_of_the_store_if_it_may_start_empty() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    cluster.client(leader).put("kept", "1").await;
    let bundled = fsm(&cluster.client(leader)).await.active.module;
    let module = upload(&mut cluster, ledger()).await.module;
    let client = cluster.client(leader);

    // It cannot read the store's state: nothing changes.
    let target = format!("/fsm/activate?module={module}");
    client.act(&target, "").await.problem(422);
    assert_eq!(fsm(&client).await.active.module, bundled);
    assert_eq!(client.value("kept").await.expect("still there"), "1");

    client
        .act(&format!("{target}&state=reset"), "")
        .await
        .expect(200);
    client.get("/keys/kept").await.problem(501);
    let garbage = client.act("/fsm/apply", "no command").await.problem(422);
    assert!(garbage.detail.contains("code 1"), "{}", garbage.detail);
    for id in cluster.ids() {
        let client = cluster.client(id);
        until("every node has switched", GENEROUS, async || {
            let active = fsm(&client).await.active.module;
            check(active == module, || active)
        })
        .await;
    }
}
