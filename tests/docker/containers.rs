//! A cluster in containers, on a network of its own.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;

use reqwest::Method;
use rkv_tests::views::Stats;
use rkv_tests::wait::{GENEROUS, check, until};
use rkv_tests::{Client, Names, Workload};

use crate::engine::{STARTUP, answers, docker, inspect, try_docker, unique_name};
use crate::image::Image;

/// Nodes that know each other by name. Dropping it removes all that was made for it.
#[derive(Debug)]
pub(crate) struct Containers {
    /// The name of the network, and what all other names begin with.
    name: String,
    nodes: BTreeSet<u64>,
    /// Containers that are no nodes.
    others: Vec<String>,
    names: Names,
    // After `drop` has ended the containers.
    image: Arc<Image>,
}

impl Containers {
    /// A cluster of `size` voters, unless there is no engine to run it.
    pub(crate) async fn start(size: u64) -> Option<Self> {
        if !answers() {
            return None;
        }
        let mut cluster = Self {
            name: unique_name(),
            nodes: BTreeSet::new(),
            others: Vec::new(),
            names: Names::default(),
            image: Image::shared(),
        };
        docker(&["network", "create", &cluster.name]);
        for id in 1..=size {
            let members: Vec<_> = (1..id).collect();
            cluster.add(id, &members);
        }
        cluster.ready().await;
        Some(cluster)
    }

    /// The name of a node's container, and its host name for everybody on the network.
    pub(crate) fn host(&self, id: u64) -> String {
        format!("{}-{id}", self.name)
    }

    /// Where its peers reach a node.
    pub(crate) fn raft_addr(&self, id: u64) -> String {
        format!("{}:10001", self.host(id))
    }

    /// Where clients reach a node.
    pub(crate) fn http_addr(&self, id: u64) -> String {
        format!("{}:10002", self.host(id))
    }

    /// The ids of all nodes.
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.nodes.iter().copied().collect()
    }

    /// The ids of all nodes but this one.
    pub(crate) fn others(&self, id: u64) -> Vec<u64> {
        self.ids()
            .into_iter()
            .filter(|&other| other != id)
            .collect()
    }

    /// A client of one node, which finds all of them by name, as they are told to.
    pub(crate) fn client(&self, id: u64) -> Client {
        Client::named(&self.http_addr(id), self.names.clone())
    }

    /// Writers through all nodes.
    pub(crate) fn workload(&self, name: &str) -> Workload {
        let clients = self.ids().into_iter().map(|id| self.client(id));
        Workload::through(clients.collect(), name, 4)
    }

    /// Starts a node that was not there before, with an empty volume.
    pub(crate) fn add(&mut self, id: u64, join: &[u64]) {
        let host = self.host(id);
        let volume = format!("--volume={host}:/data");
        let mut words = self.run(&host, id);
        words.extend(
            [
                &volume,
                "--read-only",
                "--cap-drop=ALL",
                "--security-opt=no-new-privileges",
                "--health-interval=1s",
            ]
            .map(str::to_owned),
        );
        if !join.is_empty() {
            let members: Vec<_> = join.iter().map(|&member| self.http_addr(member)).collect();
            words.push(format!("--env=RKV_JOIN={}", members.join(",")));
        }
        self.nodes.insert(id);
        self.launch(words);
        self.locate(id);
    }

    /// Starts a container that is none of the cluster's, which takes an address.
    pub(crate) fn add_stranger(&mut self) -> IpAddr {
        let host = format!("{}-stranger", self.name);
        self.others.push(host.clone());
        self.launch(self.run(&host, 1));
        address(&host, &self.name).expect("it is on the network")
    }

    /// The words that run a container on the network, but for the image.
    fn run(&self, host: &str, id: u64) -> Vec<String> {
        vec![
            "run".to_owned(),
            "--detach".to_owned(),
            format!("--name={host}"),
            format!("--network={}", self.name),
            format!("--env=RKV_ID={id}"),
            format!("--env=RKV_RAFT_ADVERTISE_ADDR={host}:10001"),
            format!("--env=RKV_SERVER_ADVERTISE_ADDR={host}:10002"),
        ]
    }

    fn launch(&self, mut words: Vec<String>) {
        words.push(self.image.tag().to_owned());
        docker(&words.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// Forgets a node that was removed, and ends its container.
    pub(crate) fn forget(&mut self, id: u64) {
        self.nodes.remove(&id);
        self.others.push(self.host(id));
        docker(&["stop", &self.host(id)]);
    }

    /// SIGKILL.
    pub(crate) fn kill(&self, id: u64) {
        docker(&["kill", &self.host(id)]);
    }

    /// SIGTERM, and SIGKILL if it does not end within half a minute. Returns its exit code.
    pub(crate) fn stop(&self, id: u64) -> i64 {
        docker(&["stop", "--time=30", &self.host(id)]);
        let code = &inspect(&self.host(id))["State"]["ExitCode"];
        code.as_i64().expect("a number")
    }

    /// Starts a container that has ended, with the volume that it had.
    pub(crate) fn start_again(&self, id: u64) {
        docker(&["start", &self.host(id)]);
        self.locate(id);
    }

    /// Takes a node off the network; it goes on running. Clients lose its name, as the engine's own
    /// resolver would see to: whoever gets its address would take their writes for his.
    pub(crate) fn disconnect(&self, id: u64) {
        self.names.forget(&self.host(id));
        docker(&["network", "disconnect", &self.name, &self.host(id)]);
    }

    /// Puts it back.
    pub(crate) fn connect(&self, id: u64) {
        docker(&["network", "connect", &self.name, &self.host(id)]);
        self.locate(id);
    }

    /// Where a node is on the network.
    pub(crate) fn address(&self, id: u64) -> IpAddr {
        address(&self.host(id), &self.name)
            .unwrap_or_else(|| panic!("node {id} has no address: {}", inspect(&self.host(id))))
    }

    fn locate(&self, id: u64) {
        self.names.set(&self.host(id), self.address(id));
    }

    /// Waits until the engine takes every node for healthy, and every node takes all for voters.
    pub(crate) async fn ready(&self) {
        until("all containers are healthy voters", STARTUP, async || {
            for id in self.ids() {
                // Not an `Err`: waiting on does not bring it back.
                let state = inspect(&self.host(id))["State"].take();
                assert_eq!(state["Running"], true, "node {id} has ended by itself");
                let health = state["Health"]["Status"].as_str().unwrap_or("not checked");
                check(health == "healthy", || format!("node {id} is {health}"))?;
                let voters = self.stats(id).await?.voters;
                check(voters == self.ids(), || {
                    format!("node {id} knows the voters {voters:?}")
                })?;
            }
            Ok(())
        })
        .await;
    }

    /// Waits until all of `ids` know the same leader, one of them, and returns it.
    pub(crate) async fn leader(&self, ids: &[u64]) -> u64 {
        let what = format!("{ids:?} have a leader");
        until(&what, GENEROUS, async || {
            let mut leaders = BTreeSet::new();
            for &id in ids {
                leaders.insert(self.stats(id).await?.leader);
            }
            match leaders.first() {
                Some(&Some(leader)) if leaders.len() == 1 && ids.contains(&leader) => Ok(leader),
                _ => Err(format!("{leaders:?}")),
            }
        })
        .await
    }

    async fn stats(&self, id: u64) -> Result<Stats, String> {
        let stats = self.client(id).try_send(Method::GET, "/stats", "").await;
        Ok(stats.map_err(|error| error.to_string())?.expect(200).json())
    }
}

fn address(container: &str, network: &str) -> Option<IpAddr> {
    let seen = inspect(container);
    let address = &seen["NetworkSettings"]["Networks"][network]["IPAddress"];
    address.as_str()?.parse().ok()
}

impl Drop for Containers {
    fn drop(&mut self) {
        let nodes = self.nodes.iter().map(|&id| self.host(id));
        let containers: Vec<_> = nodes.chain(self.others.iter().cloned()).collect();
        if thread::panicking() {
            for container in &containers {
                let _ = std::process::Command::new("docker")
                    .args(["logs", "--tail=60", container])
                    .status();
            }
        }
        let mut removals: Vec<Vec<&str>> = Vec::new();
        removals.extend(containers.iter().map(|name| vec!["rm", "-f", "-v", name]));
        removals.extend(
            containers
                .iter()
                .map(|name| vec!["volume", "rm", "-f", name]),
        );
        removals.push(vec!["network", "rm", &self.name]);
        let done = removals.iter().map(|words| try_docker(words));
        let failed: Vec<_> = done.filter_map(Result::err).collect();
        assert!(
            thread::panicking() || failed.is_empty(),
            "left behind: {failed:#?}"
        );
    }
}
