//! The daemon, with the failpoints that the environment arms.

use std::process::ExitCode;

#[path = "rkvd.rs"]
mod rkvd;

fn main() -> ExitCode {
    let _armed = fail::FailScenario::setup();
    rkvd::main()
}
