//! The load generator: `wrk` with one thread, the same for every system.

use std::io::Read;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::process::Running;
use crate::wait;

/// What is asked of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Put,
    /// A linearizable read.
    Get,
    /// A read of whatever the node has.
    Stale,
}

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Stale => "stale",
        }
    }
}

/// One run of the generator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) system: &'static str,
    pub(crate) operation: Operation,
    pub(crate) connections: u32,
    pub(crate) keys: u64,
    pub(crate) duration: Duration,
    pub(crate) seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) requests: u64,
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// The last line of `load.lua`. Times in microseconds.
#[derive(Debug, Deserialize)]
struct Line {
    requests: u64,
    micros: u64,
    p50: u64,
    p99: u64,
    failed: u64,
}

impl Load {
    /// Loads `target`. An error if anything but a success was answered.
    pub(crate) async fn run(&self, target: SocketAddr) -> Result<Outcome> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/load.lua");
        let mut command = Command::new("wrk");
        command
            .args(["--threads", "1", "--timeout", "10s", "--script", script])
            .args(["--connections", &self.connections.to_string()])
            .args(["--duration", &format!("{}s", self.duration.as_secs())])
            .arg(format!("http://{target}"))
            .args(["--", self.system, self.operation.name()])
            .args([self.keys.to_string(), self.seed.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let spawned = command.spawn();
        let mut wrk = Running(spawned.context("cannot start wrk: run hack/setup.sh --bench")?);
        let limit = self.duration + Duration::from_secs(30);
        let status = wait::until("wrk ends", limit, async || Ok(wrk.0.try_wait()?)).await?;
        let mut output = String::new();
        let mut stdout = wrk.0.stdout.take().context("wrk has no output")?;
        stdout.read_to_string(&mut output)?;
        ensure!(status.success(), "wrk: {status}: {output}");
        parse(&output)
    }
}

fn parse(output: &str) -> Result<Outcome> {
    let last = output.lines().last().unwrap_or_default();
    let line: Line = serde_json::from_str(last).with_context(|| format!("wrk said: {output}"))?;
    ensure!(
        line.failed == 0,
        "{} requests failed: {output}",
        line.failed
    );
    ensure!(line.requests > 0, "no request was answered: {output}");
    Ok(Outcome {
        requests: line.requests,
        per_second: line.requests as f64 * 1e6 / line.micros as f64,
        p50: Duration::from_micros(line.p50),
        p99: Duration::from_micros(line.p99),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_read_and_a_failed_request_fails_the_run() {
        let line = |failed| {
            format!(
                "Running 1s test\n{{\"requests\":500,\"micros\":2000000,\"p50\":90,\"p99\":1200,\
                 \"failed\":{failed}}}\n"
            )
        };
        let outcome = parse(&line(0)).unwrap();
        assert_eq!((outcome.requests, outcome.p50.as_micros()), (500, 90));
        assert!((outcome.per_second - 250.0).abs() < 1e-9);
        assert!(parse(&line(1)).is_err());
        assert!(parse("unable to connect").is_err());
    }
}
