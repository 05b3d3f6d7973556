//! Which worker holds which relayed address of this process: two clients of one relay reach each other without a socket.
//!
//! Written when a relay is opened and closed, read without locks for each packet to a peer. An address that had a relay
//! once keeps its table (256 KiB); there are few of them.
//! Invariant: an entry is cleared before its port can be given to anybody else.

use crate::by_ip::ByIp;
use crate::turn::RelayId;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

/// Relay addresses that are remembered. Packets to a relay on a further one take the way through the kernel.
const ADDRESSES_MAX: usize = 64;
const PORTS: usize = 1 << 16;

/// An entry: the worker's number plus one in the upper 8 bits, the relay in the lower 24; 0 is nobody's port.
const RELAY_BITS: u32 = 24;
const RELAY_MASK: u32 = (1 << RELAY_BITS) - 1;

/// Who holds a relayed address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub worker: usize,
    /// The worker's own number of it; only that worker may use it, since it may be closed by now.
    pub relay: RelayId,
}

/// The relayed addresses of all workers.
pub struct LocalRelays {
    owners: ByIp<Box<[AtomicU32]>>,
}

impl Default for LocalRelays {
    fn default() -> Self {
        Self {
            owners: ByIp::new(ADDRESSES_MAX),
        }
    }
}

impl LocalRelays {
    pub fn enter(&self, addr: SocketAddr, owner: Owner) {
        let Some(entry) = pack(owner) else {
            return;
        };
        let make = || (0..PORTS).map(|_| AtomicU32::new(0)).collect();
        if let Some(owners) = self.owners.register(addr.ip(), make) {
            owners[usize::from(addr.port())].store(entry, Ordering::Relaxed);
        }
    }

    pub fn clear(&self, addr: SocketAddr) {
        if let Some(owners) = self.owners.find(addr.ip()) {
            owners[usize::from(addr.port())].store(0, Ordering::Relaxed);
        }
    }

    pub fn owner(&self, addr: SocketAddr) -> Option<Owner> {
        let owners = self.owners.find(addr.ip())?;
        unpack(owners[usize::from(addr.port())].load(Ordering::Relaxed))
    }
}

/// `None` beyond what an entry can say: such a relay is reached through the kernel.
fn pack(owner: Owner) -> Option<u32> {
    let worker = u8::try_from(owner.worker + 1).ok()?;
    let relay = Some(owner.relay.0).filter(|relay| *relay <= RELAY_MASK)?;
    Some(u32::from(worker) << RELAY_BITS | relay)
}

fn unpack(entry: u32) -> Option<Owner> {
    let worker = (entry >> RELAY_BITS).checked_sub(1)?;
    Some(Owner {
        worker: worker as usize,
        relay: RelayId(entry & RELAY_MASK),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_owner_from_enter_to_clear_and_its_neighbours_have_none() {
        let local = LocalRelays::default();
        for (port, worker, relay) in [(0, 0, 0), (49_152, 3, 7), (65_535, 254, RELAY_MASK)] {
            let addr = SocketAddr::from(([10, 0, 0, 1], port));
            let owner = Owner {
                worker,
                relay: RelayId(relay),
            };
            local.enter(addr, owner);
            assert_eq!(local.owner(addr), Some(owner));
            let neighbour = SocketAddr::from(([10, 0, 0, 1], port ^ 1));
            assert_eq!(local.owner(neighbour), None);
            assert_eq!(local.owner(SocketAddr::from(([10, 0, 0, 2], port))), None);
            local.clear(addr);
            assert_eq!(local.owner(addr), None);
        }
    }

    #[test]
    fn what_an_entry_cannot_say_is_left_to_the_kernel() {
        let local = LocalRelays::default();
        let addr = SocketAddr::from(([10, 0, 0, 1], 50_000));
        for (worker, relay) in [(255, 0), (0, RELAY_MASK + 1)] {
            let relay = RelayId(relay);
            local.enter(addr, Owner { worker, relay });
            assert_eq!(local.owner(addr), None);
        }
        for last in 0..=ADDRESSES_MAX {
            let [high, low] = (last as u16).to_be_bytes();
            let addr = SocketAddr::from(([10, 1, high, low], 50_000));
            let owner = Owner {
                worker: 0,
                relay: RelayId(1),
            };
            local.enter(addr, owner);
            let known = last < ADDRESSES_MAX;
            assert_eq!(local.owner(addr).is_some(), known, "address {last}");
        }
    }
}
