//! The command line of rkvd. Mirrors the flags; [`Config`] is what the library sees.

mod config_file;
mod health;
mod invocation;
mod recover;
mod restore;
mod settings;
mod verify;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::config::{Config, ConfigError, DEFAULTS, RaftTiming, RequestLimits, SnapshotPolicy};
use crate::telemetry::{self, LogFormat};
use crate::types::NodeId;

pub use config_file::{FileError, Mistake};
pub use health::HealthFlags;
pub use invocation::{CheckFlags, Invocation, UsageError};
pub use recover::RecoverFlags;
pub use restore::RestoreFlags;
pub use settings::{Settings, SettingsError};
pub use verify::VerifyFlags;

/// A Raft-replicated store whose state machine is a WebAssembly component.
///
/// `rkvd --id 1` is a cluster of one, with a key-value store over REST.
///
/// Every flag has an environment variable (--server-addr is RKV_SERVER_ADDR) and a place in a file of
/// TOML that --config names (server-addr = "127.0.0.1:10002"). A flag goes before its variable, and that
/// before the file. `rkvd config` shows what is in force, and where each setting is from.
#[derive(Debug, Parser)]
#[command(name = "rkvd", version)]
pub struct Flags {
    /// This node's number. Never used twice in a cluster
    #[arg(long, env = "RKV_ID")]
    id: NodeId,

    /// Where this node keeps its log, snapshots and modules [default: rkv-data/{id}]
    #[arg(long, env = "RKV_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Where this node listens for its peers
    #[arg(long, env = "RKV_RAFT_ADDR", value_name = "HOST:PORT", default_value = DEFAULTS.raft_addr)]
    raft_addr: String,

    /// Where this node listens for clients
    #[arg(long, env = "RKV_SERVER_ADDR", value_name = "HOST:PORT", default_value = DEFAULTS.server_addr)]
    server_addr: String,

    /// Where this node's peers reach it, if not at --raft-addr: behind NAT, or when that is 0.0.0.0
    #[arg(long, env = "RKV_RAFT_ADVERTISE_ADDR", value_name = "HOST:PORT")]
    raft_advertise_addr: Option<String>,

    /// Where clients reach this node, if not at --server-addr
    #[arg(long, env = "RKV_SERVER_ADVERTISE_ADDR", value_name = "HOST:PORT")]
    server_advertise_addr: Option<String>,

    /// Join the cluster of the member at this HTTP address, if not a member yet; may be repeated
    #[arg(
        long,
        env = "RKV_JOIN",
        value_name = "HOST:PORT",
        value_delimiter = ','
    )]
    join: Vec<String>,

    /// The state machine of a new cluster, a component [default: the bundled key-value store]
    #[arg(long, env = "RKV_FSM", value_name = "FILE")]
    fsm: Option<PathBuf>,

    /// How often a leader says that it lives
    #[arg(long, env = "RKV_HEARTBEAT_MS", value_name = "MS", default_value_t = DEFAULTS.heartbeat_ms)]
    heartbeat_ms: u64,

    /// The least time without a leader before an election; at least ten times a slow fsync
    #[arg(long, env = "RKV_ELECTION_TIMEOUT_MIN_MS", value_name = "MS", default_value_t = DEFAULTS.election_timeout_min_ms)]
    election_timeout_min_ms: u64,

    /// The most time without a leader before an election
    #[arg(long, env = "RKV_ELECTION_TIMEOUT_MAX_MS", value_name = "MS", default_value_t = DEFAULTS.election_timeout_max_ms)]
    election_timeout_max_ms: u64,

    /// How long the receiver of a snapshot may show no sign of life
    #[arg(long, env = "RKV_SNAPSHOT_TIMEOUT_MS", value_name = "MS", default_value_t = DEFAULTS.snapshot_timeout_ms)]
    snapshot_timeout_ms: u64,

    /// How often nodes compare what they computed, while there is anything new
    #[arg(long, env = "RKV_CHECKPOINT_INTERVAL_MS", value_name = "MS", default_value_t = DEFAULTS.checkpoint_interval_ms)]
    checkpoint_interval_ms: u64,

    /// Take a snapshot when this many entries are in the log behind the newest one
    #[arg(long, env = "RKV_SNAPSHOT_ENTRIES", value_name = "N", default_value_t = DEFAULTS.snapshot_entries)]
    snapshot_entries: u64,

    /// Take a snapshot when this many bytes are in the log behind the newest one
    #[arg(long, env = "RKV_SNAPSHOT_BYTES", value_name = "BYTES", default_value_t = DEFAULTS.snapshot_bytes)]
    snapshot_bytes: u64,

    /// Entries that stay in the log before a snapshot, for followers that were away for a moment
    #[arg(long, env = "RKV_KEEP_ENTRIES", value_name = "N", default_value_t = DEFAULTS.keep_entries)]
    keep_entries: u64,

    /// The longest key
    #[arg(long, env = "RKV_MAX_KEY_BYTES", value_name = "BYTES", default_value_t = DEFAULTS.max_key_bytes)]
    max_key_bytes: usize,

    /// The longest value
    #[arg(long, env = "RKV_MAX_VALUE_BYTES", value_name = "BYTES", default_value_t = DEFAULTS.max_value_bytes)]
    max_value_bytes: usize,

    /// The longest request body
    #[arg(long, env = "RKV_MAX_BODY_BYTES", value_name = "BYTES", default_value_t = DEFAULTS.max_body_bytes)]
    max_body_bytes: usize,

    /// The largest module that may be uploaded
    #[arg(long, env = "RKV_MAX_MODULE_BYTES", value_name = "BYTES", default_value_t = DEFAULTS.max_module_bytes)]
    max_module_bytes: usize,

    /// Writes under way on this node; more are answered 429
    #[arg(long, env = "RKV_MAX_IN_FLIGHT", value_name = "N", alias = "max-inflight", default_value_t = DEFAULTS.max_in_flight)]
    max_in_flight: usize,

    /// Clients that listen to this node's events; more are answered 429
    #[arg(long, env = "RKV_MAX_EVENT_LISTENERS", value_name = "N", default_value_t = DEFAULTS.max_event_listeners)]
    max_event_listeners: usize,

    /// How long a request waits for a quorum
    #[arg(long, env = "RKV_REQUEST_TIMEOUT_MS", value_name = "MS", default_value_t = DEFAULTS.request_timeout_ms)]
    request_timeout_ms: u64,

    /// How long a client may take for the head of a request, or be silent between two
    #[arg(long, env = "RKV_HEAD_TIMEOUT_MS", value_name = "MS", default_value_t = DEFAULTS.head_timeout_ms)]
    head_timeout_ms: u64,

    /// How long a client may take for the body of a request, or leave an answer unread
    #[arg(long, env = "RKV_BODY_TIMEOUT_MS", value_name = "MS", default_value_t = DEFAULTS.body_timeout_ms)]
    body_timeout_ms: u64,

    /// What is logged, such as `info` or `info,rkv_host=debug`
    #[arg(
        long,
        env = "RKV_LOG",
        value_name = "FILTER",
        default_value = "info,openraft=error",
        value_parser = telemetry::filter
    )]
    log: String,

    /// How log lines are written: for people on a terminal and as JSON elsewhere, or always one of them
    #[arg(
        long,
        env = "RKV_LOG_FORMAT",
        value_name = "FORMAT",
        value_enum,
        default_value = "auto"
    )]
    log_format: LogFormat,
}

impl Flags {
    /// The validated configuration.
    pub fn into_config(self) -> Result<Config, ConfigError> {
        let ms = Duration::from_millis;
        let default_dir = PathBuf::from("rkv-data").join(self.id.to_string());
        Config {
            id: self.id,
            data_dir: self.data_dir.unwrap_or(default_dir),
            raft_addr: self.raft_addr,
            server_addr: self.server_addr,
            raft_advertise_addr: self.raft_advertise_addr,
            server_advertise_addr: self.server_advertise_addr,
            join: self.join,
            fsm: self.fsm,
            timing: RaftTiming {
                heartbeat: ms(self.heartbeat_ms),
                election_timeout_min: ms(self.election_timeout_min_ms),
                election_timeout_max: ms(self.election_timeout_max_ms),
                snapshot_timeout: ms(self.snapshot_timeout_ms),
            },
            checkpoint_interval: ms(self.checkpoint_interval_ms),
            snapshots: SnapshotPolicy {
                entries: self.snapshot_entries,
                bytes: self.snapshot_bytes,
                keep_entries: self.keep_entries,
            },
            limits: RequestLimits {
                max_key_bytes: self.max_key_bytes,
                max_value_bytes: self.max_value_bytes,
                max_body_bytes: self.max_body_bytes,
                max_module_bytes: self.max_module_bytes,
                max_in_flight: self.max_in_flight,
                max_event_listeners: self.max_event_listeners,
                request_timeout: ms(self.request_timeout_ms),
                head_timeout: ms(self.head_timeout_ms),
                body_timeout: ms(self.body_timeout_ms),
            },
        }
        .validate()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn config(flags: &[&str]) -> Result<Config, ConfigError> {
        Flags::parse_from(["rkvd", "--id", "1"].iter().chain(flags)).into_config()
    }

    #[test]
    fn the_id_alone_is_enough() {
        let config = config(&[]).unwrap();
        assert_eq!(config.data_dir, PathBuf::from("rkv-data/1"));
        assert_eq!(config.server_addr, "127.0.0.1:10002");
        assert_eq!(config.limits.max_value_bytes, 1 << 20);
    }

    #[test]
    fn contradictions_are_refused_with_both_numbers() {
        let refused = |flags: &[&str]| config(flags).unwrap_err().to_string();
        let heartbeat = refused(&["--heartbeat-ms", "400"]);
        assert!(
            heartbeat.contains("400") && heartbeat.contains("500"),
            "{heartbeat}"
        );
        let value = refused(&["--max-body-bytes", "5"]);
        assert!(value.contains("1048576") && value.contains('5'), "{value}");
        assert!(refused(&["--raft-addr", "localhost"]).contains("HOST:PORT"));
        assert!(refused(&["--max-inflight", "0"]).contains("at least 1"));
        assert!(refused(&["--election-timeout-max-ms", "500"]).contains("together"));
    }

    #[test]
    fn an_address_that_nobody_can_reach_is_not_advertised() {
        let refused = |flags: &[&str]| config(flags).unwrap_err().to_string();
        for (flag, advertise) in [
            ("--raft-addr", "--raft-advertise-addr"),
            ("--server-addr", "--server-advertise-addr"),
        ] {
            for wildcard in ["0.0.0.0:7", "[::]:7"] {
                let alone = refused(&[flag, wildcard]);
                assert!(
                    alone.starts_with(flag) && alone.contains(advertise),
                    "{alone}"
                );
                assert!(refused(&[advertise, wildcard]).starts_with(advertise));
                assert!(config(&[flag, wildcard, advertise, "node-1:7"]).is_ok());
            }
            assert!(refused(&[advertise, "node-1:0"]).contains("any port"));
            assert!(refused(&[advertise, "node-1"]).contains("HOST:PORT"));
            assert!(config(&[flag, "127.0.0.1:0"]).is_ok());
        }
    }

    #[test]
    fn every_flag_has_an_environment_variable() {
        let mut without = Vec::new();
        for argument in Flags::command().get_arguments() {
            if argument.get_env().is_none()
                && !["help", "version"].contains(&argument.get_id().as_str())
            {
                without.push(argument.get_id().to_string());
            }
        }
        assert!(without.is_empty(), "{without:?}");
    }
}
