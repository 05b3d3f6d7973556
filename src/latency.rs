//! How long answers take: a histogram whose buckets grow with the time, a quarter of a power of two each.
//!
//! Counting is two relaxed additions, so that a request can afford it; a [`Spread`] is a copy to calculate with. A quantile is
//! off by no more than an eighth. Absent: who counts what.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Times below 2^6 us are in the first bucket.
const FIRST_OCTAVE: usize = 6;
/// Times of 2^28 us (268 s) and more are in the last one.
const OCTAVES: usize = 22;
const PARTS: usize = 4;
const BUCKETS: usize = 1 + OCTAVES * PARTS;

/// Times, counted by any thread.
#[derive(Debug)]
pub struct Latencies {
    counts: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; BUCKETS],
            sum_us: AtomicU64::new(0),
        }
    }
}

impl Latencies {
    pub fn count(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get(bucket(us)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub fn spread(&self) -> Spread {
        Spread {
            counts: self.counts.each_ref().map(|c| c.load(Ordering::Relaxed)),
            sum_us: self.sum_us.load(Ordering::Relaxed),
        }
    }
}

/// The counts of one moment, or of the time between two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    counts: [u64; BUCKETS],
    sum_us: u64,
}

impl Default for Spread {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS],
            sum_us: 0,
        }
    }
}

impl Spread {
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum_us += other.sum_us;
    }

    /// What has come since `earlier`; `None` if something has gone back.
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        let mut counts = [0; BUCKETS];
        let pairs = self.counts.iter().zip(&earlier.counts);
        for (count, (now, then)) in counts.iter_mut().zip(pairs) {
            *count = now.checked_sub(*then)?;
        }
        Some(Self {
            counts,
            sum_us: self.sum_us.checked_sub(earlier.sum_us)?,
        })
    }

    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// `None` if there is none.
    pub fn mean_ms(&self) -> Option<f64> {
        let total = self.total();
        (total > 0).then(|| self.sum_us as f64 / total as f64 / 1e3)
    }

    /// The time that a share of them (0.0 to 1.0) did not exceed; `None` if there is none.
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        let wanted = self.total() as f64 * share;
        let mut below = 0.0;
        let filled = self.counts.iter().enumerate();
        for (index, count) in filled.filter(|(_, count)| **count > 0) {
            let count = *count as f64;
            if below + count >= wanted {
                let (low, high) = bounds_us(index);
                return Some((low + (high - low) * (wanted - below) / count) / 1e3);
            }
            below += count;
        }
        None
    }
}

fn bucket(us: u64) -> usize {
    let Some(octave) = us.checked_ilog2().map(|octave| octave as usize) else {
        return 0;
    };
    let Some(above) = octave.checked_sub(FIRST_OCTAVE) else {
        return 0;
    };
    let part = (us >> (octave - 2)) as usize % PARTS;
    (1 + above * PARTS + part).min(BUCKETS - 1)
}

fn bounds_us(bucket: usize) -> (f64, f64) {
    let Some(above) = bucket.checked_sub(1) else {
        return (0.0, (1_u64 << FIRST_OCTAVE) as f64);
    };
    let width = (1_u64 << (FIRST_OCTAVE + above / PARTS)) as f64 / PARTS as f64;
    let low = width * (PARTS + above % PARTS) as f64;
    (low, low + width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_time_is_between_the_bounds_of_its_bucket(us in 0_u64..(1 << 28)) {
            let (low, high) = bounds_us(bucket(us));
            prop_assert!(low <= us as f64 && (us as f64) < high, "{us}: {low} to {high}");
        }
    }

    #[test]
    fn a_quantile_is_off_by_no_more_than_an_eighth() {
        let latencies = Latencies::default();
        (1..=1000).for_each(|ms| latencies.count(Duration::from_millis(ms)));
        let spread = latencies.spread();
        assert_eq!(spread.mean_ms(), Some(500.5));
        for (share, ms) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0)] {
            let found = spread.quantile_ms(share).expect("there are some");
            assert!((found / ms - 1.0).abs() < 0.125, "{share}: {found}");
        }
    }

    #[test]
    fn what_takes_for_ever_is_in_the_last_bucket_and_nothing_has_no_quantile() {
        let latencies = Latencies::default();
        assert_eq!(latencies.spread().mean_ms(), None);
        assert_eq!(latencies.spread().quantile_ms(0.5), None);
        latencies.count(Duration::from_secs(1 << 40));
        assert!(latencies.spread().quantile_ms(0.5) > Some(200_000.0));
    }

    #[test]
    fn a_difference_has_what_came_in_between_and_none_goes_back() {
        let latencies = Latencies::default();
        latencies.count(Duration::from_millis(10));
        let then = latencies.spread();
        latencies.count(Duration::from_millis(30));
        let now = latencies.spread();
        let since = now.since(&then).expect("it grew");
        assert_eq!((since.total(), since.mean_ms()), (1, Some(30.0)));
        assert_eq!(then.since(&now), None);
        let mut both = since;
        both.add(&then);
        assert_eq!(both, now);
    }
}
