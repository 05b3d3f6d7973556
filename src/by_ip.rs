//! A few IP addresses, each with something of its own: entered once, kept for ever, found without a lock.
//!
//! For the addresses of this machine that relays are bound to. The search is linear: there are few.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// At most so many addresses as it was made for, in the order in which they came.
pub struct ByIp<T> {
    slots: Box<[OnceLock<(IpAddr, T)>]>,
    len: AtomicUsize,
}

impl<T> ByIp<T> {
    pub fn new(addresses_max: usize) -> Self {
        Self {
            slots: (0..addresses_max).map(|_| OnceLock::new()).collect(),
            len: AtomicUsize::new(0),
        }
    }

    pub fn find(&self, ip: IpAddr) -> Option<&T> {
        let mut known = self.slots.iter().map_while(OnceLock::get);
        known
            .find(|(known, _)| *known == ip)
            .map(|(_, value)| value)
    }

    /// What belongs to `ip`, made if it is new; `None` when there is no place for one more address.
    pub fn register(&self, ip: IpAddr, make: impl Fn() -> T) -> Option<&T> {
        for slot in &self.slots {
            let mut added = false;
            let (known, value) = slot.get_or_init(|| {
                added = true;
                (ip, make())
            });
            if added {
                self.len.fetch_add(1, Ordering::Release);
            }
            if *known == ip {
                return Some(value);
            }
        }
        None
    }

    pub fn ips(&self) -> impl Iterator<Item = IpAddr> {
        let known = self.slots.iter().map_while(OnceLock::get);
        known.map(|(ip, _)| *ip)
    }

    /// How many addresses there are; it only grows.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
