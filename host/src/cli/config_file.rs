//! The configuration file: a node's flags as TOML, `raft-addr = "127.0.0.1:10001"`.
//!
//! What may be in it, and with which values, is what clap knows of the flags: no setting is listed twice.

use std::any::TypeId;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The largest file that is read, in bytes: a few hundred times what all settings take.
const MAX_BYTES: u64 = 1 << 20;

/// What a file says, each value good for its flag.
#[derive(Debug)]
pub(super) struct ConfigFile {
    path: PathBuf,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    key: String,
    line: usize,
    /// As a flag would have them; more or fewer than one where it may be repeated.
    values: Vec<String>,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is not there, or not readable.
    #[error("cannot read the configuration file {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// It is no configuration file.
    #[error("{path} is larger than {MAX_BYTES} bytes: name a configuration file with --config")]
    TooLarge {
        /// The file.
        path: String,
    },
    /// A place in it is wrong.
    #[error("{path}:{line}: {mistake}")]
    Mistake {
        /// The file.
        path: String,
        /// The first line is 1.
        line: usize,
        /// What is wrong there.
        mistake: Mistake,
    },
}

/// What is wrong in a file.
#[derive(Debug, thiserror::Error)]
pub enum Mistake {
    /// No TOML.
    #[error("this is not TOML: {0}")]
    Syntax(String),
    /// No setting has this name.
    #[error(
        "there is no setting '{key}'{hint}: `rkvd --help` has them all, with two dashes in front"
    )]
    Unknown {
        /// What is there.
        key: String,
        /// The setting that may be meant.
        hint: String,
    },
    /// A value of another type.
    #[error("{key} takes {wanted}, and this is {found}")]
    Type {
        /// The setting.
        key: String,
        /// With an example.
        wanted: &'static str,
        /// A type of TOML.
        found: &'static str,
    },
    /// A value that the flag would not take either.
    #[error("{key} cannot be {value}: {reason}")]
    Value {
        /// The setting.
        key: String,
        /// As a flag would have it.
        value: String,
        /// What the flag says.
        reason: String,
    },
}

/// What type of TOML a setting's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Boolean,
    Text,
}

impl Kind {
    pub(super) fn of(arg: &Arg) -> Self {
        let parser: &ValueParser = arg.get_value_parser();
        let integers = [TypeId::of::<u64>(), TypeId::of::<usize>()];
        if integers.iter().any(|integer| parser.type_id() == *integer) {
            Self::Integer
        } else if parser.type_id() == TypeId::of::<bool>() {
            Self::Boolean
        } else {
            Self::Text
        }
    }

    fn wanted(self, is_list: bool) -> &'static str {
        match (self, is_list) {
            (Self::Integer, false) => "an integer, such as 500",
            (Self::Integer, true) => "an array of integers, such as [1, 2]",
            (Self::Boolean, false) => "a boolean, true or false",
            (Self::Boolean, true) => "an array of booleans, such as [true]",
            (Self::Text, false) => "a string, such as \"127.0.0.1:10001\"",
            (Self::Text, true) => "an array of strings, such as [\"127.0.0.1:10002\"]",
        }
    }

    /// A value as a flag would have it, if it is of this type.
    fn text(self, value: &DeValue<'_>) -> Option<String> {
        match (self, value) {
            // What does not fit is left to the flag's parser, which says so.
            (Self::Integer, DeValue::Integer(number)) => Some(
                i128::from_str_radix(number.as_str(), number.radix())
                    .map_or_else(|_| number.to_string(), |number| number.to_string()),
            ),
            (Self::Boolean, DeValue::Boolean(flag)) => Some(flag.to_string()),
            (Self::Text, DeValue::String(text)) => Some(text.to_string()),
            _ => None,
        }
    }
}

/// Whether a setting is an array.
pub(super) fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// Whether a flag is a setting, and so may be in a file: those that have a place in the environment.
pub(super) fn is_setting(arg: &Arg) -> bool {
    arg.get_env().is_some()
}

impl ConfigFile {
    /// Reads a file and holds it to the settings that `node` has.
    pub(super) fn read(path: &Path, node: &Command) -> Result<Self, FileError> {
        let name = || path.display().to_string();
        let failed = |source| FileError::Read {
            path: name(),
            source,
        };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(failed)?;
        file.take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(FileError::TooLarge { path: name() });
        }
        let text = String::from_utf8(bytes)
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        let entries = entries(&text, node).map_err(|(line, mistake)| FileError::Mistake {
            path: name(),
            line,
            mistake,
        })?;
        Ok(Self {
            path: path.to_owned(),
            entries,
        })
    }

    /// Puts what the file says in the place of the defaults, so that flags and the environment go first.
    pub(super) fn apply(&self, command: Command) -> Command {
        command
            .mut_args(|arg| match self.entry(&arg) {
                Some(entry) => arg.required(false).default_values(&entry.values),
                None => arg,
            })
            .mut_subcommands(|tool| self.apply(tool))
    }

    /// Where in which file a setting is, if it is.
    pub(super) fn place(&self, arg: &Arg) -> Option<(&Path, usize)> {
        self.entry(arg)
            .map(|entry| (self.path.as_path(), entry.line))
    }

    fn entry(&self, arg: &Arg) -> Option<&Entry> {
        let named = |entry: &&Entry| Some(entry.key.as_str()) == arg.get_long();
        self.entries.iter().find(named).filter(|_| is_setting(arg))
    }
}

fn entries(text: &str, node: &Command) -> Result<Vec<Entry>, (usize, Mistake)> {
    let line_of = |at| 1 + text.bytes().take(at).filter(|&b| b == b'\n').count();
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(span.start));
        (line, Mistake::Syntax(error.message().replace('\n', "; ")))
    })?;
    let mut settings: Vec<_> = table.into_inner().into_iter().collect();
    // So that the first mistake of several is the one that is told.
    settings.sort_by_key(|(key, _)| key.span().start);
    let checked = settings.into_iter().map(|(key, value)| {
        let line = line_of(key.span().start);
        let key = key.into_inner();
        match values(&key, &value, node) {
            Ok(values) => Ok(Entry {
                key: key.into_owned(),
                line,
                values,
            }),
            Err(mistake) => Err((line, mistake)),
        }
    });
    checked.collect()
}

/// The values of one setting, as flags would have them.
fn values(key: &str, value: &Spanned<DeValue<'_>>, node: &Command) -> Result<Vec<String>, Mistake> {
    let arg = setting(node, key).ok_or_else(|| Mistake::Unknown {
        key: key.escape_debug().to_string(),
        hint: setting(node, &key.replace('_', "-"))
            .and_then(Arg::get_long)
            .map_or_else(String::new, |meant| format!(", but there is {meant}")),
    })?;
    let (kind, is_list) = (Kind::of(arg), is_list(arg));
    let wrong = |found: &DeValue<'_>| Mistake::Type {
        key: key.to_owned(),
        wanted: kind.wanted(is_list),
        found: match found {
            DeValue::Array(_) if is_list => "an array of something else",
            DeValue::Integer(_) => "an integer",
            DeValue::Array(_) => "an array",
            DeValue::String(_) => "a string",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Float(_) => "a float",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Table(_) => "a table",
        },
    };
    let value = value.get_ref();
    let texts: Option<Vec<String>> = match value {
        DeValue::Array(items) if is_list => {
            items.iter().map(|item| kind.text(item.get_ref())).collect()
        }
        _ if is_list => None,
        one => kind.text(one).map(|text| vec![text]),
    };
    let texts = texts.ok_or_else(|| wrong(value))?;
    for text in &texts {
        accepted(arg, text).map_err(|reason| Mistake::Value {
            key: key.to_owned(),
            value: text.escape_debug().to_string(),
            reason,
        })?;
    }
    Ok(texts)
}

fn setting<'a>(node: &'a Command, key: &str) -> Option<&'a Arg> {
    node.get_arguments()
        .find(|arg| arg.get_long() == Some(key) && is_setting(arg))
}

/// Whether the flag would take this value; if not, why.
fn accepted(arg: &Arg, value: &str) -> Result<(), String> {
    let (Some(long), false) = (arg.get_long(), value.is_empty()) else {
        return Err("it is empty".to_owned());
    };
    if Kind::of(arg) == Kind::Integer && value.starts_with('-') {
        return Err("it is below 0".to_owned());
    }
    if Kind::of(arg) == Kind::Boolean {
        return Ok(());
    }
    // Alone, so that no other flag and nothing in the environment can be what is wrong.
    let alone = arg.clone().required(false).env(None::<&'static str>);
    let tried = Command::new("rkvd")
        .arg(alone)
        .try_get_matches_from(["rkvd".to_owned(), format!("--{long}={value}")]);
    tried
        .map(drop)
        .map_err(|error| match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(valid)) => format!("use one of {}", valid.join(", ")),
            _ => error
                .source()
                .map_or_else(|| error.kind().to_string(), ToString::to_string),
        })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::{CommandFactory, value_parser};

    use super::*;
    use crate::cli::Flags;

    fn read(text: &str) -> Result<Vec<Entry>, String> {
        entries(text, &Flags::command()).map_err(|(line, mistake)| format!("{line}: {mistake}"))
    }

    #[track_caller]
    fn refused(text: &str, words: &[&str]) {
        let mistake = read(text).unwrap_err();
        assert!(!mistake.contains('\n'), "{mistake}");
        for word in words {
            assert!(mistake.contains(word), "no '{word}' in: {mistake}");
        }
    }

    #[test]
    fn settings_are_read_as_flags_would_have_them() {
        let text = "# a comment\nid = 0x10\n\njoin = ['a:1', \"b:2\"]\nlog-format = 'json'\n";
        let entries = read(text).unwrap();
        let found: Vec<_> = entries
            .iter()
            .map(|entry| (entry.key.as_str(), entry.line, entry.values.join("|")))
            .collect();
        let expected = [
            ("id", 2, "16"),
            ("join", 4, "a:1|b:2"),
            ("log-format", 5, "json"),
        ];
        assert_eq!(
            found,
            expected.map(|(key, line, text)| (key, line, text.to_owned()))
        );
        assert!(read("join = []").unwrap()[0].values.is_empty());
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_setting_is_refused_by_its_line() {
        refused("id = 1\nport = 7", &["2:", "'port'", "rkvd --help"]);
        refused("raft_addr = 'a:1'", &["1:", "there is raft-addr"]);
        refused("[rkvd]\nid = 1", &["1:", "'rkvd'"]);
        refused("'id' = 1\n\"a\\nb\" = 1", &["2:", r"'a\nb'"]);
        refused("zone = 1\narea = 2", &["1:", "'zone'"]);
        for key in ["config", "help", "version", "max-inflight"] {
            refused(&format!("{key} = 'x'"), &["no setting", key]);
        }
    }

    #[test]
    fn another_type_is_refused_with_an_example_of_the_right_one() {
        refused("id = '1'", &["id takes an integer", "a string"]);
        refused("heartbeat-ms = 1.5", &["heartbeat-ms", "a float"]);
        refused("raft-addr = 10001", &["a string, such as", "an integer"]);
        refused("raft-addr = ['a:1']", &["a string", "an array"]);
        refused("join = 'a:1'", &["an array of strings", "a string"]);
        refused("join = ['a:1', 2]", &["array of something else"]);
        refused("id.x = 1", &["id takes an integer", "a table"]);
    }

    #[test]
    fn a_value_that_the_flag_refuses_is_refused_for_the_same_reason() {
        refused("\nid = -1", &["2: id cannot be -1", "below 0"]);
        refused(
            "id = 99999999999999999999",
            &["id cannot be 9999", "too large"],
        );
        refused("log-format = 'xml'", &["xml", "auto, human, json"]);
        refused("log = 'rkv=loud'", &["rkv=loud"]);
        refused("data-dir = ''", &["data-dir", "empty"]);
    }

    #[test]
    fn what_is_not_toml_is_refused_by_its_line() {
        refused("id = 1\nraft-addr = ", &["2:", "not TOML"]);
        refused("id = 1\nid = 2", &["2:", "duplicate key"]);
        refused("\u{0}", &["1:", "not TOML"]);
    }

    #[test]
    fn booleans_are_settings_like_others() {
        let node = Command::new("node")
            .arg(
                Arg::new("loud")
                    .long("loud")
                    .env("LOUD")
                    .value_parser(value_parser!(bool))
                    .action(ArgAction::SetTrue),
            )
            .arg(
                Arg::new("fast")
                    .long("fast")
                    .env("FAST")
                    .value_parser(value_parser!(bool)),
            );
        let entries = entries("loud = true\nfast = false", &node).unwrap();
        let file = ConfigFile {
            path: PathBuf::from("a file"),
            entries,
        };
        let matches = file.apply(node).get_matches_from(["node"]);
        assert_eq!(matches.get_one("loud"), Some(&true));
        assert_eq!(matches.get_one("fast"), Some(&false));
    }

    #[test]
    fn a_file_that_cannot_be_one_is_refused_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rkvd.toml");
        let refused = || {
            let error = ConfigFile::read(&path, &Flags::command()).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("rkvd.toml") && !text.contains('\n'), "{text}");
            text
        };
        assert!(refused().contains("No such file"));
        fs::write(&path, vec![b'\n'; (1 << 20) + 1]).unwrap();
        assert!(refused().contains("larger than 1048576"));
        fs::write(&path, vec![b'\n'; 1 << 20]).unwrap();
        assert!(ConfigFile::read(&path, &Flags::command()).is_ok());
        fs::write(&path, b"log = '\xff'").unwrap();
        assert!(refused().contains("utf-8"));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(refused().contains("directory"));
    }
}
