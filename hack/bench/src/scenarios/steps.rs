//! Doing something to a cluster under load, and looking whether it kept its word.

use std::time::Duration;

use anyhow::Result;

use super::writers::{Felt, Writers};
use crate::cluster::Cluster;
use crate::samples::Samples;
use crate::table::{millis, verdict};

/// Writing before and after the work that belongs to its step.
const MARGIN: Duration = Duration::from_millis(300);

/// All steps of one kind.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    felt: Felt,
    took: Samples,
    lost: u64,
    unequal: u64,
}

impl Steps {
    pub(crate) const HEADERS: [&str; 8] = [
        "",
        "median",
        "longest",
        "writes",
        "5xx",
        "lost",
        "unequal",
        "longest pause",
    ];

    /// Writes while `work` is done, which tells how long it took, and for a moment around it. Then
    /// everybody stops and looks.
    pub(crate) async fn step<T>(
        &mut self,
        cluster: &Cluster,
        writers: &mut Writers,
        work: impl Future<Output = Result<(Duration, T)>>,
    ) -> Result<T> {
        let with_margins = async {
            tokio::time::sleep(MARGIN).await;
            let done = work.await?;
            tokio::time::sleep(MARGIN).await;
            Ok(done)
        };
        let ((took, value), felt) = writers.during(with_margins).await?;
        self.took.push(took);
        self.felt.add(felt);
        self.lost += writers.verify().await?;
        self.unequal += u64::from(!cluster.digests_are_equal().await?);
        Ok(value)
    }

    /// Writes for `duration` while nothing is done.
    pub(crate) async fn pause(
        &mut self,
        cluster: &Cluster,
        writers: &mut Writers,
        duration: Duration,
    ) -> Result<()> {
        let rest = duration.saturating_sub(2 * MARGIN);
        let work = async {
            tokio::time::sleep(rest).await;
            Ok((rest, ()))
        };
        self.step(cluster, writers, work).await
    }

    /// Time under load.
    pub(crate) fn duration(&self) -> Duration {
        self.felt.duration
    }

    pub(crate) fn cells(&self, name: &str) -> Vec<String> {
        vec![
            name.to_owned(),
            millis(self.took.median()),
            millis(self.took.max()),
            self.felt.writes.to_string(),
            self.felt.refused.to_string(),
            self.lost.to_string(),
            self.unequal.to_string(),
            millis(self.felt.longest_pause),
        ]
    }

    /// The cells, and whether the longest pause is below `bar`.
    pub(crate) fn cells_with_bar(&self, name: &str, bar: Duration) -> Vec<String> {
        let mut cells = self.cells(name);
        let name = format!("pause < {} ms", bar.as_millis());
        cells.push(verdict(&name, self.felt.longest_pause < bar));
        cells
    }
}

/// A row that says whether nothing was refused, lost, or otherwise on one node than on another.
pub(crate) fn promises<const N: usize>(all: [&Steps; N]) -> Vec<String> {
    let sum = |of: fn(&Steps) -> u64| all.iter().map(|steps| of(steps)).sum::<u64>();
    let broken = [
        sum(|steps| steps.felt.refused),
        sum(|steps| steps.lost),
        sum(|steps| steps.unequal),
    ];
    let mut cells = vec![
        "all".to_owned(),
        String::new(),
        String::new(),
        sum(|steps| steps.felt.writes).to_string(),
    ];
    cells.extend(broken.map(|count| count.to_string()));
    cells.push(String::new());
    cells.push(verdict("0, 0, 0", broken == [0; 3]));
    cells
}
