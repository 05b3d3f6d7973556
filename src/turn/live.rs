//! Which relayed transport addresses are live, on all workers: a bitmap of ports for each relay address.
//!
//! Written when a relay is bound and closed, read without locks when a packet goes to an own address.
//! An address that had a relay once keeps its bitmap (8 KiB); there are few of them.

use crate::by_ip::ByIp;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

/// Relay addresses that are remembered. Relays on further ones work, but not between each other.
const ADDRESSES_MAX: usize = 256;
const WORDS: usize = 65536 / 64;

/// A bitmap of ports.
type Ports = Box<[AtomicU64]>;

/// Live relayed addresses of the server.
pub struct LiveRelays {
    addresses: ByIp<Ports>,
}

impl Default for LiveRelays {
    fn default() -> Self {
        Self {
            addresses: ByIp::new(ADDRESSES_MAX),
        }
    }
}

impl LiveRelays {
    pub fn mark(&self, addr: SocketAddr) {
        let make = || (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        if let Some(ports) = self.addresses.register(addr.ip(), make) {
            let (word, bit) = place(ports, addr.port());
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    pub fn clear(&self, addr: SocketAddr) {
        if let Some(ports) = self.addresses.find(addr.ip()) {
            let (word, bit) = place(ports, addr.port());
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    pub fn is_live(&self, addr: SocketAddr) -> bool {
        self.addresses.find(addr.ip()).is_some_and(|ports| {
            let (word, bit) = place(ports, addr.port());
            word.load(Ordering::Relaxed) & bit != 0
        })
    }

    /// True for an address that some relay is or was bound to.
    pub fn is_relay_ip(&self, ip: IpAddr) -> bool {
        self.addresses.find(ip).is_some()
    }

    /// The addresses that some relay is or was bound to.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.ips()
    }

    /// How many addresses there are; it only grows, and whoever remembers verdicts compares it.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }
}

fn place(ports: &[AtomicU64], port: u16) -> (&AtomicU64, u64) {
    (&ports[usize::from(port) / 64], 1 << (port % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_live_from_mark_to_clear_and_its_neighbours_are_not() {
        let live = LiveRelays::default();
        for port in [0, 63, 64, 49152, 65535] {
            let addr = SocketAddr::from(([10, 0, 0, 1], port));
            live.mark(addr);
            assert!(live.is_live(addr));
            assert!(!live.is_live(SocketAddr::from(([10, 0, 0, 1], port ^ 1))));
            assert!(!live.is_live(SocketAddr::from(([10, 0, 0, 2], port))));
            live.clear(addr);
            assert!(!live.is_live(addr));
        }
        assert_eq!(live.len(), 1);
    }

    #[test]
    fn workers_that_register_one_address_at_once_share_its_ports() {
        let live = LiveRelays::default();
        std::thread::scope(|scope| {
            for worker in 0..4_u16 {
                let live = &live;
                scope.spawn(move || {
                    for port in 0..100 {
                        live.mark(SocketAddr::from(([10, 0, 0, 1], worker * 100 + port)));
                    }
                });
            }
        });
        assert_eq!(live.len(), 1);
        assert!((0..400).all(|port| live.is_live(SocketAddr::from(([10, 0, 0, 1], port)))));
    }

    #[test]
    fn addresses_past_the_bound_are_not_remembered() {
        let live = LiveRelays::default();
        for n in 0..300_u16 {
            let [high, low] = n.to_be_bytes();
            live.mark(SocketAddr::from(([10, 0, high, low], 50000)));
        }
        assert_eq!(live.len(), ADDRESSES_MAX);
        assert!(!live.is_live(SocketAddr::from(([10, 0, 1, 40], 50000))));
    }
}
