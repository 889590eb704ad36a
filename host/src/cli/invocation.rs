//! What rkvd is asked to be: a node, or a tool.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Subcommand};

use super::config_file::{ConfigFile, FileError, is_setting};
use super::{Flags, HealthFlags, RecoverFlags, RestoreFlags, Settings, VerifyFlags};
use crate::check::Options;
use crate::telemetry;

/// The flag that names the configuration file.
const CONFIG: &str = "config";

/// The whole command line.
///
/// Put together by hand: a node's flags need not be there with a subcommand, and those that come from
/// the environment of a node must not keep a subcommand from running beside it.
#[derive(Debug)]
pub enum Invocation {
    /// `rkvd --id 1`: a node.
    Run(Box<Settings>),
    /// `rkvd config`.
    Config(Box<Settings>),
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
    /// Print the settings that a node would run with, and where each is from
    ///
    /// Takes the flags, the environment and the file of a node, and starts nothing. What it prints is a
    /// configuration file.
    ///
    /// Exits with 0, or with 2 when a node would not start with these settings.
    #[command(disable_version_flag = true)]
    Config(Box<Flags>),
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
    #[arg(long, value_name = "FILTER", default_value = "off", value_parser = telemetry::filter)]
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

/// Why there is nothing to do.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// The command line or the environment is wrong, or asks for help.
    #[error(transparent)]
    CommandLine(#[from] clap::Error),
    /// The configuration file is.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Invocation {
    /// What this process is asked for: by its arguments, else by its environment, else by the file that
    /// one of them names.
    ///
    /// # Errors
    /// When that makes no sense, or asks for help.
    pub fn read() -> Result<Self, UsageError> {
        Self::read_from(env::args_os().collect())
    }

    pub(super) fn read_from(arguments: Vec<OsString>) -> Result<Self, UsageError> {
        // Twice: what the file has need not be anywhere else, but has to be known to tell what is missing.
        let file = match lenient(command()).try_get_matches_from(&arguments) {
            Ok(matches) => config_path(&matches)
                .map(|path| ConfigFile::read(&path, &Flags::command()))
                .transpose()?,
            Err(_) => None,
        };
        let command = match &file {
            Some(file) => file.apply(command()),
            None => command(),
        };
        let matches = command.try_get_matches_from(&arguments)?;
        Ok(Self::from_matches(&matches, file.as_ref())?)
    }

    fn from_matches(matches: &ArgMatches, file: Option<&ConfigFile>) -> Result<Self, clap::Error> {
        let settings = |flags, matches| Box::new(Settings::new(flags, matches, file));
        let Some((_, tool)) = matches.subcommand() else {
            return Ok(Self::Run(settings(
                Flags::from_arg_matches(matches)?,
                matches,
            )));
        };
        Ok(match Tool::from_arg_matches(matches)? {
            Tool::Config(flags) => Self::Config(settings(*flags, tool)),
            Tool::Fsm(FsmTool::Check(flags)) => Self::Check(flags),
            Tool::Health(flags) => Self::Health(flags),
            Tool::Restore(flags) => Self::Restore(flags),
            Tool::Recover(flags) => Self::Recover(flags),
            Tool::Verify(flags) => Self::Verify(flags),
        })
    }
}

fn command() -> Command {
    // The tools that have settings of a node find them where a node does.
    let with_file = |command: Command| {
        if command.get_arguments().any(is_setting) {
            command.arg(config_flag())
        } else {
            command
        }
    };
    let command = Tool::augment_subcommands(Flags::command())
        .subcommand_required(false)
        .arg_required_else_help(false)
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true);
    with_file(command).mut_subcommands(with_file)
}

fn config_flag() -> Arg {
    Arg::new(CONFIG)
        .long(CONFIG)
        .env("RKV_CONFIG")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("A file with settings that have neither a flag nor a variable, as TOML: raft-addr = \"HOST:PORT\"")
}

/// The same, with nothing that has to be there.
fn lenient(command: Command) -> Command {
    command
        .mut_args(|arg| arg.required(false))
        .mut_subcommands(lenient)
}

fn config_path(matches: &ArgMatches) -> Option<PathBuf> {
    match matches.subcommand() {
        Some((_, tool)) => config_path(tool),
        // An error where there is no such flag.
        None => matches.try_get_one(CONFIG).ok().flatten().cloned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Invocation, ErrorKind> {
        let arguments = ["rkvd"].iter().chain(arguments).map(OsString::from);
        match Invocation::read_from(arguments.collect()) {
            Ok(invocation) => Ok(invocation),
            Err(UsageError::CommandLine(error)) => Err(error.kind()),
            Err(UsageError::File(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        command().debug_assert();
        lenient(command()).debug_assert();
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
