//! What is printed when a test fails: all that is needed to understand it, and to do it again.

use std::fs;

use crate::node::NodeProcess;

/// How much of each node's log is printed; the whole is in the file.
const TAIL_LINES: usize = 60;

/// Prints command lines, folders and the ends of the logs.
pub(crate) fn print<'a>(nodes: impl Iterator<Item = &'a NodeProcess>) {
    for node in nodes {
        let spec = node.spec();
        // Not `NodeSpec::command`: it fails without a daemon, and this runs while a test fails.
        let arguments: Vec<_> = spec
            .arguments()
            .iter()
            .map(|arg| arg.display().to_string())
            .collect();
        eprintln!("--- node {}: rkvd {}", spec.id, arguments.join(" "));
        eprintln!(
            "    data {}, log {}",
            spec.data_dir.display(),
            node.log_path().display()
        );
        let log = fs::read(node.log_path()).unwrap_or_default();
        eprintln!("{}", tail(&String::from_utf8_lossy(&log)));
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_long_log_is_kept() {
        let log: String = (0..100).map(|line| format!("{line}\n")).collect();
        assert!(tail(&log).starts_with("40\n") && tail(&log).ends_with("\n99"));
        assert_eq!(tail("one\n"), "one");
    }
}
