//! Looking at the allocations from outside, a bounded number at a time: for the admin listener.
//!
//! A walk goes over the slots of the table. What is made meanwhile may be missed, what lives all the while is met exactly once:
//! an allocation keeps its slot.

use crate::addr::{FiveTuple, PeerAddr, RelayedAddr};
use crate::quality;
use crate::turn::Server;
use crate::turn::allocation::Allocation;
use crate::turn::counters::Traffic;
use crate::turn::output::EndReason;
use crate::turn::shared::Shared;
use std::net::IpAddr;
use std::time::Instant;

/// One live allocation; what it costs to show is paid only for what is asked.
#[derive(Clone, Copy)]
pub struct AllocationView<'a> {
    pub slot: u32,
    allocation: &'a Allocation,
    shared: &'a Shared,
    now_ns: u64,
}

/// A permission, or a channel with its number; both end at their own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelView {
    pub number: u16,
    pub peer: PeerAddr,
    pub expires_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermissionView {
    pub ip: IpAddr,
    pub expires_at: Option<Instant>,
}

impl AllocationView<'_> {
    pub fn id(&self) -> u64 {
        self.allocation.id
    }

    pub fn username(&self) -> &str {
        &self.allocation.username
    }

    pub fn five_tuple(&self) -> FiveTuple {
        self.allocation.client.five_tuple
    }

    /// One or two, IPv4 first; a closed one of a dual allocation is left out.
    pub fn relayed(&self) -> impl Iterator<Item = RelayedAddr> {
        let relays = self.allocation.relays.into_iter().flatten();
        relays.filter(|relay| relay.open).map(|relay| relay.addr)
    }

    pub fn traffic(&self) -> Traffic {
        self.allocation.traffic
    }

    pub fn started_at(&self) -> Option<Instant> {
        self.shared.instant(self.allocation.started_ns)
    }

    pub fn expires_at(&self) -> Option<Instant> {
        self.shared.instant(self.allocation.last_expiry_ns())
    }

    /// Nanoseconds on the clock of all workers: to sort by.
    pub fn started_ns(&self) -> u64 {
        self.allocation.started_ns
    }

    pub fn expires_ns(&self) -> u64 {
        self.allocation.last_expiry_ns()
    }

    /// How good the call is; `None` if nothing has been measured.
    pub fn quality(&self, details: bool) -> Option<quality::Report> {
        let _ = details;
        None
    }

    /// How much is wrong with the call, 0 to 100.
    pub fn trouble(&self) -> u8 {
        0
    }

    /// Whether a permission for this address is in force.
    pub fn permits(&self, ip: IpAddr) -> bool {
        let permissions = &self.allocation.permissions;
        permissions.find(ip, self.now_ns).is_some()
    }

    /// Those in force, by address.
    pub fn permissions(&self) -> impl Iterator<Item = PermissionView> {
        let live = self.allocation.permissions.live(self.now_ns);
        live.map(|(ip, expires_ns)| PermissionView {
            ip,
            expires_at: self.shared.instant(expires_ns),
        })
    }

    /// Those that are bound, by number.
    pub fn channels(&self) -> impl Iterator<Item = ChannelView> {
        let bound = self.allocation.channels.bound(self.now_ns);
        bound.map(|(number, peer, expires_ns)| ChannelView {
            number,
            peer,
            expires_at: self.shared.instant(expires_ns),
        })
    }
}

impl Server {
    /// Shows the live allocations in `slots` slots from `from` on; the slot to go on with, `None` after the last one.
    pub fn visit(
        &self,
        now: Instant,
        from: u32,
        slots: u32,
        mut see: impl FnMut(AllocationView<'_>),
    ) -> Option<u32> {
        let end = self.table.slots_end();
        let until = from.saturating_add(slots).min(end);
        (from..until)
            .filter_map(|slot| self.view(now, slot))
            .for_each(&mut see);
        (until < end).then_some(until)
    }

    /// The live allocation in a slot.
    pub fn view(&self, now: Instant, slot: u32) -> Option<AllocationView<'_>> {
        let now_ns = self.shared.ns(now);
        let allocation = self.table.get(slot)?;
        allocation.is_live(now_ns).then_some(AllocationView {
            slot,
            allocation,
            shared: &self.shared,
            now_ns,
        })
    }

    /// Ends the allocation in a slot if it is still the one of this ID.
    pub fn end_in_slot(&mut self, slot: u32, id: u64) -> bool {
        let is_it = |allocation: &Allocation| allocation.id == id;
        let found = self.table.get(slot).is_some_and(is_it);
        if found {
            self.end_allocation(slot, self.latest_ns, EndReason::Revoked);
        }
        found
    }
}
