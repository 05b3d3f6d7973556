//! Which relayed transport addresses are live, on all workers: a bitmap of ports for each relay address.
//!
//! Written when a relay is bound and closed, read without locks when a packet goes to an own address.
//! An address that had a relay once keeps its bitmap (8 KiB); there are few of them.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Relay addresses that are remembered. Relays on further ones work, but not between each other.
const ADDRESSES_MAX: usize = 256;
const WORDS: usize = 65536 / 64;

struct Address {
    ip: IpAddr,
    ports: Box<[AtomicU64]>,
}

/// Live relayed addresses of the server.
pub struct LiveRelays {
    addresses: Box<[OnceLock<Address>]>,
    len: AtomicUsize,
}

impl Default for LiveRelays {
    fn default() -> Self {
        Self {
            addresses: (0..ADDRESSES_MAX).map(|_| OnceLock::new()).collect(),
            len: AtomicUsize::new(0),
        }
    }
}

impl LiveRelays {
    pub fn mark(&self, addr: SocketAddr) {
        if let Some(address) = self.register(addr.ip()) {
            let (word, bit) = place(&address.ports, addr.port());
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    pub fn clear(&self, addr: SocketAddr) {
        if let Some(address) = self.find(addr.ip()) {
            let (word, bit) = place(&address.ports, addr.port());
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    pub fn is_live(&self, addr: SocketAddr) -> bool {
        self.find(addr.ip()).is_some_and(|address| {
            let (word, bit) = place(&address.ports, addr.port());
            word.load(Ordering::Relaxed) & bit != 0
        })
    }

    /// True for an address that some relay is or was bound to.
    pub fn is_relay_ip(&self, ip: IpAddr) -> bool {
        self.find(ip).is_some()
    }

    /// The addresses that some relay is or was bound to.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.known().map(|address| address.ip)
    }

    /// How many addresses there are; it only grows, and whoever remembers verdicts compares it.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn known(&self) -> impl Iterator<Item = &Address> {
        self.addresses.iter().map_while(OnceLock::get)
    }

    fn find(&self, ip: IpAddr) -> Option<&Address> {
        self.known().find(|address| address.ip == ip)
    }

    fn register(&self, ip: IpAddr) -> Option<&Address> {
        for slot in &self.addresses {
            let mut added = false;
            let address = slot.get_or_init(|| {
                added = true;
                let ports = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
                Address { ip, ports }
            });
            if added {
                self.len.fetch_add(1, Ordering::Release);
            }
            if address.ip == ip {
                return Some(address);
            }
        }
        None
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
