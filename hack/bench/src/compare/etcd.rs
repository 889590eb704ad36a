//! etcd on loopback, with its default durability, gone with its data when dropped.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::client::Connection;
use crate::cluster::{Launch, free_addresses};
use crate::process::Running;
use crate::scenarios::store::key;
use crate::wait;

const SETTLE: Duration = Duration::from_secs(30);
/// Operations in a transaction: so few that the gateway's answer has a length and no chunks.
const BATCH: u64 = 16;
/// Connections that fill the store of version 2, which takes one key at a time.
const LOADERS: u64 = 32;

/// A running cluster.
#[derive(Debug)]
pub(crate) struct Etcd {
    // Before the folder, so that the processes end before their files go.
    nodes: Vec<Member>,
    dir: TempDir,
}

#[derive(Debug)]
struct Member {
    process: Running,
    client_addr: SocketAddr,
}

impl Etcd {
    /// Starts `size` members and waits until they have a leader.
    pub(crate) async fn start(launch: &Launch, size: u64) -> Result<Self> {
        let mut etcd = Self {
            nodes: Vec::new(),
            dir: launch.temp_dir()?,
        };
        let addresses: Vec<_> = (0..size).map(|_| free_addresses()).collect::<Result<_>>()?;
        let members: Vec<_> = addresses
            .iter()
            .enumerate()
            .map(|(number, [peer, _])| format!("m{number}=http://{peer}"))
            .collect();
        for (number, &[peer, client]) in addresses.iter().enumerate() {
            let member = etcd.spawn(number, peer, client, &members.join(","))?;
            etcd.nodes.push(member);
        }
        etcd.leader().await?;
        Ok(etcd)
    }

    fn spawn(
        &self,
        number: usize,
        peer: SocketAddr,
        client: SocketAddr,
        members: &str,
    ) -> Result<Member> {
        let name = format!("m{number}");
        let log = File::create(self.dir.path().join(format!("{name}.log")))?;
        let [peer, url] = [peer, client].map(|address| format!("http://{address}"));
        let mut command = Command::new("etcd");
        command
            .args(["--name", &name, "--data-dir"])
            .arg(self.dir.path().join(&name))
            .args(["--initial-cluster", members])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--listen-client-urls", &url])
            .args(["--advertise-client-urls", &url])
            // An interface beside the one that counts, with a store of its own.
            .args(["--enable-v2=true"])
            .args(["--log-level", "warn"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let process = command
            .spawn()
            .context("cannot start etcd: run hack/setup.sh --bench")?;
        Ok(Member {
            process: Running(process),
            client_addr: client,
        })
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.process.0.id()).collect()
    }

    /// The client address of the leader, as it is now.
    pub(crate) async fn leader(&self) -> Result<SocketAddr> {
        wait::until("etcd has a leader", SETTLE, async || {
            for node in &self.nodes {
                let status = post(node.client_addr, "/v3/maintenance/status", &json!({})).await?;
                if status["leader"] == status["header"]["member_id"] {
                    return Ok(Some(node.client_addr));
                }
            }
            Ok(None)
        })
        .await
    }

    /// What the gateway takes for one write.
    pub(crate) fn put_body(key: &str, value: &[u8]) -> String {
        let [key, value] = [key.as_bytes(), value].map(|bytes| BASE64_STANDARD.encode(bytes));
        json!({"key": key, "value": value}).to_string()
    }

    /// Puts a value under the first `keys` keys, for both interfaces.
    pub(crate) async fn fill(&self, keys: u64, value: &[u8]) -> Result<()> {
        self.fill_v3(keys, value).await?;
        let leader = self.leader().await?;
        let value = std::str::from_utf8(value)?.to_owned();
        let mut loaders = JoinSet::new();
        for loader in 0..LOADERS {
            let (mut connection, value) = (Connection::open(leader).await?, value.clone());
            loaders.spawn(async move {
                for number in (loader..keys).step_by(LOADERS as usize) {
                    let path = format!("/v2/keys/{}?value={value}", key(number));
                    let answer = connection.put(&path, b"").await?;
                    ensure!(answer.status < 300, "etcd answered {}", answer.summary());
                }
                Ok(())
            });
        }
        while let Some(loader) = loaders.join_next().await {
            loader??;
        }
        Ok(())
    }

    async fn fill_v3(&self, keys: u64, value: &[u8]) -> Result<()> {
        let leader = self.leader().await?;
        let value = BASE64_STANDARD.encode(value);
        let mut connection = Connection::open(leader).await?;
        for first in (0..keys).step_by(BATCH as usize) {
            let puts: Vec<_> = (first..keys.min(first + BATCH))
                .map(|number| {
                    let key = BASE64_STANDARD.encode(key(number));
                    json!({"requestPut": {"key": key, "value": value}})
                })
                .collect();
            let body = json!({ "success": puts }).to_string();
            let answer = connection.post("/v3/kv/txn", body.as_bytes()).await?;
            ensure!(answer.status == 200, "etcd answered {}", answer.summary());
        }
        Ok(())
    }
}

async fn post(address: SocketAddr, path: &str, body: &Value) -> Result<Value> {
    let mut connection = Connection::open(address).await?;
    let answer = connection.post(path, body.to_string().as_bytes()).await?;
    ensure!(answer.status == 200, "etcd answered {}", answer.summary());
    Ok(serde_json::from_slice(&answer.body)?)
}
