//! What the tools print: a line per thing, and below it what to do about it.

use std::fmt::Display;
use std::io::{self, Write};

use crate::progress::Progress;
use crate::storage::StorageError;

/// Puts what is below a line under its text.
const INDENT: &str = "        ";

/// One line: what it is about, and what is to be said.
pub(super) fn line(out: &mut impl Write, what: &str, text: impl Display) -> io::Result<()> {
    writeln!(out, "{what:<8}{text}")
}

/// What was found to be as it should, damaged, or not readable.
#[derive(Debug)]
pub(super) struct Findings<'o, W> {
    out: &'o mut W,
    progress: Progress,
    pub(super) damaged: usize,
    pub(super) unread: usize,
}

impl<'o, W: Write> Findings<'o, W> {
    pub(super) fn new(out: &'o mut W, progress: Progress) -> Self {
        Self {
            out,
            progress,
            damaged: 0,
            unread: 0,
        }
    }

    pub(super) fn advance(&self, bytes: u64) {
        self.progress.advance(bytes);
    }

    /// Prints what came of looking at one thing, with what to do if it is damaged.
    pub(super) fn add(
        &mut self,
        name: &str,
        found: Result<String, Fault>,
        remedy: &str,
    ) -> io::Result<()> {
        let (verdict, text) = match found {
            Ok(text) => ("ok", text),
            Err(Fault::Damaged(text)) => {
                self.damaged += 1;
                ("DAMAGED", format!("{text}\n{INDENT}{remedy}"))
            }
            Err(Fault::Unread(text)) => {
                self.unread += 1;
                ("UNREAD", text)
            }
        };
        let out = &mut *self.out;
        self.progress
            .aside(|| line(out, verdict, format_args!("{name}: {text}")))
    }

    /// Prints what is neither good nor bad.
    pub(super) fn note(&mut self, text: impl Display) -> io::Result<()> {
        let out = &mut *self.out;
        self.progress.aside(|| line(out, "note", text))
    }
}

/// What is the matter with a thing.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is not what was written.
    Damaged(String),
    /// That cannot be told: the system does not let it be read, or a newer release wrote it.
    Unread(String),
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        let text = error.to_string();
        match error {
            StorageError::Damaged { .. }
            | StorageError::Unfinished { .. }
            | StorageError::Database { .. } => Self::Damaged(text),
            _ => Self::Unread(text),
        }
    }
}
