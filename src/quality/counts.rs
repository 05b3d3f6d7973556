//! What the calls of one server have measured together: histograms and counts for the metrics. Plain integers.

use super::{Kind, Side};

/// Upper bounds of a histogram's buckets, in millionths; what is above the last one has a bucket of its own.
pub type Bounds = [u32; BOUNDS];

const BOUNDS: usize = 10;

/// 0.1 % to 50 %.
pub const LOSS_BOUNDS: Bounds = [
    0, 1_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 350_000, 500_000,
];
/// 1 ms to 1 s.
pub const JITTER_BOUNDS: Bounds = [
    1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 50_000, 100_000, 300_000, 1_000_000,
];
/// 5 ms to 5 s.
pub const ROUND_TRIP_BOUNDS: Bounds = [
    5_000, 10_000, 25_000, 50_000, 100_000, 150_000, 250_000, 400_000, 1_000_000, 5_000_000,
];

/// A histogram in millionths: of a ratio, or of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram {
    bounds: &'static Bounds,
    buckets: [u64; BOUNDS + 1],
    sum_millionths: u64,
}

impl Histogram {
    pub fn new(bounds: &'static Bounds) -> Self {
        Self {
            bounds,
            buckets: [0; BOUNDS + 1],
            sum_millionths: 0,
        }
    }

    /// `value` in whole units: a ratio, or seconds.
    pub fn observe(&mut self, value: f32) {
        // `as` takes what is negative or not a number as 0.
        let millionths = (f64::from(value) * 1e6).round() as u64;
        let fits = |bound: &u32| millionths <= u64::from(*bound);
        let bucket = self.bounds.iter().position(fits).unwrap_or(BOUNDS);
        self.buckets[bucket] += 1;
        self.sum_millionths += millionths;
    }

    /// Adds another worker's, of the same bounds.
    pub fn add(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += more;
        }
        self.sum_millionths += other.sum_millionths;
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Of all that was observed, in whole units.
    pub fn sum(&self) -> f64 {
        self.sum_millionths as f64 / 1e6
    }

    /// The mean of what came since `earlier`, a copy of this very histogram; `None` if nothing came.
    pub fn mean_since(&self, earlier: &Self) -> Option<f64> {
        let count = self.count().checked_sub(earlier.count())?;
        let sum = self.sum_millionths.checked_sub(earlier.sum_millionths)?;
        (count > 0).then(|| sum as f64 / 1e6 / count as f64)
    }

    /// Upper bounds in whole units with what each bucket alone has; the last bound is infinite.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.bounds.iter().map(|bound| f64::from(*bound) / 1e6);
        bounds.chain([f64::INFINITY]).zip(self.buckets)
    }
}

/// One side of all calls: one observation for each call and interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SideCounts {
    pub loss_ratio: Histogram,
    /// Seconds.
    pub jitter: Histogram,
    /// Seconds.
    pub round_trip: Histogram,
    packets: [u64; Kind::ALL.len()],
}

impl Default for SideCounts {
    fn default() -> Self {
        Self {
            loss_ratio: Histogram::new(&LOSS_BOUNDS),
            jitter: Histogram::new(&JITTER_BOUNDS),
            round_trip: Histogram::new(&ROUND_TRIP_BOUNDS),
            packets: [0; Kind::ALL.len()],
        }
    }
}

impl SideCounts {
    pub fn packets(&self, kind: Kind) -> u64 {
        self.packets[kind.index()]
    }

    pub(super) fn count(&mut self, kind: Kind) {
        self.packets[kind.index()] += 1;
    }

    fn add(&mut self, other: &Self) {
        self.loss_ratio.add(&other.loss_ratio);
        self.jitter.add(&other.jitter);
        self.round_trip.add(&other.round_trip);
        for (mine, more) in self.packets.iter_mut().zip(other.packets) {
            *mine += more;
        }
    }
}

/// Both sides; only ever more, so that differences are what happened meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    sides: [SideCounts; 2],
}

impl Counts {
    pub fn side(&self, side: Side) -> &SideCounts {
        &self.sides[side.index()]
    }

    pub(super) fn side_mut(&mut self, side: Side) -> &mut SideCounts {
        &mut self.sides[side.index()]
    }

    /// Adds another worker's.
    pub fn add(&mut self, other: &Self) {
        for (mine, more) in self.sides.iter_mut().zip(&other.sides) {
            mine.add(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_has_each_value_in_the_first_bucket_that_holds_it() {
        let mut histogram = Histogram::new(&LOSS_BOUNDS);
        for value in [0.0, 0.001, 0.0011, 0.01, 0.5, 0.51, 1.0] {
            histogram.observe(value);
        }
        let counts: Vec<u64> = histogram.buckets().map(|(_, count)| count).collect();
        assert_eq!(counts, [1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(histogram.count(), 7);
        assert!((histogram.sum() - 2.0221).abs() < 1e-6);
    }

    #[test]
    fn a_mean_is_that_of_what_came_in_between() {
        let mut histogram = Histogram::new(&JITTER_BOUNDS);
        histogram.observe(10.0);
        let earlier = histogram;
        assert_eq!(histogram.mean_since(&earlier), None);
        histogram.observe(0.010);
        histogram.observe(0.030);
        assert_eq!(histogram.mean_since(&earlier), Some(0.02));
        let mut both = earlier;
        both.add(&histogram);
        assert_eq!(both.count(), 4);
    }
}
