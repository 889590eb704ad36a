//! Links between nodes that fail while all of them run.

use std::collections::BTreeSet;

use rkv_tests::wait::{GENEROUS, check, until};
use rkv_tests::{Cluster, Links, Traffic};

async fn cluster_behind(links: &Links) -> Cluster {
    let mut cluster = Cluster::behind(links.clone(), &[]);
    cluster.grow_to(3).await;
    cluster
}

#[tokio::test]
async fn nodes_are_called_where_they_advertise() {
    let mut cluster = cluster_behind(&Links::default()).await;
    let servers = cluster.client(1).servers().await;
    for server in servers {
        let spec = cluster.node(server.id).spec();
        assert_ne!(server.addr, spec.raft_addr.to_string());
        assert_eq!(
            Some(server.addr),
            spec.raft_advertise_addr.map(|a| a.to_string())
        );
    }
    // It is known there already, and does not ask to be admitted at another address.
    cluster.node_mut(2).kill9();
    cluster.restart(2).await;
    assert!(!cluster.node(2).log().contains("admitted"));
}

/// One that hears nobody steps down, and loses what only it has; one that only hears, or is only
/// heard, does not hold the others up either.
#[tokio::test]
async fn a_leader_that_is_cut_off_is_replaced_and_follows_when_it_is_back() {
    let links = Links::default();
    let mut cluster = cluster_behind(&links).await;
    for cut in ["both ways", "from it", "to it"] {
        let old = cluster.leader().await;
        let cut_off = BTreeSet::from([old]);
        let rest: BTreeSet<_> = cluster.ids().into_iter().filter(|&id| id != old).collect();
        if cut != "to it" {
            links.set_each(&cut_off, &rest, Traffic::Swallow);
        }
        if cut != "from it" {
            links.set_each(&rest, &cut_off, Traffic::Swallow);
        }
        until(
            &format!("the rest serves, cut {cut}"),
            GENEROUS,
            async || {
                for &id in &rest {
                    let leader = cluster.client(id).stats().await.leader;
                    check(leader.is_some_and(|id| rest.contains(&id)), || {
                        format!("node {id} knows the leader {leader:?}")
                    })?;
                }
                Ok(())
            },
        )
        .await;
        let through = rest.first().copied().expect("two are left");
        cluster.client(through).put(cut, "x").await;
        links.heal();
        cluster.ready().await;
        assert_eq!(
            cluster.client(old).value(cut).await.expect("caught up"),
            "x"
        );
        cluster.agree().await;
    }
}
