//! The table at the end of a run.

use std::collections::BTreeMap;

use crate::history::{Outcome, Request};
use crate::nemesis::Window;
use crate::run::Violation;

/// The name of the row for requests outside of all faults.
const PEACE: &str = "(none)";

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Row {
    times: usize,
    operations: usize,
    unknown: usize,
    checked: usize,
    violations: usize,
}

impl Row {
    fn add(&mut self, other: Self) {
        self.times += other.times;
        self.operations += other.operations;
        self.unknown += other.unknown;
        self.checked += other.checked;
        self.violations += other.violations;
    }
}

/// Requests by the fault that was on when they were sent.
#[derive(Debug, Default)]
pub(crate) struct Table(BTreeMap<&'static str, Row>);

impl Table {
    /// The table of one run, whose windows follow each other.
    pub(crate) fn new(windows: &[Window], requests: &[Request], violations: &[Violation]) -> Self {
        let fault_at = |moment| {
            let next = windows.partition_point(|window| window.from <= moment);
            let window = windows.get(next.checked_sub(1)?)?;
            (moment <= window.to).then_some(window.fault.name())
        };
        let mut table = Self::default();
        for window in windows {
            table.0.entry(window.fault.name()).or_default().times += 1;
        }
        for request in requests {
            let row = table.row(fault_at(request.sent));
            row.operations += 1;
            row.unknown += usize::from(request.outcome == Outcome::Unknown);
            row.checked += usize::from(request.outcome != Outcome::Refused);
        }
        for violation in violations {
            table.row(fault_at(violation.at)).violations += 1;
        }
        table
    }

    fn row(&mut self, fault: Option<&'static str>) -> &mut Row {
        self.0.entry(fault.unwrap_or(PEACE)).or_default()
    }

    /// Adds another run's.
    pub(crate) fn add(&mut self, other: Self) {
        for (fault, row) in other.0 {
            self.0.entry(fault).or_default().add(row);
        }
    }

    pub(crate) fn print(&self) {
        println!(
            "{:<28} {:>6} {:>11} {:>8} {:>9}  verdict",
            "fault", "times", "operations", "unknown", "checked"
        );
        let mut total = Row::default();
        for (fault, row) in &self.0 {
            print_row(fault, row);
            total.add(*row);
        }
        print_row("all", &total);
    }
}

fn print_row(name: &str, row: &Row) {
    let verdict = match row.violations {
        0 => "ok".to_owned(),
        violations => format!("{violations} VIOLATED"),
    };
    println!(
        "{name:<28} {:>6} {:>11} {:>8} {:>9}  {verdict}",
        row.times, row.operations, row.unknown, row.checked
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nemesis::Fault;

    #[test]
    fn requests_and_violations_count_for_the_fault_that_was_on() {
        let window = |fault, from, to| Window { fault, from, to };
        let windows = [
            window(Fault::KillAll, 10, 20),
            window(Fault::Delay, 30, 40),
            window(Fault::KillAll, 50, 60),
        ];
        let request = |sent, outcome| Request { sent, outcome };
        let requests = [
            request(5, Outcome::Known),
            request(12, Outcome::Unknown),
            request(25, Outcome::Known),
            request(40, Outcome::Refused),
            request(55, Outcome::Known),
        ];
        let violations = [Violation {
            at: 35,
            what: String::new(),
        }];
        let table = Table::new(&windows, &requests, &violations);
        let row = |times, operations, unknown, checked, violations| Row {
            times,
            operations,
            unknown,
            checked,
            violations,
        };
        let expected = BTreeMap::from([
            (Fault::KillAll.name(), row(2, 2, 1, 2, 0)),
            (Fault::Delay.name(), row(1, 1, 0, 0, 1)),
            (PEACE, row(0, 2, 0, 2, 0)),
        ]);
        assert_eq!(table.0, expected);
    }
}
