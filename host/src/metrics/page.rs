//! The answer to one scrape.

use prometheus::core::Collector;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Error, TextEncoder};

/// Metrics in the order in which they are written, each once.
#[derive(Debug, Default)]
pub struct Page {
    families: Vec<MetricFamily>,
}

/// A row's labels.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

impl Page {
    /// The content type of what [`Page::encode`] gives.
    pub const CONTENT_TYPE: &'static str = prometheus::TEXT_FORMAT;

    /// Adds what a recorder has recorded.
    pub fn record(&mut self, recorder: &impl Collector) {
        self.families.extend(recorder.collect());
    }

    /// Adds recorders that differ in the value of one label, as one metric.
    pub fn record_each<'a, R: Collector + 'a>(
        &mut self,
        label: &'static str,
        recorders: impl IntoIterator<Item = (String, &'a R)>,
    ) {
        let mut whole: Option<MetricFamily> = None;
        for (value, recorder) in recorders {
            for mut family in recorder.collect() {
                for metric in family.mut_metric() {
                    metric.set_label(pairs(&[(label, &value)]));
                }
                match &mut whole {
                    Some(whole) => whole.mut_metric().extend(family.take_metric()),
                    None => whole = Some(family),
                }
            }
        }
        self.families.extend(whole);
    }

    /// Adds a number that goes up and down.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.add(name, help, MetricType::GAUGE, vec![gauge_row(&[], value)]);
    }

    /// Adds an index of the log, if there is one yet.
    pub fn index(&mut self, name: &'static str, help: &'static str, index: Option<u64>) {
        if let Some(index) = index {
            self.gauge(name, help, index as f64);
        }
    }

    /// Adds a condition: 1 where it holds.
    pub fn flag(&mut self, name: &'static str, help: &'static str, holds: bool) {
        self.gauge(name, help, f64::from(u8::from(holds)));
    }

    /// Adds a number for each of some labels.
    pub fn gauges<'a>(
        &mut self,
        name: &'static str,
        help: &'static str,
        rows: impl IntoIterator<Item = (Labels<'a>, f64)>,
    ) {
        let rows = rows
            .into_iter()
            .map(|(labels, value)| gauge_row(labels, value));
        self.add(name, help, MetricType::GAUGE, rows.collect());
    }

    /// Adds a number that only grows while the process lives.
    pub fn counter(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.counters(name, help, [(&[] as Labels<'_>, value)]);
    }

    /// Adds a growing number for each of some labels.
    pub fn counters<'a>(
        &mut self,
        name: &'static str,
        help: &'static str,
        rows: impl IntoIterator<Item = (Labels<'a>, f64)>,
    ) {
        let row = |(labels, value)| {
            let mut counter = Counter::default();
            counter.set_value(value);
            let mut metric = Metric::from_label(pairs(labels));
            metric.set_counter(counter);
            metric
        };
        let rows = rows.into_iter().map(row).collect();
        self.add(name, help, MetricType::COUNTER, rows);
    }

    fn add(&mut self, name: &'static str, help: &'static str, kind: MetricType, rows: Vec<Metric>) {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(rows);
        self.families.push(family);
    }

    /// The page in Prometheus' text format.
    ///
    /// # Errors
    /// When a metric has no name.
    pub fn encode(mut self) -> Result<String, Error> {
        // A metric without rows says nothing, and the encoder refuses it.
        self.families
            .retain(|family| !family.get_metric().is_empty());
        TextEncoder::new().encode_to_string(&self.families)
    }
}

fn gauge_row(labels: Labels<'_>, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(pairs(labels));
    metric.set_gauge(gauge);
    metric
}

fn pairs(labels: Labels<'_>) -> Vec<LabelPair> {
    let pair = |(name, value): &(&'static str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{counter, histogram};

    #[test]
    fn a_page_is_written_in_the_text_format() {
        let mut page = Page::default();
        page.flag("up", "Whether it is up.", true);
        page.index("applied", "None yet.", None);
        let labels: Labels<'_> = &[("name", "a \"b\"\n")];
        page.counters("seen_total", "How many.", [(labels, 3.0)]);
        let text = page.encode().unwrap();
        assert_eq!(
            text,
            "# HELP up Whether it is up.\n# TYPE up gauge\nup 1\n\
             # HELP seen_total How many.\n# TYPE seen_total counter\n\
             seen_total{name=\"a \\\"b\\\"\\n\"} 3\n"
        );
    }

    #[test]
    fn recorders_of_one_metric_are_told_apart_by_a_label() {
        let recorders = [1, 2].map(|peer| (peer, histogram("trip", "How long.", vec![1.0])));
        recorders[1].1.observe(0.5);
        let mut page = Page::default();
        let rows = recorders
            .iter()
            .map(|(peer, trip)| (peer.to_string(), trip));
        page.record_each("peer", rows);
        page.record(&counter("c_total", "Some."));
        let text = page.encode().unwrap();
        assert_eq!(text.matches("# TYPE trip histogram").count(), 1, "{text}");
        assert!(text.contains("trip_count{peer=\"1\"} 0"), "{text}");
        assert!(
            text.contains("trip_bucket{peer=\"2\",le=\"1\"} 1"),
            "{text}"
        );
    }
}
