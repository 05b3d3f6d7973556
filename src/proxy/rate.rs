//! Requests per second of one client address, over all threads.
//!
//! One token bucket for each /32 or /56 (a household's prefix), filled at the allowed rate, as deep as one second of it.
//! Bounded: when [`ADDRESSES_MAX`] buckets are held, the full ones are forgotten first, which changes no verdict; if none is
//! full, the table starts afresh.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const ADDRESSES_MAX: usize = 1 << 16;

#[derive(Debug, Default)]
pub(super) struct Rates {
    /// When the bucket of an address will be full again.
    full_at: Mutex<HashMap<IpAddr, Instant>>,
}

impl Rates {
    /// Takes one request's token; false if there is none. 0 per second means no limit.
    pub(super) fn admit(&self, client: IpAddr, per_s: u32, now: Instant) -> bool {
        if per_s == 0 {
            return true;
        }
        let cost = Duration::from_secs(1) / per_s;
        let mut full_at = self
            .full_at
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if full_at.len() >= ADDRESSES_MAX {
            full_at.retain(|_, at| *at > now);
            if full_at.len() >= ADDRESSES_MAX {
                full_at.clear();
            }
        }
        let at = full_at.entry(prefix(client)).or_insert(now);
        let filled = (*at).max(now) + cost;
        if filled > now + Duration::from_secs(1) {
            return false;
        }
        *at = filled;
        true
    }
}

fn prefix(client: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = client.to_canonical() else {
        return client.to_canonical();
    };
    IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 72)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_second_of_requests_passes_at_once_and_then_one_for_each_share_of_a_second() {
        let rates = Rates::default();
        let start = Instant::now();
        let client = ip("192.0.2.1");
        for _ in 0..10 {
            assert!(rates.admit(client, 10, start));
        }
        assert!(!rates.admit(client, 10, start));
        assert!(rates.admit(client, 10, start + Duration::from_millis(100)));
        assert!(!rates.admit(client, 10, start + Duration::from_millis(100)));
    }

    #[test]
    fn a_56_shares_one_bucket_and_another_address_has_its_own() {
        let rates = Rates::default();
        let start = Instant::now();
        assert!(rates.admit(ip("2001:db8:0:1::1"), 1, start));
        assert!(!rates.admit(ip("2001:db8:0:2::2"), 1, start));
        assert!(rates.admit(ip("2001:db8:0:100::1"), 1, start));
        assert!(rates.admit(ip("192.0.2.1"), 1, start));
        assert!(!rates.admit(ip("::ffff:192.0.2.1"), 1, start));
    }

    #[test]
    fn no_limit_admits_everything() {
        let rates = Rates::default();
        let now = Instant::now();
        assert!((0..1000).all(|_| rates.admit(ip("192.0.2.1"), 0, now)));
    }
}
