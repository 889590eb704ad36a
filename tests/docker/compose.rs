//! `hack/compose.yml`, with other ports than those of the loopback cluster.

use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use reqwest::Method;
use rkv_tests::views::Stats;
use rkv_tests::wait::{check, until};
use rkv_tests::{Client, Names};

use crate::engine::{STARTUP, answers, assert_confined, docker, health, inspect, run, unique_name};
use crate::image::{Image, repository};

const NODES: [u16; 3] = [1, 2, 3];

/// Below the ports that the system hands out by itself.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A project of compose. Dropping it removes all of it.
struct Project {
    name: String,
    /// The words that run compose.
    program: &'static [&'static str],
    /// The port for peers of the first node, the one for clients, the first of the second node, ...
    ports: Vec<u16>,
    names: Names,
    image: Arc<Image>,
}

impl Project {
    /// One that is not started yet, unless there is nothing to run it.
    fn new() -> Option<Self> {
        if !answers() {
            return None;
        }
        let programs: [&'static [&'static str]; 2] = [&["docker", "compose"], &["docker-compose"]];
        let there = |words: &&&[&str]| {
            let version = Command::new(words[0])
                .args(&words[1..])
                .arg("version")
                .output();
            version.is_ok_and(|output| output.status.success())
        };
        let Some(program) = programs.iter().find(there) else {
            eprintln!("SKIPPED: there is neither docker compose nor docker-compose");
            return None;
        };
        let names = Names::default();
        for id in NODES {
            // As curl and browsers do it.
            names.set(&format!("node-{id}.localhost"), Ipv4Addr::LOCALHOST.into());
        }
        Some(Self {
            name: unique_name(),
            program,
            ports: free_ports(),
            names,
            image: Image::shared(),
        })
    }

    fn compose(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new(self.program[0]);
        command
            .args(&self.program[1..])
            .args(["-p", &self.name, "-f"])
            .arg(repository().join("hack/compose.yml"))
            .args(words)
            .env("RKV_IMAGE", self.image.tag());
        for (id, ports) in NODES.iter().zip(self.ports.chunks(2)) {
            command.env(format!("RKV_RAFT_PORT_{id}"), ports[0].to_string());
            command.env(format!("RKV_HTTP_PORT_{id}"), ports[1].to_string());
        }
        run(command)
    }

    fn up(&self) {
        self.compose(&["up", "-d"])
            .unwrap_or_else(|failed| panic!("{failed}"));
    }

    fn http_addr(&self, id: u16) -> String {
        let port = self.ports[usize::from(id) * 2 - 1];
        format!("node-{id}.localhost:{port}")
    }

    fn client(&self, id: u16) -> Client {
        Client::named(&self.http_addr(id), self.names.clone())
    }

    fn container(&self, id: u16) -> String {
        self.compose(&["ps", "-q", &format!("node-{id}")])
            .unwrap_or_else(|failed| panic!("{failed}"))
    }

    /// Waits until all are healthy voters.
    async fn ready(&self) {
        until("the services are healthy voters", STARTUP, async || {
            for id in NODES {
                let health = health(&self.container(id));
                check(health == "healthy", || format!("node {id} is {health}"))?;
                let stats = self.client(id).try_send(Method::GET, "/stats", "").await;
                let stats: Stats = stats.map_err(|error| error.to_string())?.expect(200).json();
                check(stats.voters == [1, 2, 3], || format!("{stats:?}"))?;
            }
            Ok(())
        })
        .await;
    }

    /// What the engine has under this project's name.
    fn remains(&self) -> Vec<String> {
        let label = format!("label=com.docker.compose.project={}", self.name);
        let lists: [&[&str]; 3] = [
            &["ps", "-aq"],
            &["network", "ls", "-q"],
            &["volume", "ls", "-q"],
        ];
        lists
            .iter()
            .map(|words| docker(&[words, ["--filter", &label].as_slice()].concat()))
            .filter(|listed| !listed.is_empty())
            .collect()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if thread::panicking() {
            match self.compose(&["logs", "--tail=60"]) {
                Ok(logs) | Err(logs) => eprintln!("{logs}"),
            }
        }
        let down = self.compose(&["down", "--volumes"]);
        assert!(thread::panicking() || down.is_ok(), "left behind: {down:?}");
    }
}

/// As many ports as the nodes need, on which nobody listens. Found by asking, as `Loopback` does it.
fn free_ports() -> Vec<u16> {
    let mut ports: Vec<u16> = Vec::new();
    while ports.len() < 2 * NODES.len() {
        let port = fastrand::u16(PORTS);
        if !ports.contains(&port) && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            ports.push(port);
        }
    }
    ports
}

#[tokio::test(flavor = "multi_thread")]
async fn three_services_form_a_cluster_that_redirects_to_names_of_this_machine() {
    let Some(project) = Project::new() else {
        return;
    };
    project.up();
    project.ready().await;
    for id in NODES {
        assert_confined(&project.container(id));
        let policy = &inspect(&project.container(id))["HostConfig"]["RestartPolicy"]["Name"];
        assert_eq!(policy, "unless-stopped");
    }
    let leader = project.client(1).stats().await.leader.expect("all vote");
    let leader = u16::try_from(leader).expect("one of three");
    for id in NODES {
        let path = format!("/keys/through-{id}?val=x");
        let answer = project.client(id).post(&path, "").await;
        if id != leader {
            let there = format!("http://{}{path}", project.http_addr(leader));
            assert_eq!(answer.expect(307).location(), there);
        }
        project.client(id).put(&format!("through-{id}"), "x").await;
    }
    assert_eq!(
        project.client(1).keys().await,
        ["through-1", "through-2", "through-3"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_are_made_anew_have_their_data_until_the_volumes_go() {
    let Some(project) = Project::new() else {
        return;
    };
    let down = |words: &[&str]| {
        let done = project.compose(&[&["down"], words].concat());
        done.unwrap_or_else(|failed| panic!("{failed}"));
    };
    project.up();
    project.ready().await;
    project.client(2).put("kept", "x").await;
    down(&[]);
    project.up();
    project.ready().await;
    for id in NODES {
        let kept = project.client(id).value("kept").await;
        assert_eq!(kept.expect("written before"), "x");
    }
    down(&["--volumes"]);
    assert_eq!(project.remains(), [""; 0]);
}
