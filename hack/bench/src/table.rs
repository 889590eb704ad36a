//! Plain-text tables.

use std::fmt;
use std::time::Duration;

/// A titled table: the first column is flush left, the others flush right.
#[derive(Debug)]
pub(crate) struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>, headers: &[&str]) -> Self {
        let mut table = Self {
            title: title.into(),
            rows: Vec::new(),
        };
        table.row(headers);
        table
    }

    pub(crate) fn row<S: AsRef<str>>(&mut self, cells: &[S]) {
        self.rows
            .push(cells.iter().map(|cell| cell.as_ref().to_owned()).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        writeln!(f, "{}", self.title)?;
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                line += &match column {
                    0 => format!("  {cell:<width$}"),
                    _ => format!("  {cell:>width$}"),
                };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A duration as milliseconds with two decimals: `0.31 ms`.
pub(crate) fn millis(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

/// The comparison of a figure with its bar: `bar < 100 ms: met`.
pub(crate) fn verdict(bar: &str, met: bool) -> String {
    format!("bar {bar}: {}", if met { "met" } else { "MISSED" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_without_blanks() {
        let mut table = Table::new("disk", &["", "p50", "p99"]);
        table.row(&["append", "0.31 ms", "10.00 ms"]);
        table.row(&["PUT of a value", "1 ms", ""]);
        let expected = "disk\n                      p50       p99\n  \
                        append          0.31 ms  10.00 ms\n  PUT of a value     1 ms\n";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn a_short_row_leaves_the_other_columns_empty() {
        let mut table = Table::new("t", &["a"]);
        table.row(&["b", "c"]);
        assert_eq!(table.to_string(), "t\n  a\n  b  c\n");
    }

    #[test]
    fn durations_are_in_milliseconds() {
        assert_eq!(millis(Duration::from_micros(314)), "0.31 ms");
        assert_eq!(millis(Duration::from_secs(2)), "2000.00 ms");
    }

    #[test]
    fn a_missed_bar_stands_out() {
        assert_eq!(verdict("> 8", true), "bar > 8: met");
        assert_eq!(verdict("> 8", false), "bar > 8: MISSED");
    }
}
