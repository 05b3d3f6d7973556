//! Refresh (RFC 8656 §8): a longer life, or with LIFETIME 0 the end, of one family or of all.

use crate::addr::Family;
use crate::stun::Reply;
use crate::stun::attributes::REQUESTED_ADDRESS_FAMILY;
use crate::turn::Server;
use crate::turn::allocation::{Allocation, place};
use crate::turn::auth::Caller;
use crate::turn::counters::Answer;
use crate::turn::output::EndReason;
use crate::turn::requests::{Refusal, Request};
use turn_types::attribute::Lifetime;

impl Server {
    pub(super) fn refresh(&mut self, request: &Request, caller: &Caller) -> Result<Reply, Refusal> {
        let slot = self.own_slot(request, caller)?;
        let families = self.refreshed_families(slot, request)?;
        let asked = request.message.get::<Lifetime>()?;
        let lifetime_s = match asked.map(|lifetime| lifetime.seconds()) {
            Some(0) => 0,
            Some(_) | None => self.granted_lifetime_s(&request.message)?,
        };
        for family in families {
            if lifetime_s == 0 {
                self.close_relay(slot, family, request.now_ns);
            } else {
                self.extend_relay(slot, family, request.now_ns, lifetime_s);
            }
        }
        let live = |allocation: &Allocation| allocation.is_live(request.now_ns);
        if !self.table.get(slot).is_some_and(live) {
            self.end_allocation(slot, request.now_ns, EndReason::Deleted);
        }
        let mut reply = Reply::success(&request.message);
        reply.add(&Lifetime::new(lifetime_s));
        Ok(reply)
    }

    /// The families that the request is about: the named one, or all that live.
    fn refreshed_families(&self, slot: u32, request: &Request) -> Result<Vec<Family>, Refusal> {
        let allocation = self.table.get(slot).ok_or(Answer::AllocationMismatch)?;
        let lives = |family: &Family| allocation.relay(*family, request.now_ns).is_some();
        match request.message.family(REQUESTED_ADDRESS_FAMILY)? {
            None => Ok([Family::V4, Family::V6].into_iter().filter(lives).collect()),
            Some(Some(family)) if lives(&family) => Ok(vec![family]),
            Some(Some(_)) => Err(Answer::FamilyMismatch.into()),
            Some(None) => Err(Answer::FamilyUnsupported.into()),
        }
    }

    fn extend_relay(&mut self, slot: u32, family: Family, now_ns: u64, lifetime_s: u32) {
        let Some(allocation) = self.table.get_mut(slot) else {
            return;
        };
        let expires_ns = now_ns + u64::from(lifetime_s) * 1_000_000_000;
        if let Some(relay) = &mut allocation.relays[place(family)] {
            relay.expires_ns = expires_ns;
        }
        self.attend_by(slot, expires_ns);
    }
}
