//! rkv and etcd side by side, under the same load generator.

mod constant;
mod etcd;
mod figures;
mod plot;
mod subject;
mod wrk;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

pub(crate) use self::constant::serve as serve_constant;
pub(crate) use self::etcd::Etcd;
use self::figures::{Figures, Point};
use self::subject::Subject;
use self::wrk::{Load, Operation};
use crate::cluster::Launch;
use crate::table::Table;

/// How much is asked.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CompareArgs {
    /// Nodes of each system
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=7))]
    pub(crate) nodes: u64,
    /// Keys of 16 bytes with values of 64 that are there, and drawn from, 1,000 to 1,000,000
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1000..=1_000_000))]
    pub(crate) keys: u64,
    /// How often everything is measured; the medians count
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=50))]
    pub(crate) rounds: u64,
    /// Connections of the load generator, each with one request at a time
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256], value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) connections: Vec<u32>,
    /// Folder for plots of throughput and p99 over connections, as SVG
    #[arg(long, value_name = "DIR")]
    pub(crate) plots: Option<PathBuf>,
}

impl CompareArgs {
    /// Runs of the load generator.
    pub(crate) fn runs(&self) -> u64 {
        // Four systems asked for three operations, and one for one.
        13 * self.rounds * self.connections.len() as u64
    }
}

/// Measures each operation at each number of connections, round by round, the systems in turn.
pub(crate) async fn compare(
    launch: &Launch,
    duration: Duration,
    args: &CompareArgs,
) -> Result<Table> {
    let mut subjects = Subject::start_all(launch, args.nodes, args.keys).await?;
    let mut figures = Figures::default();
    for round in 0..args.rounds {
        // Who comes after whom counts as well: etcd is still busy with what it was asked for.
        subjects.reverse();
        for operation in [Operation::Put, Operation::Get, Operation::Stale] {
            for &connections in &args.connections {
                // Whoever is first finds the machine as the one before left it.
                subjects.rotate_left(1);
                for subject in subjects.iter().filter(|subject| subject.serves(operation)) {
                    let load = Load {
                        system: "",
                        operation,
                        connections,
                        keys: args.keys,
                        duration,
                        seed: round,
                    };
                    let point = Point {
                        operation: operation.name(),
                        connections,
                        system: subject.system(),
                    };
                    let measured = subject.measure(load).await;
                    figures.add(point, measured.with_context(|| format!("{point:?}"))?);
                }
            }
        }
    }
    if let Some(dir) = &args.plots {
        save_plots(&figures, dir, args.nodes)?;
    }
    let title = format!(
        "compare: {} node(s) each, {} keys, values of 64 bytes, medians of {} runs of {} s",
        args.nodes,
        args.keys,
        args.rounds,
        duration.as_secs()
    );
    Ok(figures.table(title))
}

fn save_plots(figures: &Figures, dir: &Path, nodes: u64) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for operation in figures.operations() {
        let path = dir.join(format!("{operation}-{nodes}.svg"));
        let svg = plot::svg(figures, operation, nodes);
        std::fs::write(&path, svg).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
