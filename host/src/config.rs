//! What a node runs with: validated, and in types rather than strings.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::types::NodeId;

/// The one place for defaults: the command line shows them, and tests compare.
#[derive(Debug)]
pub struct Defaults {
    /// Bind address of the raft transport.
    pub raft_addr: &'static str,
    /// Bind address of the HTTP server.
    pub server_addr: &'static str,
    /// Milliseconds: see [`RaftTiming::heartbeat`].
    pub heartbeat_ms: u64,
    /// Milliseconds: see [`RaftTiming::election_timeout_min`].
    pub election_timeout_min_ms: u64,
    /// Milliseconds: see [`RaftTiming::election_timeout_max`].
    pub election_timeout_max_ms: u64,
    /// Milliseconds: see [`RaftTiming::snapshot_timeout`].
    pub snapshot_timeout_ms: u64,
    /// Milliseconds: see [`Config::checkpoint_interval`].
    pub checkpoint_interval_ms: u64,
    /// See [`SnapshotPolicy::entries`].
    pub snapshot_entries: u64,
    /// See [`SnapshotPolicy::bytes`].
    pub snapshot_bytes: u64,
    /// See [`SnapshotPolicy::keep_entries`].
    pub keep_entries: u64,
    /// See [`RequestLimits::max_key_bytes`].
    pub max_key_bytes: usize,
    /// See [`RequestLimits::max_value_bytes`].
    pub max_value_bytes: usize,
    /// See [`RequestLimits::max_body_bytes`].
    pub max_body_bytes: usize,
    /// See [`RequestLimits::max_module_bytes`].
    pub max_module_bytes: usize,
    /// See [`RequestLimits::max_in_flight`].
    pub max_in_flight: usize,
    /// See [`RequestLimits::max_event_listeners`].
    pub max_event_listeners: usize,
    /// Milliseconds: see [`RequestLimits::request_timeout`].
    pub request_timeout_ms: u64,
    /// Milliseconds: see [`RequestLimits::head_timeout`].
    pub head_timeout_ms: u64,
    /// Milliseconds: see [`RequestLimits::body_timeout`].
    pub body_timeout_ms: u64,
}

/// The defaults.
pub const DEFAULTS: Defaults = Defaults {
    raft_addr: "127.0.0.1:10001",
    server_addr: "127.0.0.1:10002",
    heartbeat_ms: 100,
    election_timeout_min_ms: 500,
    election_timeout_max_ms: 1_000,
    snapshot_timeout_ms: 10_000,
    checkpoint_interval_ms: 5_000,
    snapshot_entries: 100_000,
    snapshot_bytes: 256 << 20,
    keep_entries: 10_000,
    max_key_bytes: 4 << 10,
    max_value_bytes: 1 << 20,
    max_body_bytes: 8 << 20,
    max_module_bytes: 32 << 20,
    max_in_flight: 4_096,
    max_event_listeners: 1_024,
    request_timeout_ms: 5_000,
    head_timeout_ms: 60_000,
    body_timeout_ms: 30_000,
};

/// Keys that one `POST /keys` may write, as in the source document.
pub const MAX_BATCH_KEYS: usize = 100;

/// HTTP connections that a node serves at once, where the limit on open files leaves room for them.
pub const MAX_HTTP_CONNECTIONS: usize = 16_384;

/// The largest body that a frame of the raft transport has room for, in bytes.
const MAX_BODY_BYTES: usize = 32 << 20;

/// The largest component that any node takes, in bytes. Equal on all nodes, since a node that refused
/// what others took would differ from them: `--max-module-bytes` bounds what clients may upload.
pub const MAX_MODULE_BYTES: u64 = 128 << 20;

/// When nodes speak, and when they give up on each other.
#[derive(Debug, Clone)]
pub struct RaftTiming {
    /// How often a leader says that it lives. Below a fifth of the election timeout.
    pub heartbeat: Duration,
    /// The least time without a leader before an election. At least ten times a slow fsync.
    pub election_timeout_min: Duration,
    /// The most time without a leader before an election: each node draws between the two.
    pub election_timeout_max: Duration,
    /// How long the receiver of a snapshot may show no sign of life.
    pub snapshot_timeout: Duration,
}

/// When snapshots are taken, and what stays of the log behind them.
#[derive(Debug, Clone)]
pub struct SnapshotPolicy {
    /// Entries in the log behind the newest snapshot.
    pub entries: u64,
    /// Bytes of log behind the newest snapshot.
    pub bytes: u64,
    /// Entries that stay in the log before a snapshot, so that a follower that was away for a
    /// moment needs no snapshot.
    pub keep_entries: u64,
}

/// Bounds of requests.
#[derive(Debug, Clone)]
pub struct RequestLimits {
    /// Bytes of a key. Over it: 413.
    pub max_key_bytes: usize,
    /// Bytes of a value. Over it: 413.
    pub max_value_bytes: usize,
    /// Bytes of a body. Over it: 413.
    pub max_body_bytes: usize,
    /// Bytes of a module that is uploaded here. Over it: 413.
    pub max_module_bytes: usize,
    /// Proposals in flight on this node. Over it: 429.
    pub max_in_flight: usize,
    /// Clients that listen to this node's events. Over it: 429.
    pub max_event_listeners: usize,
    /// How long a request waits for a quorum before it is answered that its outcome is unknown.
    pub request_timeout: Duration,
    /// How long a client may take to send the head of a request, or be silent between two. Over it
    /// the connection is closed.
    pub head_timeout: Duration,
    /// How long a body may take to arrive. Over it: 408. Also how long a client may leave an answer
    /// unread before the connection is closed.
    pub body_timeout: Duration,
}

/// All that a node needs to know to start.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// Where its data is.
    pub data_dir: PathBuf,
    /// Bind address of the raft transport, `host:port`.
    pub raft_addr: String,
    /// Bind address of the HTTP server, `host:port`.
    pub server_addr: String,
    /// Where peers reach the raft transport, `host:port`. `None`: at its bind address.
    pub raft_advertise_addr: Option<String>,
    /// Where clients reach the HTTP server, `host:port`. `None`: at its bind address.
    pub server_advertise_addr: Option<String>,
    /// HTTP addresses of members to ask for admission. Empty: bootstrap a cluster of one.
    pub join: Vec<String>,
    /// The module of a new cluster. `None`: the bundled KV.
    pub fsm: Option<PathBuf>,
    /// Raft's timing.
    pub timing: RaftTiming,
    /// How often nodes compare what they computed, while there is anything new.
    pub checkpoint_interval: Duration,
    /// Snapshots.
    pub snapshots: SnapshotPolicy,
    /// Requests.
    pub limits: RequestLimits,
}

/// A contradiction in a configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A node id that stands for nothing.
    #[error("--id 0 is not a node id: use 1, 2, 3 ...")]
    NodeId,
    /// Heartbeats too close to the election timeout.
    #[error(
        "--heartbeat-ms {heartbeat} is more than a fifth of --election-timeout-min-ms \
         {election_timeout_min}: one lost heartbeat would start an election"
    )]
    Heartbeat {
        /// Milliseconds.
        heartbeat: u128,
        /// Milliseconds.
        election_timeout_min: u128,
    },
    /// An empty range to draw from.
    #[error(
        "--election-timeout-max-ms {max} is not above --election-timeout-min-ms {min}: nodes would \
         always time out together"
    )]
    ElectionTimeout {
        /// Milliseconds.
        min: u128,
        /// Milliseconds.
        max: u128,
    },
    /// A value that no body could hold.
    #[error("--max-value-bytes {value} is above --max-body-bytes {body}")]
    ValueOverBody {
        /// Bytes.
        value: usize,
        /// Bytes.
        body: usize,
    },
    /// A body that no log entry could hold.
    #[error("--max-body-bytes {0} is above {MAX_BODY_BYTES}, the most that one log entry may hold")]
    Body(usize),
    /// A module that no node takes.
    #[error("--max-module-bytes {0} is above {MAX_MODULE_BYTES}, the most that a node takes")]
    Module(usize),
    /// A number that has to be positive.
    #[error("{0} has to be at least 1")]
    Zero(&'static str),
    /// An address without a port.
    #[error("{flag} {addr} is not HOST:PORT")]
    Address {
        /// The flag.
        flag: &'static str,
        /// What it was given.
        addr: String,
    },
    /// An address that nobody can be sent to.
    #[error(
        "{flag} {addr} means every address of this machine, or any port, and cannot be told to \
         others: name the one that they reach this node at with {advertise}"
    )]
    Unreachable {
        /// The flag whose value would be told to others.
        flag: &'static str,
        /// What it was given.
        addr: String,
        /// The flag that settles it.
        advertise: &'static str,
    },
}

/// Whether a text is `HOST:PORT`, with a name or an address as the host.
pub fn is_host_port(addr: &str) -> bool {
    let Some((host, port)) = addr.rsplit_once(':') else {
        return false;
    };
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
    !host.is_empty() && host.chars().all(is_part) && port.parse::<u16>().is_ok()
}

/// Whether an address means all of a machine's, and so tells nobody where to go.
fn is_wildcard(addr: &str) -> bool {
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
}

impl Config {
    /// Refuses contradictions.
    pub fn validate(self) -> Result<Self, ConfigError> {
        if self.id == 0 {
            return Err(ConfigError::NodeId);
        }
        let timing = &self.timing;
        if timing.heartbeat.is_zero() {
            return Err(ConfigError::Zero("--heartbeat-ms"));
        }
        if timing.heartbeat * 5 > timing.election_timeout_min {
            return Err(ConfigError::Heartbeat {
                heartbeat: timing.heartbeat.as_millis(),
                election_timeout_min: timing.election_timeout_min.as_millis(),
            });
        }
        if timing.election_timeout_max <= timing.election_timeout_min {
            return Err(ConfigError::ElectionTimeout {
                min: timing.election_timeout_min.as_millis(),
                max: timing.election_timeout_max.as_millis(),
            });
        }
        let limits = &self.limits;
        if limits.max_value_bytes > limits.max_body_bytes {
            return Err(ConfigError::ValueOverBody {
                value: limits.max_value_bytes,
                body: limits.max_body_bytes,
            });
        }
        if limits.max_body_bytes > MAX_BODY_BYTES {
            return Err(ConfigError::Body(limits.max_body_bytes));
        }
        if limits.max_module_bytes as u64 > MAX_MODULE_BYTES {
            return Err(ConfigError::Module(limits.max_module_bytes));
        }
        for (flag, zero) in [
            ("--max-in-flight", limits.max_in_flight == 0),
            ("--max-event-listeners", limits.max_event_listeners == 0),
            ("--max-key-bytes", limits.max_key_bytes == 0),
            ("--request-timeout-ms", limits.request_timeout.is_zero()),
            ("--head-timeout-ms", limits.head_timeout.is_zero()),
            ("--body-timeout-ms", limits.body_timeout.is_zero()),
            ("--snapshot-timeout-ms", timing.snapshot_timeout.is_zero()),
            (
                "--checkpoint-interval-ms",
                self.checkpoint_interval.is_zero(),
            ),
            ("--snapshot-entries", self.snapshots.entries == 0),
            ("--snapshot-bytes", self.snapshots.bytes == 0),
        ] {
            if zero {
                return Err(ConfigError::Zero(flag));
            }
        }
        self.validate_addresses()?;
        Ok(self)
    }

    fn validate_addresses(&self) -> Result<(), ConfigError> {
        let refuse = |flag, addr: &String| ConfigError::Address {
            flag,
            addr: addr.clone(),
        };
        for addr in &self.join {
            if !is_host_port(addr) {
                return Err(refuse("--join", addr));
            }
        }
        let addresses = [
            (
                ("--raft-addr", &self.raft_addr),
                ("--raft-advertise-addr", &self.raft_advertise_addr),
            ),
            (
                ("--server-addr", &self.server_addr),
                ("--server-advertise-addr", &self.server_advertise_addr),
            ),
        ];
        for ((flag, addr), (advertise, advertised)) in addresses {
            if !is_host_port(addr) {
                return Err(refuse(flag, addr));
            }
            let (told, told_addr) = match advertised {
                Some(advertised) if !is_host_port(advertised) => {
                    return Err(refuse(advertise, advertised));
                }
                Some(advertised) => (advertise, advertised),
                None => (flag, addr),
            };
            // A port that the system picks is known once it is bound, but not if it is advertised.
            let any_port = advertised.is_some() && told_addr.ends_with(":0");
            if is_wildcard(told_addr) || any_port {
                return Err(ConfigError::Unreachable {
                    flag: told,
                    addr: told_addr.clone(),
                    advertise,
                });
            }
        }
        Ok(())
    }
}
