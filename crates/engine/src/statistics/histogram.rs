//! Histograms with fixed buckets, counted with atomics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// Upper bounds of times in nanoseconds: from a tiny table model to a long text.
const TIMES: [u64; 17] = {
    const MICRO: u64 = 1_000;
    const MILLI: u64 = 1_000_000;
    const SECOND: u64 = 1_000_000_000;
    [
        100 * MICRO,
        250 * MICRO,
        500 * MICRO,
        MILLI,
        2_500 * MICRO,
        5 * MILLI,
        10 * MILLI,
        25 * MILLI,
        50 * MILLI,
        100 * MILLI,
        250 * MILLI,
        500 * MILLI,
        SECOND,
        2_500 * MILLI,
        5 * SECOND,
        10 * SECOND,
        60 * SECOND,
    ]
};

const NANOS_PER_SECOND: f64 = 1e9;

/// Times in buckets, whose bounds never change.
#[derive(Debug)]
pub struct Histogram {
    /// One for each bound, and one for what is larger.
    counts: [AtomicU64; TIMES.len() + 1],
    sum_nanos: AtomicU64,
}

impl Histogram {
    /// Returns an empty histogram.
    pub fn of_times() -> Histogram {
        Histogram { counts: std::array::from_fn(|_| AtomicU64::new(0)), sum_nanos: AtomicU64::new(0) }
    }

    /// Adds a time.
    pub fn add_time(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = TIMES.partition_point(|bound| *bound < nanos);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Returns what was added.
    pub fn read(&self) -> Distribution {
        let mut count = 0;
        let mut up_to = |bucket: &AtomicU64| {
            count += bucket.load(Ordering::Relaxed);
            count
        };
        let bounds = TIMES.iter().map(|bound| *bound as f64 / NANOS_PER_SECOND);
        let buckets = bounds.zip(&self.counts).map(|(bound, bucket)| (bound, up_to(bucket))).collect();
        let count = self.counts.last().map_or(0, &mut up_to);
        Distribution { count, sum: self.sum_nanos.load(Ordering::Relaxed) as f64 / NANOS_PER_SECOND, buckets }
    }
}

/// A histogram as it was read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Distribution {
    /// How many values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// How many of them are not above each bound.
    #[serde(serialize_with = "as_objects")]
    pub buckets: Vec<(f64, u64)>,
}

fn as_objects<S: serde::Serializer>(buckets: &[(f64, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Bucket {
        le: f64,
        count: u64,
    }
    serializer.collect_seq(buckets.iter().map(|(le, count)| Bucket { le: *le, count: *count }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_at_a_bound_belongs_below_it_and_the_longest_only_to_the_count() {
        let histogram = Histogram::of_times();
        for micros in [100, 101, 60_000_000, 60_000_001] {
            histogram.add_time(Duration::from_micros(micros));
        }
        let read = histogram.read();
        let counts: Vec<u64> = read.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!((counts[..2].to_vec(), counts[TIMES.len() - 1], read.count), (vec![1, 2], 3, 4));
    }

    #[test]
    fn times_are_reported_in_seconds() {
        let histogram = Histogram::of_times();
        histogram.add_time(Duration::from_millis(1500));
        let read = histogram.read();
        assert_eq!((read.count, read.sum), (1, 1.5));
        assert_eq!(read.buckets.iter().find(|(_, count)| *count == 1).unwrap().0, 2.5);
    }
}
