//! Token buckets for bytes, held as one number: the time at which everything let through is paid for.
//!
//! A bucket holds one second's worth of bytes. A rate is an argument of each call, so that a reload changes
//! it without touching the bucket. A rate of 0 means no limit and is the caller's to skip.

use std::sync::atomic::{AtomicU64, Ordering};

/// How far ahead of its rate a flow may run: one second's bytes at once.
const BURST_NS: u64 = 1_000_000_000;

/// A bucket with one owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteBucket {
    paid_ns: u64,
}

impl ByteBucket {
    /// Takes `bytes` at `bytes_per_s`; false when the flow has run too far ahead, and then nothing is taken.
    pub fn take(&mut self, now_ns: u64, bytes: usize, bytes_per_s: u64) -> bool {
        let Some(paid_ns) = advance(self.paid_ns, now_ns, bytes, bytes_per_s) else {
            return false;
        };
        self.paid_ns = paid_ns;
        true
    }
}

/// A bucket that several workers draw from.
#[derive(Debug, Default)]
pub struct SharedByteBucket {
    paid_ns: AtomicU64,
}

impl SharedByteBucket {
    /// As [`ByteBucket::take`].
    pub fn take(&self, now_ns: u64, bytes: usize, bytes_per_s: u64) -> bool {
        let step = |paid_ns| advance(paid_ns, now_ns, bytes, bytes_per_s);
        self.paid_ns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, step)
            .is_ok()
    }
}

/// The next `paid_ns`, or nothing when the burst is used up.
///
/// What counts is whether the bucket is in debt before this packet, so that a packet larger than one second's
/// bytes still passes, and is paid for afterwards.
fn advance(paid_ns: u64, now_ns: u64, bytes: usize, bytes_per_s: u64) -> Option<u64> {
    let from = paid_ns.max(now_ns);
    if from - now_ns >= BURST_NS {
        return None;
    }
    let cost = u128::from(u64::try_from(bytes).unwrap_or(u64::MAX)) * 1_000_000_000
        / u128::from(bytes_per_s.max(1));
    Some(from.saturating_add(u64::try_from(cost).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_flow_gets_its_rate_and_one_second_of_burst() {
        let mut bucket = ByteBucket::default();
        let mut passed = 0;
        for millisecond in 0..10_000 {
            if bucket.take(millisecond * 1_000_000, 100, 10_000) {
                passed += 100;
            }
        }
        assert!((100_000..=110_200).contains(&passed), "{passed}");
    }

    #[test]
    fn an_idle_flow_saves_no_more_than_one_second() {
        let mut bucket = ByteBucket::default();
        assert!(bucket.take(0, 1, 1000));
        let passed = (0..100)
            .filter(|_| bucket.take(3600 * SECOND, 100, 1000))
            .count();
        assert_eq!(passed, 10);
    }

    #[test]
    fn a_packet_larger_than_a_seconds_bytes_passes_and_is_paid_for() {
        let bucket = SharedByteBucket::default();
        assert!(bucket.take(0, 5000, 1000));
        assert!(!bucket.take(3 * SECOND, 1, 1000));
        assert!(bucket.take(5 * SECOND, 1, 1000));
    }

    #[test]
    fn a_shared_bucket_counts_what_every_worker_takes() {
        let bucket = SharedByteBucket::default();
        let passed = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        if bucket.take(7 * SECOND, 100, 10_000) {
                            passed.fetch_add(100, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(passed.into_inner(), 10_000);
    }
}
