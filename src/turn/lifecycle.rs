//! How allocations are found by their owner, watched over, and ended; and what others may see of them.

use crate::addr::{Family, FiveTuple, RelayedAddr, Transport};
use crate::turn::Server;
use crate::turn::allocation::{Allocation, place};
use crate::turn::auth::Caller;
use crate::turn::counters::{Answer, Traffic};
use crate::turn::output::{AllocationEnd, ChannelPath, EndReason, Output};
use crate::turn::requests::{Refusal, Request};
use std::time::{Duration, Instant};

/// One live allocation, for `/allocations`.
#[derive(Clone, Debug)]
pub struct AllocationSnapshot<'a> {
    pub id: u64,
    pub username: &'a str,
    pub five_tuple: FiveTuple,
    /// One or two, IPv4 first.
    pub relayed: Vec<RelayedAddr>,
    pub expires_at: Option<Instant>,
    pub traffic: Traffic,
    pub permissions: usize,
    pub channels: usize,
}

impl Server {
    /// Live allocations, in no order.
    pub fn allocations(&self) -> impl Iterator<Item = AllocationSnapshot<'_>> {
        self.table.iter().map(|(_, allocation)| AllocationSnapshot {
            id: allocation.id,
            username: &allocation.username,
            five_tuple: allocation.client.five_tuple,
            relayed: allocation.relayed(),
            expires_at: self.shared.instant(allocation.last_expiry_ns()),
            traffic: allocation.traffic,
            permissions: allocation.permissions.count(self.latest_ns),
            channels: allocation.channels.count(self.latest_ns),
        })
    }

    /// Ends one allocation by its ID; false where this worker has none of that ID.
    pub fn end(&mut self, id: u64) -> bool {
        let mut all = self.table.iter();
        let Some((slot, _)) = all.find(|(_, allocation)| allocation.id == id) else {
            return false;
        };
        drop(all);
        self.end_allocation(slot, self.latest_ns, EndReason::Revoked);
        true
    }

    /// Ends every allocation, so that each has its line in the log. No answer is sent.
    pub fn shutdown(&mut self) {
        for slot in self.slots() {
            self.end_allocation(slot, self.latest_ns, EndReason::Stopped);
        }
    }

    /// Panics where the tables disagree with each other. For tests.
    pub fn assert_consistent(&self) {
        self.table.assert_consistent();
        assert!(self.timers.len() <= 3 * self.table.len() + 65);
        for (_, allocation) in self.table.iter() {
            assert!(allocation.permissions.count(0) <= crate::turn::permissions::PERMISSIONS_MAX);
            for relay in allocation.relays.iter().flatten() {
                let live = self.shared.live.is_live(relay.addr.socket_addr());
                assert!(live || !relay.open, "an open relay is marked live");
            }
        }
    }

    /// The allocation of a 5-tuple, if it has not expired; one that has is ended on the way.
    pub(super) fn live_slot(&mut self, client: &FiveTuple, now_ns: u64) -> Option<u32> {
        let slot = self.table.slot_of(client)?;
        if self.table.get(slot)?.is_live(now_ns) {
            return Some(slot);
        }
        self.end_allocation(slot, now_ns, EndReason::Expired);
        None
    }

    /// The allocation that a request is about: 437 without one, 441 for one that another user made.
    pub(super) fn own_slot(&mut self, request: &Request, caller: &Caller) -> Result<u32, Refusal> {
        let slot = self.live_slot(&request.client.five_tuple, request.now_ns);
        let slot = slot.ok_or(Answer::AllocationMismatch)?;
        let allocation = self.table.get(slot).ok_or(Answer::AllocationMismatch)?;
        if *allocation.username == *caller.username {
            Ok(slot)
        } else {
            Err(Answer::WrongCredentials.into())
        }
    }

    /// Makes sure that the allocation is looked at by then.
    pub(super) fn attend_by(&mut self, slot: u32, at_ns: u64) {
        let Some(allocation) = self.table.get_mut(slot) else {
            return;
        };
        if at_ns < allocation.timer_ns {
            allocation.timer_ns = at_ns;
            let id = allocation.id;
            self.timers.set(at_ns, slot, id);
            self.tidy_timers();
        }
    }

    pub(super) fn expire(&mut self, now_ns: u64) {
        while let Some((at_ns, slot, id)) = self.timers.pop_due(now_ns) {
            let in_force =
                |allocation: &Allocation| allocation.id == id && allocation.timer_ns == at_ns;
            if self.table.get(slot).is_some_and(in_force) {
                self.attend(slot, now_ns);
            }
        }
        self.tidy_timers();
    }

    /// Ends what is due in one allocation and sets its timer to what comes next.
    fn attend(&mut self, slot: u32, now_ns: u64) {
        for family in [Family::V4, Family::V6] {
            let due = self.table.get(slot).is_some_and(|allocation| {
                allocation.relays[place(family)].is_some_and(|relay| !relay.is_live(now_ns))
            });
            if due {
                self.close_relay(slot, family, now_ns);
            }
        }
        if !self
            .table
            .get(slot)
            .is_some_and(|allocation| allocation.is_live(now_ns))
        {
            self.end_allocation(slot, now_ns, EndReason::Expired);
            return;
        }
        self.update_paths(slot, now_ns);
        let Some(allocation) = self.table.get_mut(slot) else {
            return;
        };
        let next = [
            allocation.next_expiry_ns(),
            allocation.permissions.sweep(now_ns),
            allocation.channels.sweep(now_ns),
        ];
        let at_ns = next.into_iter().flatten().min().unwrap_or(now_ns);
        allocation.timer_ns = at_ns;
        let id = allocation.id;
        self.timers.set(at_ns, slot, id);
    }

    /// Gives one relay's socket back. The allocation may be left without any.
    pub(super) fn close_relay(&mut self, slot: u32, family: Family, now_ns: u64) {
        let Some(allocation) = self.table.get_mut(slot) else {
            return;
        };
        let Some(relay) = &mut allocation.relays[place(family)] else {
            return;
        };
        if !relay.open {
            return;
        }
        relay.open = false;
        let (id, addr) = (relay.id, relay.addr);
        self.update_paths(slot, now_ns);
        self.table.forget_relay(id);
        self.shared.live.clear(addr.socket_addr());
        self.outputs.push_back(Output::CloseRelay(id));
    }

    /// Frees everything that an allocation holds.
    pub(super) fn end_allocation(&mut self, slot: u32, now_ns: u64, reason: EndReason) {
        for family in [Family::V4, Family::V6] {
            self.close_relay(slot, family, now_ns);
        }
        let Some(mut allocation) = self.table.remove(slot) else {
            return;
        };
        self.shared.quotas.release(&allocation.user);
        let transport = allocation.client.five_tuple.transport;
        self.counters
            .count_end(reason, transport, allocation.traffic);
        let quality = allocation.quality.take().map(|mut call| {
            call.finish(now_ns, &mut self.counters.quality);
            call.summary()
        });
        let duration_ns = now_ns.saturating_sub(allocation.started_ns);
        let five_tuple = allocation.client.five_tuple;
        self.outputs
            .push_back(Output::Ended(Box::new(AllocationEnd {
                id: allocation.id,
                relayed: allocation.relayed(),
                username: allocation.username.into(),
                transport,
                client: five_tuple.client.socket_addr(),
                to_peer_packets: allocation.traffic.to_peer_packets,
                to_peer_bytes: allocation.traffic.to_peer_bytes,
                to_client_packets: allocation.traffic.to_client_packets,
                to_client_bytes: allocation.traffic.to_client_bytes,
                duration: Duration::from_nanos(duration_ns),
                reason,
                quality,
            })));
        self.tidy_timers();
    }

    /// Tells a fast path what has come up and gone down. Not for streams, nor for peers on an own relay.
    pub(super) fn update_paths(&mut self, slot: u32, now_ns: u64) {
        let Some(allocation) = self.table.get_mut(slot) else {
            return;
        };
        if allocation.client.five_tuple.transport != Transport::Udp {
            return;
        }
        let Allocation {
            client,
            relays,
            permissions,
            channels,
            ..
        } = allocation;
        for channel in channels.iter_mut() {
            let peer = channel.peer;
            let Some(relay) = relays[place(peer.family())] else {
                continue;
            };
            let permitted = permissions
                .find(peer.ip(), now_ns)
                .is_some_and(|permission| {
                    let standing = permission.standing;
                    !standing.is_own_relay() && self.policy.permits(standing, peer)
                });
            let up = permitted && channel.is_bound(now_ns) && relay.is_live(now_ns);
            if up == channel.path_up {
                continue;
            }
            channel.path_up = up;
            let path = ChannelPath {
                client: *client,
                relay: relay.id,
                channel: channel.number,
                peer,
            };
            self.outputs.push_back(if up {
                Output::PathUp(path)
            } else {
                Output::PathDown(path)
            });
        }
    }

    /// Judges every permission anew: the rules, or the server's own relay addresses, have changed.
    pub(super) fn rejudge(&mut self) {
        self.relay_ips_judged = self.shared.live.len();
        for slot in self.slots() {
            if let Some(allocation) = self.table.get_mut(slot) {
                allocation.permissions.rejudge(|ip| self.policy.judge(ip));
            }
            self.update_paths(slot, self.latest_ns);
        }
    }

    fn tidy_timers(&mut self) {
        let table = &self.table;
        self.timers.tidy(table.len(), |(at_ns, slot, id)| {
            table
                .get(*slot)
                .is_some_and(|allocation| allocation.id == *id && allocation.timer_ns == *at_ns)
        });
    }

    fn slots(&self) -> Vec<u32> {
        self.table.iter().map(|(slot, _)| slot).collect()
    }
}
