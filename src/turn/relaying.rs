//! The packet path: one packet in, a verdict out. No allocation of memory, no lock, no clock.
//!
//! Atomics are touched only where a bandwidth of users or of the server is configured, and the bitmap of
//! live relays only for peers on a relay address.

use crate::addr::{FiveTuple, PeerAddr};
use crate::limits::{ByteBucket, SharedByteBucket};
use crate::quality::{Arrived, Side, measure};
use crate::stun::indication::{self, DATA_HEADER_LEN_MAX, SendError};
use crate::stun::{channel_data, padding};
use crate::turn::Server;
use crate::turn::output::{DropReason, Icmp, Output, Prefix, Verdict};
use crate::turn::ports::RelayId;
use crate::turn::settings::Limits;
use std::net::SocketAddr;
use stun_types::attribute::{AttributeType, RawAttribute};
use stun_types::message::{
    Message as Wire, MessageClass, MessageType, MessageWrite, MessageWriteVec,
};
use turn_types::attribute::XorPeerAddress;
use turn_types::message::DATA;

/// RFC 8656 §18.13.
const ICMP: AttributeType = AttributeType::new(0x8004);

impl Server {
    /// Client to peer by channel (RFC 8656 §12.6).
    pub(super) fn relay_channel_data(
        &mut self,
        now_ns: u64,
        from: &FiveTuple,
        bytes: &[u8],
    ) -> Result<Verdict, DropReason> {
        let data = channel_data::parse(bytes).ok_or(DropReason::Malformed)?;
        let slot = self.table.slot_of(from).ok_or(DropReason::NoAllocation)?;
        let allocation = self.table.get_mut(slot).ok_or(DropReason::NoAllocation)?;
        if !allocation.is_live(now_ns) {
            return Err(DropReason::NoAllocation);
        }
        let channel = allocation.channels.by_number(data.number, now_ns);
        let peer = channel.ok_or(DropReason::NoChannel)?.peer;
        // In a dual allocation the peer's family may have ended before the other.
        let relay = allocation.relay(peer.family(), now_ns);
        let relay = relay.ok_or(DropReason::NoChannel)?.id;
        let permission = allocation.permissions.find(peer.ip(), now_ns);
        let standing = permission.ok_or(DropReason::NoPermission)?.standing;
        if !self.policy.permits(standing, peer) {
            return Err(DropReason::PeerDenied);
        }
        let payload = bytes.get(data.payload.clone()).unwrap_or_default();
        let len = payload.len();
        if self.settings.call_quality {
            let arrived = Arrived::new(Side::Client, peer, now_ns);
            let counts = &mut self.counters.quality;
            measure(&mut allocation.quality, counts, arrived, payload);
        }
        let buckets = (
            &mut allocation.to_peer,
            &allocation.user.to_peer,
            &self.shared.to_peer,
        );
        admit(&self.settings.limits, buckets, now_ns, len)?;
        allocation.traffic.count_to_peer(len);
        self.counters.count_to_peer(from.transport, len);
        Ok(Verdict::ToPeer {
            relay,
            peer,
            payload: data.payload,
            dont_fragment: false,
        })
    }

    /// Client to peer by Send indication (RFC 8656 §11.2).
    pub(super) fn relay_send(
        &mut self,
        now_ns: u64,
        from: &FiveTuple,
        bytes: &[u8],
    ) -> Result<Verdict, DropReason> {
        let send = indication::parse_send(bytes).map_err(|error| match error {
            SendError::Malformed => DropReason::Malformed,
            SendError::UnknownAttribute => DropReason::UnknownAttribute,
        })?;
        let slot = self.table.slot_of(from).ok_or(DropReason::NoAllocation)?;
        let allocation = self.table.get_mut(slot).ok_or(DropReason::NoAllocation)?;
        if !allocation.is_live(now_ns) {
            return Err(DropReason::NoAllocation);
        }
        let peer = self.policy.internal(PeerAddr::new(send.peer));
        let relay = allocation.relay(peer.family(), now_ns);
        let relay = relay.ok_or(DropReason::FamilyMismatch)?.id;
        let permission = allocation.permissions.find(peer.ip(), now_ns);
        let standing = permission.ok_or(DropReason::NoPermission)?.standing;
        if !self.policy.permits(standing, peer) {
            return Err(DropReason::PeerDenied);
        }
        let payload = bytes.get(send.payload.clone()).unwrap_or_default();
        let len = payload.len();
        if self.settings.call_quality {
            let arrived = Arrived::new(Side::Client, peer, now_ns);
            let counts = &mut self.counters.quality;
            measure(&mut allocation.quality, counts, arrived, payload);
        }
        let buckets = (
            &mut allocation.to_peer,
            &allocation.user.to_peer,
            &self.shared.to_peer,
        );
        admit(&self.settings.limits, buckets, now_ns, len)?;
        allocation.traffic.count_to_peer(len);
        self.counters.count_to_peer(from.transport, len);
        Ok(Verdict::ToPeer {
            relay,
            peer,
            payload: send.payload,
            dont_fragment: send.dont_fragment,
        })
    }

    /// Peer to client, by channel where one is bound (RFC 8656 §11.3, §12.7).
    pub(super) fn relay_to_client(
        &mut self,
        now_ns: u64,
        relay: RelayId,
        from: PeerAddr,
        payload: &[u8],
    ) -> Result<Verdict, DropReason> {
        let len = payload.len();
        let slot = self.table.slot_of_relay(relay);
        let slot = slot.ok_or(DropReason::NoRelay)?;
        let transaction_id = self.next_transaction_id();
        let allocation = self.table.get_mut(slot).ok_or(DropReason::NoRelay)?;
        if !allocation
            .relay_by_id(relay)
            .is_some_and(|relay| relay.is_live(now_ns))
        {
            return Err(DropReason::NoRelay);
        }
        let permission = allocation.permissions.find(from.ip(), now_ns);
        let standing = permission.ok_or(DropReason::NoPermission)?.standing;
        if !self.policy.permits(standing, from) {
            return Err(DropReason::PeerDenied);
        }
        if self.settings.call_quality {
            let arrived = Arrived::new(Side::Peer, from, now_ns);
            let counts = &mut self.counters.quality;
            measure(&mut allocation.quality, counts, arrived, payload);
        }
        let transport = allocation.client.five_tuple.transport;
        let prefix = match allocation.channels.number_of(from, now_ns) {
            Some(number) => channel_prefix(number, len, transport.is_stream()),
            None => data_prefix(transaction_id, self.policy.external(from, standing), len),
        };
        let prefix = prefix.ok_or(DropReason::Oversized)?;
        let buckets = (
            &mut allocation.to_client,
            &allocation.user.to_client,
            &self.shared.to_client,
        );
        admit(&self.settings.limits, buckets, now_ns, len)?;
        allocation.traffic.count_to_client(len);
        self.counters.count_to_client(transport, len);
        Ok(Verdict::ToClient {
            client: allocation.client,
            prefix,
        })
    }

    /// A Data indication with ICMP instead of DATA, for a peer that has a permission (RFC 8656 §11.5).
    pub(super) fn relay_icmp(&mut self, now_ns: u64, relay: RelayId, peer: PeerAddr, icmp: Icmp) {
        if !is_told(peer, icmp) {
            return;
        }
        let id = crate::stun::message::transaction_id(self.next_transaction_id());
        let slot = self.table.slot_of_relay(relay);
        let Some(allocation) = slot.and_then(|slot| self.table.get(slot)) else {
            return;
        };
        let live = |relay: &crate::turn::allocation::Relay| relay.is_live(now_ns);
        let permission = allocation.permissions.find(peer.ip(), now_ns);
        let (Some(_), Some(permission)) = (
            allocation.relay_by_id(relay).filter(live),
            permission.filter(|permission| self.policy.permits(permission.standing, peer)),
        ) else {
            return;
        };
        let peer = self.policy.external(peer, permission.standing);
        let kind = MessageType::from_class_method(MessageClass::Indication, DATA);
        let mut write = Wire::builder(kind, id, MessageWriteVec::with_capacity(64));
        write.push_attribute_unchecked(&XorPeerAddress::new(peer, id));
        let attribute = icmp_attribute(peer, icmp);
        write.push_attribute_unchecked(&RawAttribute::new(ICMP, &attribute));
        self.counters.icmp_indications += 1;
        self.outputs.push_back(Output::Reply {
            client: allocation.client,
            bytes: write.finish(),
        });
    }

    /// SplitMix64 over a random start: different each time, and no secret depends on it.
    fn next_transaction_id(&mut self) -> [u8; 12] {
        self.transaction_seed = self.transaction_seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mix = |mut z: u64| {
            z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ z >> 31
        };
        let mut id = [0; 12];
        id[..8].copy_from_slice(&mix(self.transaction_seed).to_ne_bytes());
        id[8..].copy_from_slice(&(self.transaction_seed as u32).to_ne_bytes());
        id
    }
}

/// Takes a packet's bytes from every bucket that is configured.
fn admit(
    limits: &Limits,
    (allocation, user, total): (&mut ByteBucket, &SharedByteBucket, &SharedByteBucket),
    now_ns: u64,
    len: usize,
) -> Result<(), DropReason> {
    let rate = limits.bytes_per_s_per_allocation;
    if rate != 0 && !allocation.take(now_ns, len, rate) {
        return Err(DropReason::AllocationBandwidth);
    }
    let rate = limits.bytes_per_s_per_user;
    if rate != 0 && !user.take(now_ns, len, rate) {
        return Err(DropReason::UserBandwidth);
    }
    let rate = limits.bytes_per_s_total;
    if rate != 0 && !total.take(now_ns, len, rate) {
        return Err(DropReason::TotalBandwidth);
    }
    Ok(())
}

/// ChannelData is padded on streams only (RFC 8656 §12.5).
fn channel_prefix(number: u16, len: usize, stream: bool) -> Option<Prefix> {
    let header = channel_data::header(number, len)?;
    let padding = if stream { padding(len) } else { 0 };
    Some(Prefix::new(&header, padding as u8))
}

fn data_prefix(transaction_id: [u8; 12], peer: SocketAddr, len: usize) -> Option<Prefix> {
    let mut header = [0; DATA_HEADER_LEN_MAX];
    let header_len = indication::data_header(&mut header, transaction_id, peer, len)?;
    Some(Prefix::new(header.get(..header_len)?, padding(len) as u8))
}

/// Written here, because `turn-types` gives type and code 8 bits each, and RFC 8656 §18.13 gives them 7 and 9.
///
/// The data is an MTU, and zero in any other message than those that tell one.
fn icmp_attribute(peer: SocketAddr, icmp: Icmp) -> [u8; 8] {
    let tells_mtu = match peer {
        SocketAddr::V4(_) => (icmp.kind, icmp.code) == (3, 4),
        SocketAddr::V6(_) => icmp.kind == 2,
    };
    let [k, c] = (u16::from(icmp.kind) << 9 | u16::from(icmp.code)).to_be_bytes();
    let [d0, d1, d2, d3] = if tells_mtu { icmp.data } else { 0 }.to_be_bytes();
    [0, 0, k, c, d0, d1, d2, d3]
}

/// The ICMP types that RFC 8656 §11.5 names: unreachable and time exceeded, and ICMPv6's packet too big.
fn is_told(peer: PeerAddr, icmp: Icmp) -> bool {
    match peer.socket_addr() {
        SocketAddr::V4(_) => matches!(icmp.kind, 3 | 11),
        SocketAddr::V6(_) => matches!(icmp.kind, 1..=3),
    }
}
