//! Fixed-size tables of sources: how often each one did something, and which ones did it lately.
//!
//! Nothing grows with the number of sources: a key hashes to four slots of 8 bytes, and the least active of
//! them gives way. Two keys that fall on one slot with one tag (1 in 65536) share their count. Lock-free.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};

const WAYS: usize = 4;
const TIME_BITS: u32 = 48;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// The part of an address that stands for one source: /32 of IPv4, /56 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourcePrefix(IpAddr);

impl SourcePrefix {
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self(ip),
            IpAddr::V6(v6) => {
                let bits = u128::from(v6) & (u128::MAX << (128 - 56));
                Self(IpAddr::V6(Ipv6Addr::from(bits)))
            }
        }
    }
}

/// Slots of a 16-bit tag and a 48-bit time in microseconds, in sets of four.
#[derive(Debug)]
struct Slots {
    slots: Box<[AtomicU64]>,
    hasher: ahash::RandomState,
}

impl Slots {
    /// `slots` is a power of two, at least [`WAYS`].
    fn new(slots: usize, hasher: ahash::RandomState) -> Self {
        debug_assert!(slots.is_power_of_two() && slots >= WAYS);
        Self {
            slots: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            hasher,
        }
    }

    /// The key's set and its tag; the tag is never 0, so that an empty slot matches no key.
    fn set<K: Hash>(&self, key: &K) -> (&[AtomicU64], u64) {
        let hash = self.hasher.hash_one(key);
        let sets = self.slots.len() / WAYS;
        let start = (hash as usize % sets) * WAYS;
        let set = self.slots.get(start..start + WAYS).unwrap_or_default();
        (set, (hash >> TIME_BITS).max(1))
    }

    fn time_of<K: Hash>(&self, key: &K) -> Option<u64> {
        let (set, tag) = self.set(key);
        let held = set.iter().map(|slot| slot.load(Ordering::Relaxed));
        held.filter(|value| value >> TIME_BITS == tag)
            .map(|value| value & TIME_MASK)
            .max()
    }

    /// Replaces the key's time by `next(time)`; a key that has no slot takes the oldest one, with time 0.
    fn update<K: Hash>(&self, key: &K, next: impl Fn(u64) -> Option<u64>) -> bool {
        let (set, tag) = self.set(key);
        let matches = |slot: &&AtomicU64| slot.load(Ordering::Relaxed) >> TIME_BITS == tag;
        let oldest = || {
            set.iter()
                .min_by_key(|slot| slot.load(Ordering::Relaxed) & TIME_MASK)
        };
        let Some(slot) = set.iter().find(matches).or_else(oldest) else {
            return true;
        };
        let step = |value: u64| {
            let time = if value >> TIME_BITS == tag {
                value & TIME_MASK
            } else {
                0
            };
            next(time).map(|time| tag << TIME_BITS | time.min(TIME_MASK))
        };
        slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step)
            .is_ok()
    }
}

/// How often each key may do something: `per_s` a second after a burst.
#[derive(Debug)]
pub struct RateTable {
    slots: Slots,
}

impl RateTable {
    pub fn new(slots: usize, hasher: ahash::RandomState) -> Self {
        Self {
            slots: Slots::new(slots, hasher),
        }
    }

    /// Counts one event of `key`; false when `burst` events are ahead of the rate, and then it is not counted.
    ///
    /// `interval_us` is the time that pays for one event.
    pub fn allow<K: Hash>(&self, key: &K, now_ns: u64, interval_us: u64, burst: u64) -> bool {
        let now_us = now_ns / 1000;
        self.slots.update(key, |due_us| {
            let from = due_us.max(now_us);
            (from - now_us <= interval_us * burst.saturating_sub(1)).then_some(from + interval_us)
        })
    }

    /// True when [`allow`](Self::allow) would refuse. Counts nothing.
    pub fn is_exhausted<K: Hash>(
        &self,
        key: &K,
        now_ns: u64,
        interval_us: u64,
        burst: u64,
    ) -> bool {
        let due_us = self.slots.time_of(key).unwrap_or(0);
        due_us.saturating_sub(now_ns / 1000) > interval_us * burst.saturating_sub(1)
    }
}

/// Which keys did something lately.
#[derive(Debug)]
pub struct RecentTable {
    slots: Slots,
}

impl RecentTable {
    pub fn new(slots: usize, hasher: ahash::RandomState) -> Self {
        Self {
            slots: Slots::new(slots, hasher),
        }
    }

    pub fn touch<K: Hash>(&self, key: &K, now_ns: u64) {
        // One microsecond on, because time 0 is an empty slot's.
        let now_us = now_ns / 1000 + 1;
        self.slots.update(key, |at_us| Some(at_us.max(now_us)));
    }

    pub fn is_recent<K: Hash>(&self, key: &K, now_ns: u64, within_us: u64) -> bool {
        let held = self.slots.time_of(key);
        held.is_some_and(|at_us| (now_ns / 1000).saturating_sub(at_us) < within_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn hasher() -> ahash::RandomState {
        ahash::RandomState::with_seeds(1, 2, 3, 4)
    }

    #[test]
    fn a_source_gets_its_burst_and_then_its_rate() {
        let table = RateTable::new(1024, hasher());
        let allowed = |at: u64| {
            (0..1000)
                .filter(|_| table.allow(&7, at, 10_000, 100))
                .count()
        };
        assert_eq!(allowed(SECOND), 100);
        assert!(table.is_exhausted(&7, SECOND, 10_000, 100));
        assert_eq!(allowed(SECOND + SECOND / 2), 50);
        assert_eq!(allowed(60 * SECOND), 100);
    }

    #[test]
    fn one_source_does_not_use_up_anothers_allowance() {
        let table = RateTable::new(1024, hasher());
        while table.allow(&1, SECOND, 10_000, 100) {}
        assert!(table.allow(&2, SECOND, 10_000, 100));
        assert!(!table.is_exhausted(&2, SECOND, 10_000, 100));
    }

    #[test]
    fn a_flood_of_sources_does_not_push_out_the_one_that_is_limited() {
        let table = RateTable::new(64, hasher());
        while table.allow(&u64::MAX, SECOND, 10_000, 100) {}
        for source in 0..100_000_u64 {
            table.allow(&source, SECOND, 10_000, 100);
        }
        assert!(!table.allow(&u64::MAX, SECOND, 10_000, 100));
    }

    #[test]
    fn recent_means_within_the_given_time() {
        let table = RecentTable::new(1024, hasher());
        assert!(!table.is_recent(&1, 0, 1_000_000));
        table.touch(&1, 0);
        assert!(table.is_recent(&1, SECOND / 2, 1_000_000));
        assert!(!table.is_recent(&1, 2 * SECOND, 1_000_000));
        assert!(!table.is_recent(&2, SECOND / 2, 1_000_000));
    }

    #[test]
    fn ipv6_addresses_of_one_56_are_one_source() {
        let prefix = |text: &str| SourcePrefix::of(text.parse().expect("an address"));
        assert_eq!(prefix("2001:db8:1:200::1"), prefix("2001:db8:1:2ff:9::"));
        assert_ne!(prefix("2001:db8:1:200::1"), prefix("2001:db8:1:300::1"));
        assert_ne!(prefix("192.0.2.1"), prefix("192.0.2.2"));
    }
}
