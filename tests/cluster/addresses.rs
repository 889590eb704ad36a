//! Nodes that come back at other addresses, and nodes that are known by a name.

use std::net::SocketAddr;

use rkv_tests::wait::{GENEROUS, check, until};
use rkv_tests::{Cluster, Loopback};

/// Kills a node, and starts it with new ports and no word on whom to join. It has to find its way back, and be
/// found there.
async fn moves(cluster: &mut Cluster, id: u64) {
    cluster.node_mut(id).kill9();
    let other = cluster.leader().await;
    let spare = cluster.prepare();
    let new = cluster.node(spare).spec().clone();
    cluster.forget(spare);
    let spec = cluster.node_mut(id).spec_mut();
    (spec.raft_addr, spec.http_addr) = (new.raft_addr, new.http_addr);
    spec.join.clear();
    cluster.restart(id).await;
    until("the members know its addresses", GENEROUS, async || {
        let servers = cluster.client(other).servers().await;
        let found = servers.iter().find(|server| server.id == id);
        let there = found.is_some_and(|server| {
            server.addr == new.raft_addr.to_string()
                && server.http_addr == new.http_addr.to_string()
        });
        check(there, || format!("{servers:?}"))
    })
    .await;
    cluster.client(other).put("moved", "x").await;
    cluster.agree().await;
}

#[tokio::test]
async fn a_follower_that_restarts_at_new_addresses_is_found_there() {
    let mut cluster = Cluster::start(3).await;
    let follower = cluster.follower().await;
    moves(&mut cluster, follower).await;
}

#[tokio::test]
async fn a_leader_that_restarts_at_new_addresses_is_found_there() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    moves(&mut cluster, leader).await;
}

/// `localhost` is 127.0.0.1, and on many machines ::1 before that, where nobody listens.
#[tokio::test]
async fn nodes_that_are_known_by_name_are_called_by_it() {
    let mut cluster = Cluster::empty(&[]);
    let mut local = Loopback::with_a_name();
    let mut by_name = || -> (SocketAddr, String) {
        let address = local.free().expect("a port");
        (address, format!("localhost:{}", address.port()))
    };
    let mut names = Vec::new();
    for _ in 0..3 {
        let id = cluster.prepare();
        let ((raft_addr, raft_name), (http_addr, http_name)) = (by_name(), by_name());
        let spec = cluster.node_mut(id).spec_mut();
        (spec.raft_addr, spec.http_addr) = (raft_addr, http_addr);
        spec.join.clear();
        let advertised = [
            "--raft-advertise-addr",
            &raft_name,
            "--server-advertise-addr",
        ];
        spec.flags.extend(advertised.map(str::to_owned));
        spec.flags.push(http_name.clone());
        if let Some((_, first)) = names.first() {
            spec.flags
                .extend(["--join".to_owned(), String::clone(first)]);
        }
        names.push((raft_name, http_name));
        cluster.node_mut(id).start();
        cluster.ready().await;
    }
    let mut servers = cluster.client(1).servers().await;
    servers.sort_by_key(|server| server.id);
    let known = servers
        .into_iter()
        .map(|server| (server.addr, server.http_addr));
    assert_eq!(known.collect::<Vec<_>>(), names);

    // Connections are made anew, to and from each of them.
    for id in cluster.ids() {
        cluster.node_mut(id).kill9();
        cluster.restart(id).await;
    }
    let leader = cluster.leader().await;
    cluster.client(leader).put("named", "x").await;
    cluster.agree().await;
}
