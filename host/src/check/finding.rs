//! What is wrong with a module.

use super::answer::Answer;
use super::text::Shown;
use crate::types::Failure;
use crate::wasm::Fault;

/// Bytes that are shown of each of two snapshots, from where they differ.
const SHOWN_BYTES: usize = 16;

/// Why nodes that run the module could differ, or could not run it at all. Its text is one line;
/// [`Finding::details`] has what an author wants to know next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// An entry came to something else than in the plain run.
    #[error("entry {entry} comes out differently")]
    Outcome {
        /// Number of the entry, from 1.
        entry: u64,
        /// Its command, for people.
        command: String,
        /// What it came to entry by entry.
        plain: String,
        /// What it came to here.
        here: String,
    },
    /// Equal states gave unequal bytes.
    #[error("{what} differs from byte {offset} on")]
    Snapshot {
        /// Which snapshot, and from which.
        what: &'static str,
        /// The first byte that is another one.
        offset: usize,
        /// What was expected from there on, for people.
        expected: String,
        /// What there is.
        found: String,
    },
    /// The module refuses what it has written itself.
    #[error("the module refuses its own snapshot of {size} bytes: {} (code {})", .failure.message, .failure.code)]
    Restore {
        /// Bytes of the snapshot.
        size: usize,
        /// What it says.
        failure: Failure,
    },
    /// A query was answered in two ways.
    #[error("a query is answered differently by a restored state")]
    Query {
        /// The query, for people.
        query: String,
        /// The answer of the state that lived through all entries.
        plain: String,
        /// The answer of the restored one.
        here: String,
    },
    /// The description is not a constant.
    #[error("the module describes itself differently {when}")]
    Description {
        /// After what.
        when: &'static str,
    },
    /// A snapshot that does not come to an end.
    #[error("a snapshot has more than {limit} bytes, or no end")]
    SnapshotTooLarge {
        /// The most that a check reads.
        limit: usize,
    },
    /// A snapshot that goes on behind its end.
    #[error("a snapshot goes on after its end: what follows an empty chunk must be empty")]
    SnapshotGoesOn,
    /// A call that has to succeed did not.
    #[error("{doing} failed after {applied} entries: {fault}")]
    Fault {
        /// What was asked of the module.
        doing: &'static str,
        /// Entries applied so far.
        applied: usize,
        /// What came of it.
        fault: Fault,
    },
    /// The check would take too long.
    #[error("the module burnt more than {limit} units of fuel, with which the check gives up")]
    TooSlow {
        /// The most that one run may burn.
        limit: u64,
    },
}

impl Finding {
    pub(super) fn outcome(entry: u64, command: &[u8], plain: &Answer, here: &Answer) -> Self {
        Self::Outcome {
            entry,
            command: Shown(command).to_string(),
            plain: plain.beside(here),
            here: here.beside(plain),
        }
    }

    pub(super) fn query(query: &[u8], plain: &Answer, here: &Answer) -> Self {
        Self::Query {
            query: Shown(query).to_string(),
            plain: plain.beside(here),
            here: here.beside(plain),
        }
    }

    /// More lines, if there is more to say.
    pub fn details(&self) -> Vec<String> {
        match self {
            Self::Outcome {
                command,
                plain,
                here,
                ..
            } => vec![
                format!("command        {command}"),
                format!("one at a time  {plain}"),
                format!("here           {here}"),
            ],
            Self::Query { query, plain, here } => vec![
                format!("query     {query}"),
                format!("before    {plain}"),
                format!("restored  {here}"),
            ],
            Self::Snapshot {
                expected, found, ..
            } => vec![
                format!("expected  {expected}"),
                format!("found     {found}"),
            ],
            _ => Vec::new(),
        }
    }
}

/// Holds `found` to be `expected`, byte by byte.
pub(super) fn same_bytes(what: &'static str, expected: &[u8], found: &[u8]) -> Result<(), Finding> {
    if expected == found {
        return Ok(());
    }
    let offset = expected
        .iter()
        .zip(found)
        .take_while(|(a, b)| a == b)
        .count();
    let from_there = |bytes: &[u8]| {
        let rest = &bytes[offset..];
        let shown = &rest[..rest.len().min(SHOWN_BYTES)];
        let digits: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
        let dots = if shown.len() < rest.len() { "..." } else { "" };
        match shown {
            [] => format!("nothing ({} bytes in all)", bytes.len()),
            _ => format!("hex:{digits}{dots} ({} bytes in all)", bytes.len()),
        }
    };
    Err(Finding::Snapshot {
        what,
        offset,
        expected: from_there(expected),
        found: from_there(found),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_shown_from_where_they_differ() {
        assert_eq!(same_bytes("it", b"abc", b"abc"), Ok(()));
        let finding = same_bytes("it", b"abc", b"abd").unwrap_err();
        assert_eq!(finding.to_string(), "it differs from byte 2 on");
        let lines = [
            "expected  hex:63 (3 bytes in all)",
            "found     hex:64 (3 bytes in all)",
        ];
        assert_eq!(finding.details(), lines);
        let finding = same_bytes("it", b"ab", &[b'a'; 40]).unwrap_err();
        assert!(finding.details()[1].ends_with("... (40 bytes in all)"));
        let finding = same_bytes("it", b"ab", b"a").unwrap_err();
        assert_eq!(finding.details()[1], "found     nothing (1 bytes in all)");
    }
}
