//! What rkvd is asked to be: a node, or a tool.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::{Flags, HealthFlags, RecoverFlags, RestoreFlags, VerifyFlags};
use crate::check::Options;

/// The whole command line.
///
/// Put together by hand: a node's flags need not be there with a subcommand, and those that come from
/// the environment of a node must not keep a subcommand from running beside it.
#[derive(Debug)]
pub enum Invocation {
    /// `rkvd --id 1`: a node.
    Run(Box<Flags>),
    /// `rkvd fsm check FILE`.
    Check(CheckFlags),
    /// `rkvd health`.
    Health(HealthFlags),
    /// `rkvd restore FILE`.
    Restore(RestoreFlags),
    /// `rkvd recover`.
    Recover(RecoverFlags),
    /// `rkvd verify`.
    Verify(VerifyFlags),
}

#[derive(Debug, Subcommand)]
enum Tool {
    /// Ask a node whether it is ready for requests
    ///
    /// Prints one line. Exits with 0 when it is, and with 1 when it is not or does not answer in time.
    Health(HealthFlags),
    /// Work on state machine modules, without a cluster
    #[command(subcommand, arg_required_else_help = true)]
    Fsm(FsmTool),
    Restore(RestoreFlags),
    Recover(RecoverFlags),
    Verify(VerifyFlags),
}

#[derive(Debug, Subcommand)]
enum FsmTool {
    /// Check a module as an upload would, and look for what would let nodes that run it differ
    ///
    /// The same commands are run one at a time, in batches cut at random, with restarts from snapshots,
    /// with snapshots that are read meanwhile, and more. All of them must come to the same outcomes and
    /// the same snapshot, byte by byte. What the commands do not bring out is not found: give some of your
    /// own with --entries.
    ///
    /// Exits with 0 when nothing is found, with 1 when something is, and with 2 when there is no check.
    Check(CheckFlags),
}

/// The flags of `rkvd fsm check`.
#[derive(Debug, Args)]
pub struct CheckFlags {
    /// The module, a component
    #[arg(value_name = "FILE")]
    module: PathBuf,

    /// Commands that the module understands, one per line; a line `hex:00ff` stands for those bytes
    #[arg(long, value_name = "FILE")]
    entries: Option<PathBuf>,

    /// Commands to generate behind those: variations on them, or of rkv:kv@1 if the module speaks that,
    /// and random bytes
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(..=100_000))]
    count: u32,

    /// Another seed generates other commands, and cuts the batches at other places
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// What is logged while the module runs; `rkv::module=trace` is what it says itself
    #[arg(long, value_name = "FILTER", default_value = "off")]
    pub log: String,
}

impl CheckFlags {
    /// What to check.
    pub fn into_options(self) -> Options {
        Options {
            module: self.module,
            entries: self.entries,
            count: self.count as usize,
            seed: self.seed,
        }
    }
}

impl Parser for Invocation {}

impl CommandFactory for Invocation {
    fn command() -> Command {
        Tool::augment_subcommands(Flags::command())
            .subcommand_required(false)
            .arg_required_else_help(false)
            .subcommand_negates_reqs(true)
            .args_conflicts_with_subcommands(true)
    }

    fn command_for_update() -> Command {
        Self::command()
    }
}

impl FromArgMatches for Invocation {
    fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
        if matches.subcommand_name().is_none() {
            return Flags::from_arg_matches(matches).map(|flags| Self::Run(Box::new(flags)));
        }
        Ok(match Tool::from_arg_matches(matches)? {
            Tool::Fsm(FsmTool::Check(flags)) => Self::Check(flags),
            Tool::Health(flags) => Self::Health(flags),
            Tool::Restore(flags) => Self::Restore(flags),
            Tool::Recover(flags) => Self::Recover(flags),
            Tool::Verify(flags) => Self::Verify(flags),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Invocation, ErrorKind> {
        let arguments = ["rkvd"].iter().chain(arguments);
        Invocation::try_parse_from(arguments).map_err(|error| error.kind())
    }

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Invocation::command().debug_assert();
    }

    #[test]
    fn a_node_needs_its_id_and_a_check_does_not() {
        assert!(matches!(parse(&["--id", "1"]), Ok(Invocation::Run(_))));
        assert_eq!(parse(&[]).unwrap_err(), ErrorKind::MissingRequiredArgument);
        assert!(matches!(
            parse(&["fsm", "check", "my.wasm"]),
            Ok(Invocation::Check(_))
        ));
    }

    #[test]
    fn a_health_check_needs_nothing_and_ends() {
        let Ok(Invocation::Health(flags)) = parse(&["health"]) else {
            panic!("a health check")
        };
        let probe = flags.into_probe().unwrap();
        assert_eq!(probe.server_addr, "127.0.0.1:10002");
        assert!(!probe.live);
        assert!(parse(&["health", "--timeout-ms", "0"]).is_err());
        assert!(parse(&["--id", "1", "health"]).is_err());
        let Ok(Invocation::Health(flags)) = parse(&["health", "--server-addr", "here"]) else {
            panic!("a health check")
        };
        assert!(flags.into_probe().is_err());
    }

    #[test]
    fn a_check_takes_no_flags_of_a_node() {
        for arguments in [
            ["--id", "1", "fsm", "check", "my.wasm"],
            ["fsm", "check", "my.wasm", "--id", "1"],
        ] {
            assert!(parse(&arguments).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn a_check_needs_a_file_and_bounds_its_work() {
        assert_eq!(
            parse(&["fsm", "check"]).unwrap_err(),
            ErrorKind::MissingRequiredArgument
        );
        let counted = |count| parse(&["fsm", "check", "my.wasm", "--count", count]);
        assert!(counted("0").is_ok());
        assert_eq!(counted("100001").unwrap_err(), ErrorKind::ValueValidation);
        let Ok(Invocation::Check(flags)) = parse(&["fsm", "check", "my.wasm", "--seed", "7"])
        else {
            panic!("a check")
        };
        let options = flags.into_options();
        assert_eq!((options.seed, options.count), (7, 1000));
    }
}
