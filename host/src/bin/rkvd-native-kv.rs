//! The daemon with the bundled store compiled in: what it is faster by is the price of WebAssembly.

use std::process::ExitCode;

#[path = "rkvd.rs"]
mod rkvd;

fn main() -> ExitCode {
    rkvd::main()
}
