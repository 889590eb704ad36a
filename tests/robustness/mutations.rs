//! Are bugs found? Daemons with a bug on purpose, one after the other.

use std::time::Duration;

use crate::key_value;
use crate::scenario::{Options, play};

/// A bug in all nodes, and the failpoints that make it.
struct Mutation {
    bug: &'static str,
    failpoints: &'static str,
}

const MUTATIONS: [Mutation; 5] = [
    Mutation {
        bug: "a leader reads without asking whether it still leads",
        failpoints: "read-not-confirmed=return",
    },
    Mutation {
        bug: "entries are acknowledged before they are on disk (a slow one)",
        failpoints: "append-not-awaited=return;log-before-commit=sleep(20)",
    },
    Mutation {
        bug: "a leader acknowledges before a quorum has the entry",
        failpoints: "quorum-not-awaited=return",
    },
    Mutation {
        bug: "votes are not saved",
        failpoints: "vote-not-saved=return",
    },
    Mutation {
        bug: "a node applies one command in two hundred wrongly",
        failpoints: "command-garbled=0.5%return",
    },
];

/// How long each is looked for.
const PATIENCE: Duration = Duration::from_secs(120);

/// Looks for all of them, and says whether each was found.
pub(crate) async fn find_all(seed: u64, clients: u32) -> bool {
    let mut all_found = true;
    for mutation in MUTATIONS {
        let options = Options {
            seed,
            duration: PATIENCE,
            clients,
            failpoints: Some(mutation.failpoints.to_owned()),
            only: None,
        };
        let report = play(key_value::run(options, 0)).await;
        match report.violations.first() {
            Some(violation) => println!(
                "found within {:.0?}: {}",
                Duration::from_nanos(violation.at),
                mutation.bug
            ),
            None => {
                println!("NOT FOUND within {PATIENCE:?}: {}", mutation.bug);
                all_found = false;
            }
        }
    }
    all_found
}
