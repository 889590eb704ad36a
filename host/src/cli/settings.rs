//! A node's settings, and where each of them is from.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory};
use toml::Value;

use super::Flags;
use super::config_file::{ConfigFile, Kind, is_list, is_setting};
use crate::config::{Config, ConfigError};
use crate::telemetry::LogFormat;

/// What a node is asked to run with.
#[derive(Debug)]
pub struct Settings {
    flags: Flags,
    each: Vec<Setting>,
}

#[derive(Debug)]
struct Setting {
    key: String,
    kind: Kind,
    is_list: bool,
    values: Vec<OsString>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Flag,
    Environment(String),
    File(PathBuf, usize),
    Default,
    /// A default that is made of another setting.
    Derived(&'static str),
}

/// Why a node cannot run with its settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// They contradict each other.
    #[error("{error}{origins}")]
    Refused {
        /// It names flags.
        error: ConfigError,
        /// Where they are from, if not from the command line.
        origins: String,
    },
    /// They cannot be written down.
    #[error("--{key} is not UTF-8, which a configuration file has to be")]
    NotText {
        /// The setting.
        key: String,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            // Quoted, since a path may hold a line break.
            Self::File(path, line) => write!(f, "file {path:?}, line {line}"),
            Self::Default => f.write_str("default"),
            Self::Derived(from) => write!(f, "default, from {from}"),
        }
    }
}

impl Settings {
    /// `matches` are what `flags` were made of, with the defaults that `file` put there.
    pub(super) fn new(flags: Flags, matches: &ArgMatches, file: Option<&ConfigFile>) -> Self {
        let definition = Flags::command();
        let each = definition
            .get_arguments()
            .filter(|arg| is_setting(arg))
            .filter_map(|arg| {
                let raw = matches.get_raw(arg.get_id().as_str());
                Some(Setting {
                    key: arg.get_long()?.to_owned(),
                    kind: Kind::of(arg),
                    is_list: is_list(arg),
                    values: raw.into_iter().flatten().map(OsString::from).collect(),
                    source: source(arg, matches, file),
                })
            })
            .collect();
        Self { flags, each }
    }

    /// What is logged, and how.
    pub fn logging(&self) -> (String, LogFormat) {
        (self.flags.log.clone(), self.flags.log_format)
    }

    /// The validated configuration.
    ///
    /// # Errors
    /// When settings contradict each other, with the places that they are from.
    pub fn into_config(self) -> Result<Config, SettingsError> {
        validated(self.flags, &self.each)
    }

    /// All that is in force and where it is from, as a configuration file.
    ///
    /// # Errors
    /// When a node would not start with these settings, or they have no place in a file.
    pub fn describe(self) -> Result<String, SettingsError> {
        let Self { flags, each } = self;
        let config = validated(flags, &each)?;
        let mut text = String::new();
        for setting in each {
            text.push_str(&setting.derived(&config).line()?);
            text.push('\n');
        }
        Ok(text)
    }
}

fn validated(flags: Flags, each: &[Setting]) -> Result<Config, SettingsError> {
    flags.into_config().map_err(|error| SettingsError::Refused {
        origins: origins(&error.to_string(), each),
        error,
    })
}

/// Where the flags that an error names are from, if not from the command line.
fn origins(error: &str, each: &[Setting]) -> String {
    let named = |setting: &&Setting| {
        let mut words = error.split([' ', ':']);
        words.any(|word| word.strip_prefix("--") == Some(&setting.key))
    };
    let elsewhere = each.iter().filter(named).filter_map(|setting| {
        let is_elsewhere = matches!(setting.source, Source::Environment(_) | Source::File(..));
        is_elsewhere.then(|| format!("; {} is from {}", setting.key, setting.source))
    });
    elsewhere.collect()
}

fn source(arg: &Arg, matches: &ArgMatches, file: Option<&ConfigFile>) -> Source {
    match matches.value_source(arg.get_id().as_str()) {
        Some(ValueSource::CommandLine) => Source::Flag,
        Some(ValueSource::EnvVariable) => {
            let name = arg.get_env().unwrap_or_default();
            Source::Environment(name.to_string_lossy().into_owned())
        }
        // The file's values are clap's defaults.
        _ => match file.and_then(|file| file.place(arg)) {
            Some((path, line)) => Source::File(path.to_owned(), line),
            None => Source::Default,
        },
    }
}

impl Setting {
    /// With what a node takes where it was told nothing.
    fn derived(self, config: &Config) -> Self {
        if !self.values.is_empty() {
            return self;
        }
        // A port that the system picks is not known before it is bound.
        let told = |addr: &str| (!addr.ends_with(":0")).then(|| OsString::from(addr));
        let (value, from) = match self.key.as_str() {
            "data-dir" => (Some(config.data_dir.clone().into_os_string()), "id"),
            "raft-advertise-addr" => (told(&config.raft_addr), "raft-addr"),
            "server-advertise-addr" => (told(&config.server_addr), "server-addr"),
            _ => return self,
        };
        Self {
            values: value.into_iter().collect(),
            source: Source::Derived(from),
            ..self
        }
    }

    /// A line of a configuration file; a comment where there is nothing to write.
    fn line(&self) -> Result<String, SettingsError> {
        let Self { key, source, .. } = self;
        let values: Vec<String> = self
            .values
            .iter()
            .map(|value| self.value(value))
            .collect::<Result<_, _>>()?;
        Ok(match values.as_slice() {
            _ if self.is_list => format!("{key} = [{}] # {source}", values.join(", ")),
            [value] => format!("{key} = {value} # {source}"),
            _ => format!("# {key} is not set # {source}"),
        })
    }

    fn value(&self, value: &OsStr) -> Result<String, SettingsError> {
        let text = value.to_str().ok_or_else(|| SettingsError::NotText {
            key: self.key.clone(),
        })?;
        Ok(match self.kind {
            Kind::Integer | Kind::Boolean => text.to_owned(),
            Kind::Text => Value::from(text).to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use crate::cli::Invocation;

    use super::*;

    fn settings(arguments: &[&str]) -> Settings {
        let all = ["rkvd", "config"].iter().chain(arguments);
        match Invocation::read_from(all.map(OsString::from).collect()) {
            Ok(Invocation::Config(settings)) => *settings,
            other => panic!("{other:?}"),
        }
    }

    fn describe(arguments: &[&str]) -> BTreeMap<String, (String, String)> {
        let text = settings(arguments).describe().unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let parts = lines.map(|line| {
            let (setting, source) = line.rsplit_once(" # ").unwrap();
            let (key, value) = setting.split_once(" = ").unwrap();
            (key.to_owned(), (value.to_owned(), source.to_owned()))
        });
        parts.collect()
    }

    fn file(text: &str) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rkvd.toml");
        fs::write(&path, text).unwrap();
        let name = path.display().to_string();
        (folder, name)
    }

    #[test]
    fn flags_go_before_the_file_and_the_file_before_defaults() {
        let (_folder, path) =
            file("id = 7\nraft-addr = 'a:1'\nheartbeat-ms = 50\njoin = ['b:2', 'c:3']\n");
        let described = describe(&["--config", &path, "--heartbeat-ms", "60", "--join", "d:4"]);
        let is = |key: &str, value: &str, source: &str| {
            let found = &described[key];
            assert_eq!(
                (found.0.as_str(), found.1.as_str()),
                (value, source),
                "{key}"
            );
        };
        is("id", "7", &format!("file {path:?}, line 1"));
        is("raft-addr", "\"a:1\"", &format!("file {path:?}, line 2"));
        is("heartbeat-ms", "60", "flag");
        is("join", "[\"d:4\"]", "flag");
        is("snapshot-entries", "100000", "default");
        is("data-dir", "\"rkv-data/7\"", "default, from id");
        is("raft-advertise-addr", "\"a:1\"", "default, from raft-addr");
        is(
            "server-advertise-addr",
            "\"127.0.0.1:10002\"",
            "default, from server-addr",
        );
        assert!(!described.contains_key("fsm"), "{described:?}");
    }

    #[test]
    fn what_is_printed_is_a_file_with_the_same_settings() {
        let odd = "a \"quoted\" \\ folder = # x";
        let arguments = [
            "--id",
            "3",
            "--data-dir",
            odd,
            "--join",
            "a:1,b:2",
            "--log",
            "debug",
        ];
        let first = describe(&arguments);
        let (_folder, path) = file(&settings(&arguments).describe().unwrap());
        let again = describe(&["--config", &path]);
        let values = |described: &BTreeMap<String, (String, String)>| -> Vec<(String, String)> {
            let pairs = described.iter();
            pairs
                .map(|(key, (value, _))| (key.clone(), value.clone()))
                .collect()
        };
        assert_eq!(values(&again), values(&first));
        assert!(
            again
                .values()
                .all(|(_, source)| source.starts_with("file "))
        );
        let config = settings(&["--config", &path]).into_config().unwrap();
        assert_eq!(config.data_dir, Path::new(odd));
        assert_eq!(config.join, ["a:1", "b:2"]);
    }

    #[test]
    fn a_port_that_is_not_known_yet_is_not_made_up() {
        let arguments = ["--id", "1", "--raft-addr", "127.0.0.1:0"];
        let text = settings(&arguments).describe().unwrap();
        assert!(text.contains("# raft-advertise-addr is not set"), "{text}");
        let (_folder, path) = file(&text);
        assert!(settings(&["--config", &path]).into_config().is_ok());
    }

    #[test]
    fn a_contradiction_names_the_line_that_it_is_from() {
        let (_folder, path) = file("id = 1\nheartbeat-ms = 400\n");
        let refused = |arguments: &[&str]| {
            let error = settings(arguments).into_config().unwrap_err().to_string();
            assert!(settings(arguments).describe().is_err());
            error
        };
        let error = refused(&["--config", &path]);
        let place = format!("; heartbeat-ms is from file {path:?}, line 2");
        assert!(
            error.starts_with("--heartbeat-ms 400") && error.ends_with(&place),
            "{error}"
        );
        let error = refused(&["--id", "1", "--heartbeat-ms", "400"]);
        assert!(!error.contains("from"), "{error}");
    }
}
