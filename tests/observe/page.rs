//! `/metrics`, as text.

use std::collections::BTreeSet;

use rkv_tests::Client;

/// What one scrape answered.
#[derive(Debug)]
pub(crate) struct Page(pub(crate) String);

impl Page {
    pub(crate) async fn of(node: &Client) -> Self {
        let answer = node.get("/metrics").await.expect(200);
        let kind = answer.header("content-type");
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
        Self(answer.text().to_owned())
    }

    /// The value of a series, as it stands in the text.
    pub(crate) fn value(&self, series: &str) -> Option<f64> {
        let lines = self.0.lines().filter_map(|line| line.rsplit_once(' '));
        let mut found = lines.filter(|(name, _)| *name == series);
        found.next()?.1.parse().ok()
    }

    /// The names of all metrics.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let lines = self
            .0
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "));
        lines
            .filter_map(|line| Some(line.split_once(' ')?.0.to_owned()))
            .collect()
    }
}
