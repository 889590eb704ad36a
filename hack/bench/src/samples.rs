//! Latencies and what is said about them.

use std::time::Duration;

/// Latencies of one kind of operation.
#[derive(Debug, Default, Clone)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest sample that `percent` of all samples do not exceed (nearest rank), for 0 to
    /// 100. Zero when there are no samples.
    pub(crate) fn percentile(&self, percent: u32) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent.min(100) as usize).div_ceil(100);
        sorted
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }

    pub(crate) fn median(&self) -> Duration {
        self.percentile(50)
    }

    pub(crate) fn max(&self) -> Duration {
        self.0.iter().copied().max().unwrap_or_default()
    }
}

impl FromIterator<Duration> for Samples {
    fn from_iter<I: IntoIterator<Item = Duration>>(samples: I) -> Self {
        Self(samples.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(values: impl IntoIterator<Item = u64>) -> Samples {
        values.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn percentiles_are_nearest_ranks_whatever_the_order() {
        let samples = millis((1..=100).rev());
        assert_eq!(samples.median(), Duration::from_millis(50));
        assert_eq!(samples.percentile(99), Duration::from_millis(99));
        assert_eq!(samples.percentile(100), samples.max());
        assert_eq!(samples.percentile(0), Duration::from_millis(1));
    }

    #[test]
    fn a_high_percentile_of_few_samples_is_the_largest() {
        assert_eq!(millis([3, 1, 2]).percentile(99), Duration::from_millis(3));
        assert_eq!(millis([3, 1, 2]).median(), Duration::from_millis(2));
    }

    #[test]
    fn no_samples_give_zero() {
        assert_eq!(Samples::default().median(), Duration::ZERO);
        assert_eq!(Samples::default().max(), Duration::ZERO);
    }

    #[test]
    fn appended_samples_count() {
        let mut samples = millis([1]);
        samples.append(millis([5, 9]));
        assert_eq!(
            (samples.len(), samples.max()),
            (3, Duration::from_millis(9))
        );
    }
}
