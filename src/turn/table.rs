//! The allocations of one server, found by client 5-tuple and by relay.
//!
//! Invariants: every allocation is in `by_client` under its 5-tuple; every open relay is in `by_relay`.

use crate::addr::FiveTuple;
use crate::turn::allocation::Allocation;
use crate::turn::ports::RelayId;
use slab::Slab;
use std::collections::HashMap;

const NONE: u32 = u32::MAX;

pub struct Table {
    allocations: Slab<Allocation>,
    by_client: HashMap<FiveTuple, u32, ahash::RandomState>,
    /// Slot by relay ID, which is small and dense.
    by_relay: Vec<u32>,
}

impl Table {
    pub fn new(hasher: ahash::RandomState) -> Self {
        Self {
            allocations: Slab::new(),
            by_client: HashMap::with_hasher(hasher),
            by_relay: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.allocations.len()
    }

    pub fn slot_of(&self, client: &FiveTuple) -> Option<u32> {
        self.by_client.get(client).copied()
    }

    pub fn slot_of_relay(&self, relay: RelayId) -> Option<u32> {
        let slot = self.by_relay.get(relay.0 as usize).copied();
        slot.filter(|slot| *slot != NONE)
    }

    pub fn get(&self, slot: u32) -> Option<&Allocation> {
        self.allocations.get(slot as usize)
    }

    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Allocation> {
        self.allocations.get_mut(slot as usize)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &Allocation)> {
        self.allocations
            .iter()
            .map(|(slot, allocation)| (narrow(slot), allocation))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Allocation> {
        self.allocations
            .iter_mut()
            .map(|(_, allocation)| allocation)
    }

    /// No allocation has a slot from here on.
    pub fn slots_end(&self) -> u32 {
        narrow(self.allocations.capacity())
    }

    pub fn insert(&mut self, allocation: Allocation) -> u32 {
        let client = allocation.client.five_tuple;
        let relays = allocation.relays;
        let slot = narrow(self.allocations.insert(allocation));
        self.by_client.insert(client, slot);
        for relay in relays.iter().flatten().filter(|relay| relay.open) {
            self.point_relay(relay.id, slot);
        }
        slot
    }

    /// Takes an allocation out; its open relays lead nowhere from then on.
    pub fn remove(&mut self, slot: u32) -> Option<Allocation> {
        let allocation = self.allocations.try_remove(slot as usize)?;
        self.by_client.remove(&allocation.client.five_tuple);
        for relay in allocation
            .relays
            .iter()
            .flatten()
            .filter(|relay| relay.open)
        {
            self.forget_relay(relay.id);
        }
        self.shrink();
        Some(allocation)
    }

    pub fn forget_relay(&mut self, relay: RelayId) {
        if let Some(slot) = self.by_relay.get_mut(relay.0 as usize) {
            *slot = NONE;
        }
    }

    fn point_relay(&mut self, relay: RelayId, slot: u32) {
        let at = relay.0 as usize;
        if self.by_relay.len() <= at {
            self.by_relay.resize(at + 1, NONE);
        }
        self.by_relay[at] = slot;
    }

    /// Gives memory back after a crowd has left. Rare: each time three quarters are empty.
    fn shrink(&mut self) {
        let len = self.len();
        if self.by_client.capacity() > 64 && len < self.by_client.capacity() / 4 {
            self.by_client.shrink_to(2 * len);
            self.allocations.shrink_to_fit();
            let used = self.by_relay.iter().rposition(|slot| *slot != NONE);
            self.by_relay.truncate(used.map_or(0, |last| last + 1));
            self.by_relay.shrink_to_fit();
        }
    }

    /// Panics where an invariant of this table does not hold.
    pub fn assert_consistent(&self) {
        assert_eq!(self.by_client.len(), self.len());
        let mut open = 0;
        for (slot, allocation) in self.iter() {
            assert_eq!(self.slot_of(&allocation.client.five_tuple), Some(slot));
            for relay in allocation
                .relays
                .iter()
                .flatten()
                .filter(|relay| relay.open)
            {
                assert_eq!(self.slot_of_relay(relay.id), Some(slot));
                open += 1;
            }
            assert!(allocation.next_expiry_ns().is_some(), "an open relay");
            allocation.channels.assert_consistent();
        }
        let pointing = self.by_relay.iter().filter(|slot| **slot != NONE);
        assert_eq!(
            pointing.count(),
            open,
            "relays of allocations that are gone"
        );
    }
}

/// Slots are numbers of live allocations: far fewer than 2^32.
fn narrow(slot: usize) -> u32 {
    u32::try_from(slot).unwrap_or(NONE)
}
