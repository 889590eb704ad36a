//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::cluster::Launch;
use crate::compare::CompareArgs;

/// Time to load a thousand keys, with much to spare.
const LOADING: Duration = Duration::from_millis(200);

/// Measures rkvd against its performance bars, on loopback, with real processes.
#[derive(Debug, Parser)]
#[command(name = "rkv-bench", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) scenario: Scenario,

    /// The rkvd to measure [default: release/rkvd in cargo's target folder]
    #[arg(long, env = "RKVD", value_name = "FILE", global = true)]
    daemon: Option<PathBuf>,

    /// Folder on the disk to measure, for temporary data [default: cargo's target folder]
    #[arg(long, value_name = "DIR", global = true)]
    dir: Option<PathBuf>,

    /// Length of the measured phase in seconds, 1 to 60 (failover, switch and trap count rounds instead; of each run of compare)
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60), global = true)]
    seconds: u64,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Scenario {
    /// A durable PUT of one client against a bare fdatasync on the same disk
    Latency,
    /// A PUT of one client at three nodes against etcd's, by gRPC and by its JSON gateway
    OneClient,
    /// Requests per second and log entries per fsync, with 64 clients on three nodes
    Batching,
    /// The longest pause of a writer while a large state is snapshotted
    Snapshot(SnapshotArgs),
    /// The time without acknowledged writes when the leader dies or hands over
    Failover,
    /// The longest pause of a writer while the state machine is switched, and switched back
    Switch(LoadArgs),
    /// The longest pause of other writers when a command traps
    Trap(LoadArgs),
    /// Memory, disk and time that many keys take: load, restart, a node that joins
    Scale(ScaleArgs),
    /// rkv and etcd side by side: PUT and GET over numbers of connections
    Compare(CompareArgs),
    /// Serve a constant, for `compare`
    #[command(hide = true)]
    Constant,
    /// All but compare and one-client, snapshot with one node and with three, switch with few keys and with many
    All(SizeArgs),
}

#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct SnapshotArgs {
    /// Number of nodes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=7))]
    pub(crate) nodes: u64,
    /// Write as fast as the clients are answered instead of 200 times a second: what is left of the throughput
    #[arg(long)]
    pub(crate) unpaced: bool,
    #[command(flatten)]
    pub(crate) size: SizeArgs,
}

impl SnapshotArgs {
    /// What the bars speak of.
    pub(crate) fn of(nodes: u64, size: SizeArgs) -> Self {
        Self {
            nodes,
            unpaced: false,
            size,
        }
    }
}

#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct SizeArgs {
    /// State to snapshot, in megabytes of values, 1 to 2000
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=2000))]
    pub(crate) megabytes: u64,
}

#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct ScaleArgs {
    /// Keys of 16 bytes with values of 100, 1,000 to 10,000,000
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1000..=10_000_000))]
    pub(crate) keys: u64,
}

/// A store under load.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct LoadArgs {
    /// Keys of 16 bytes with values of 100, 1,000 to 4,000,000
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1000..=4_000_000))]
    pub(crate) keys: u64,
    /// Clients that write as fast as they are answered, 1 to 256
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=256))]
    pub(crate) writers: u64,
    /// How often, 1 to 100
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub(crate) rounds: u64,
}

impl LoadArgs {
    /// What the bars speak of, with another number of keys.
    pub(crate) fn with_keys(keys: u64) -> Self {
        Self {
            keys,
            writers: 32,
            rounds: 10,
        }
    }
}

impl Scenario {
    /// No scenario with a measured phase of `seconds` takes longer than this. One that does is stuck.
    pub(crate) fn limit(&self, seconds: Duration) -> Duration {
        let fixed = Duration::from_secs(180);
        let loading = |keys: u64| LOADING * (keys / 1000) as u32;
        match self {
            Self::Switch(args) | Self::Trap(args) => {
                fixed + Duration::from_secs(30 * args.rounds) + loading(args.keys)
            }
            Self::Scale(args) => fixed + 4 * loading(args.keys),
            Self::Compare(args) => {
                // The generator makes its requests before it sends the first.
                let run = seconds + Duration::from_secs(5);
                fixed + 2 * loading(args.keys) + run * args.runs() as u32
            }
            _ => fixed + seconds,
        }
    }
}

impl Cli {
    pub(crate) fn seconds(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// What to start nodes from, with the defaults filled in.
    pub(crate) fn launch(&self) -> Result<Launch> {
        let own = std::env::current_exe().context("cannot find the own executable")?;
        // target/{profile}/rkv-bench
        let target = own
            .ancestors()
            .nth(2)
            .context("the own executable is not in a target folder")?;
        Ok(Launch {
            daemon: self
                .daemon
                .clone()
                .unwrap_or_else(|| target.join("release/rkvd")),
            native: target.join("release/rkvd-native-kv"),
            dir: self.dir.clone().unwrap_or_else(|| target.to_owned()),
            target: target.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_may_follow_the_scenario() {
        let line = [
            "rkv-bench",
            "snapshot",
            "--nodes",
            "3",
            "--seconds",
            "5",
            "--dir",
            "/d",
        ];
        let cli = Cli::try_parse_from(line).unwrap();
        assert_eq!(cli.seconds(), Duration::from_secs(5));
        assert_eq!(cli.launch().unwrap().dir, PathBuf::from("/d"));
        assert!(matches!(
            cli.scenario,
            Scenario::Snapshot(SnapshotArgs { nodes: 3, .. })
        ));
    }

    #[test]
    fn unbounded_runs_are_refused() {
        assert!(Cli::try_parse_from(["rkv-bench", "latency", "--seconds", "61"]).is_err());
        assert!(Cli::try_parse_from(["rkv-bench", "snapshot", "--megabytes", "0"]).is_err());
        assert!(Cli::try_parse_from(["rkv-bench", "trap", "--keys", "4000001"]).is_err());
        assert!(Cli::try_parse_from(["rkv-bench", "switch", "--rounds", "0"]).is_err());
    }
}
