//! What was measured, and the table of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::subject::{Measured, System};
use crate::table::{Table, millis};

/// What a figure is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    pub(crate) operation: &'static str,
    pub(crate) connections: u32,
    pub(crate) system: System,
}

/// The runs at each point.
#[derive(Debug, Default)]
pub(crate) struct Figures(BTreeMap<Point, Vec<Measured>>);

/// The medians of the runs at one point, each of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Medians {
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// CPU seconds for a thousand requests.
    pub(crate) cpu: f64,
    /// Bytes.
    pub(crate) resident: f64,
}

impl Figures {
    pub(crate) fn add(&mut self, point: Point, measured: Measured) {
        self.0.entry(point).or_default().push(measured);
    }

    /// In the order of the alphabet.
    pub(crate) fn operations(&self) -> Vec<&'static str> {
        let mut operations: Vec<_> = self.0.keys().map(|point| point.operation).collect();
        operations.dedup();
        operations
    }

    pub(crate) fn medians(&self, point: Point) -> Option<Medians> {
        let runs = self.0.get(&point)?;
        let of = |figure: fn(&Measured) -> f64| {
            let mut values: Vec<_> = runs.iter().map(figure).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let time = |figure| Duration::from_secs_f64(of(figure));
        Some(Medians {
            per_second: of(|run| run.outcome.per_second),
            p50: time(|run| run.outcome.p50.as_secs_f64()),
            p99: time(|run| run.outcome.p99.as_secs_f64()),
            cpu: of(|run| run.cpu),
            resident: of(|run| run.resident as f64),
        })
    }

    /// All medians of one operation and system over the numbers of connections.
    pub(crate) fn line(&self, operation: &str, system: System) -> Vec<(u32, Medians)> {
        let points = self.0.keys();
        let points = points.filter(|point| point.operation == operation && point.system == system);
        points
            .filter_map(|&point| Some((point.connections, self.medians(point)?)))
            .collect()
    }

    /// A row per point. Ratios are rkv's figure over the other system's of the same run.
    pub(crate) fn table(&self, title: String) -> Table {
        let headers = [
            "",
            "conns",
            "system",
            "requests/s",
            "p50",
            "p99",
            "CPU s/1000",
            "RSS",
            "rkv/it: req/s",
            "p50",
            "p99",
        ];
        let mut table = Table::new(title, &headers);
        for &point in self.0.keys() {
            let Some(own) = self.medians(point) else {
                continue;
            };
            let mut row = vec![
                point.operation.to_owned(),
                point.connections.to_string(),
                point.system.to_string(),
                format!("{:.0}", own.per_second),
                millis(own.p50),
                millis(own.p99),
                format!("{:.3}", own.cpu),
                format!("{:.0} MiB", own.resident / f64::from(1 << 20)),
            ];
            let rkv = Point {
                system: System::Rkv,
                ..point
            };
            if let Some(rkv) = self.medians(rkv).filter(|_| point.system != System::Rkv) {
                row.push(format!("{:.2}", rkv.per_second / own.per_second));
                row.push(ratio(rkv.p50, own.p50));
                row.push(ratio(rkv.p99, own.p99));
            }
            table.row(&row);
        }
        table
    }
}

fn ratio(ours: Duration, theirs: Duration) -> String {
    format!("{:.2}", ours.as_secs_f64() / theirs.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::super::wrk::Outcome;
    use super::*;

    fn measured(per_second: f64) -> Measured {
        Measured {
            outcome: Outcome {
                requests: 1000,
                per_second,
                p50: Duration::from_millis(2),
                p99: Duration::from_millis(8),
            },
            cpu: 0.1,
            resident: 1 << 20,
        }
    }

    #[test]
    fn medians_are_taken_per_point_and_ratios_against_the_same_point() {
        let mut figures = Figures::default();
        let point = |system| Point {
            operation: "put",
            connections: 16,
            system,
        };
        for per_second in [300.0, 100.0, 200.0] {
            figures.add(point(System::Rkv), measured(per_second));
        }
        figures.add(point(System::Etcd), measured(50.0));
        let table = figures.table("t".to_owned()).to_string();
        let rows: Vec<Vec<&str>> = table
            .lines()
            .skip(2)
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(rows[0][..4], ["put", "16", "rkv", "200"]);
        assert_eq!(rows[1][2..4], ["etcd", "50"]);
        assert_eq!(rows[1][rows[1].len() - 3..], ["4.00", "1.00", "1.00"]);
    }
}
