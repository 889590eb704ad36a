//! Proof under faults: clients use a cluster while everything around it goes wrong, and what they
//! saw must be what one copy of the data that never fails could have shown them.

mod checker;
mod failover;
#[path = "../../host/build/guest.rs"]
mod guest_build;
mod guests;
mod history;
mod key_value;
mod ledger;
mod mutations;
mod nemesis;
mod observer;
mod report;
mod run;
mod scenario;
mod traffic;
mod validate;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::nemesis::{Fault, Tally};
use crate::report::Table;
use crate::scenario::{Options, Report, play};

/// The share of the time that the key-value store gets; the rest is the ledger's.
const KEY_VALUE_SHARE: f64 = 0.8;

/// Leaders that are killed, and as many that hand over, when nothing else is wrong.
const FAILOVERS: usize = 5;

/// Runs clusters under faults and checks what their clients saw.
#[derive(Debug, Parser)]
#[command(name = "rkv-robustness")]
struct Flags {
    /// How long faults go on
    #[arg(long, default_value_t = 3.0)]
    minutes: f64,

    /// Draws the same faults again, as far as the system's own timing allows [default: a new one]
    #[arg(long)]
    seed: Option<u64>,

    /// Clients at a time
    #[arg(long, default_value_t = 16)]
    clients: u32,

    /// Only this state machine, for the whole time [default: both, the key-value store longer]
    #[arg(long)]
    scenario: Option<Scenario>,

    /// Nothing but this fault
    #[arg(long)]
    fault: Option<Fault>,

    /// Failpoints of all nodes, such as those that are bugs on purpose: NAME=ACTION;...
    #[arg(long)]
    failpoints: Option<String>,

    /// Look for bugs that are there on purpose, and fail when one is not found
    #[arg(long, conflicts_with_all = ["minutes", "scenario", "fault", "failpoints"])]
    mutations: bool,
}

/// What the clients use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Scenario {
    KeyValue,
    Ledger,
}

#[tokio::main]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    let seed = flags.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    println!("seed {seed}");
    let passes = async {
        if flags.mutations {
            mutations::find_all(seed, flags.clients).await
        } else {
            sum_up(run(&flags, seed).await, seed)
        }
    };
    let passed = tokio::select! {
        passed = passes => passed,
        // The clusters, and with them their processes, go with what is not waited for any longer.
        () = told_to_stop() => false,
    };
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn told_to_stop() {
    let listen = |kind| signal(kind).expect("this thread may listen to signals");
    let mut terminate = listen(SignalKind::terminate());
    let mut interrupt = listen(SignalKind::interrupt());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Prints the table and what was found, and says whether that is nothing.
fn sum_up(reports: Vec<Report>, seed: u64) -> bool {
    let mut table = Table::default();
    let mut tally = Tally::default();
    let mut violations = Vec::new();
    for report in &reports {
        let of_report = Table::new(&report.windows, &report.requests, &report.violations);
        table.add(of_report);
        tally.add(report.tally);
        violations.extend(&report.violations);
    }
    table.print();
    println!("{tally}");
    for report in &reports {
        report.failovers.print();
    }
    for violation in &violations {
        println!("violated: {}", violation.what);
    }
    println!("seed {seed}: {} violations", violations.len());
    let passed = violations.is_empty();
    if !passed {
        reports.into_iter().for_each(Report::show);
    }
    passed
}

/// One scenario after the other, up to the first that finds something.
async fn run(flags: &Flags, seed: u64) -> Vec<Report> {
    let whole = Duration::from_secs_f64(60.0 * flags.minutes);
    let parts = match flags.scenario {
        Some(scenario) => vec![(scenario, whole)],
        None => {
            let first = whole.mul_f64(KEY_VALUE_SHARE);
            vec![
                (Scenario::KeyValue, first),
                (Scenario::Ledger, whole.saturating_sub(first)),
            ]
        }
    };
    let mut reports: Vec<Report> = Vec::new();
    for (scenario, duration) in parts {
        let options = Options {
            seed,
            duration,
            clients: flags.clients,
            failpoints: flags.failpoints.clone(),
            only: flags.fault,
        };
        let report = match scenario {
            Scenario::KeyValue => {
                let failovers = if flags.fault.is_none() { FAILOVERS } else { 0 };
                play(key_value::run(options, failovers)).await
            }
            Scenario::Ledger => play(ledger::run(options)).await,
        };
        let found = !report.violations.is_empty();
        reports.push(report);
        if found {
            break;
        }
    }
    reports
}
