//! One allocation (RFC 8656 §3.2): who made it, its relayed addresses, permissions, channels and counts.

use crate::addr::{Family, RelayedAddr};
use crate::limits::{ByteBucket, User};
use crate::quality;
use crate::turn::channels::Channels;
use crate::turn::counters::{Answer, Traffic};
use crate::turn::credentials::Credential;
use crate::turn::output::ClientRef;
use crate::turn::permissions::Permissions;
use crate::turn::ports::{RelayId, ReservationToken};
use std::sync::Arc;

/// A relayed transport address of an allocation. In dual allocations each has its own lifetime (§8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relay {
    pub id: RelayId,
    pub addr: RelayedAddr,
    pub expires_ns: u64,
    /// False once its socket has been given back; the record stays for the log line.
    pub open: bool,
}

impl Relay {
    pub fn is_live(&self, now_ns: u64) -> bool {
        self.open && self.expires_ns > now_ns
    }
}

/// What the success answer to Allocate said, to say it again to a retransmission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    pub lifetime_s: u32,
    pub token: Option<ReservationToken>,
    /// The family that could not be had, and why (ADDRESS-ERROR-CODE).
    pub refused: Option<(Family, Answer)>,
}

#[derive(Debug)]
pub struct Allocation {
    pub id: u64,
    pub client: ClientRef,
    pub username: Box<str>,
    pub user: Arc<User>,
    pub credential: Credential,
    /// The transaction that made it.
    pub transaction_id: [u8; 12],
    pub grant: Grant,
    /// IPv4 first.
    pub relays: [Option<Relay>; 2],
    pub permissions: Permissions,
    pub channels: Channels,
    pub traffic: Traffic,
    pub to_peer: ByteBucket,
    pub to_client: ByteBucket,
    /// Made with the first packet that can be measured.
    pub quality: Option<Box<quality::Call>>,
    pub started_ns: u64,
    /// The entry of `Timers` that is in force.
    pub timer_ns: u64,
}

impl Allocation {
    /// The relay of a family, while it lives.
    pub fn relay(&self, family: Family, now_ns: u64) -> Option<Relay> {
        self.relays[place(family)].filter(|relay| relay.is_live(now_ns))
    }

    pub fn relay_by_id(&self, id: RelayId) -> Option<Relay> {
        let mut relays = self.relays.iter().flatten();
        relays.find(|relay| relay.id == id).copied()
    }

    pub fn is_live(&self, now_ns: u64) -> bool {
        let mut relays = self.relays.iter().flatten();
        relays.any(|relay| relay.is_live(now_ns))
    }

    /// Relayed addresses, closed ones included.
    pub fn relayed(&self) -> Vec<RelayedAddr> {
        self.relays
            .iter()
            .flatten()
            .map(|relay| relay.addr)
            .collect()
    }

    /// When the first of its open relays expires.
    pub fn next_expiry_ns(&self) -> Option<u64> {
        let open = self.relays.iter().flatten().filter(|relay| relay.open);
        open.map(|relay| relay.expires_ns).min()
    }

    pub fn last_expiry_ns(&self) -> u64 {
        let open = self.relays.iter().flatten().filter(|relay| relay.open);
        open.map(|relay| relay.expires_ns).max().unwrap_or(0)
    }
}

/// Where a family's relay is in `Allocation::relays`.
pub fn place(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TURN.md: at most 4 kB beside the kernel's socket, with permissions, channels and the user's name.
    #[test]
    fn the_record_of_an_allocation_is_small() {
        assert!(
            size_of::<Allocation>() <= 640,
            "{}",
            size_of::<Allocation>()
        );
    }
}
