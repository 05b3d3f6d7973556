//! Send, ChannelData, and what comes back from peers (RFC 8656 §11, §12).

use super::{Allocation, Model, Origin, Policy, Seen, ensure};
use crate::support::stun::{self, Class, Message, attr};
use relayd::addr::Family;
use relayd::turn::{Icmp, RelayId, Verdict};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

/// What must become of one packet.
enum Fate {
    Dropped,
    ToPeer {
        peer: SocketAddr,
        payload: Range<usize>,
        dont_fragment: bool,
    },
}

impl Model {
    pub fn channel_data(&mut self, from: &Origin, bytes: &[u8], seen: &Seen) -> Result<(), String> {
        seen.is_silent()?;
        let Some(index) = self.position(&from.tuple) else {
            return is_dropped(seen);
        };
        let Some((number, payload)) = frame(bytes) else {
            return is_dropped(seen);
        };
        let allocation = &self.allocations[index];
        let bound = |number| {
            let live = allocation
                .channels
                .iter()
                .filter(|c| c.expires_at > from.now);
            live.into_iter().find(|channel| channel.number == number)
        };
        let Some(channel) = bound(number) else {
            return is_dropped(seen);
        };
        let Some(permission) = allocation.permission(channel.peer.ip(), from.now) else {
            return is_dropped(seen);
        };
        // A policy that changed under a live channel may act at once or with the next ChannelBind.
        let denied = self.judge(channel.peer, true) == Policy::Denied;
        let doubtful = denied || permission.doubtful || channel.doubtful;
        if doubtful && matches!(seen.verdict, Some(Verdict::Drop(_))) {
            return Ok(());
        }
        let peer = channel.peer;
        self.expect(
            index,
            seen,
            Fate::ToPeer {
                peer,
                payload,
                dont_fragment: false,
            },
        )
    }

    pub fn send_indication(
        &mut self,
        from: &Origin,
        message: &Message,
        len: usize,
        seen: &Seen,
    ) -> Result<(), String> {
        seen.is_silent()?;
        let Some(index) = self.position(&from.tuple) else {
            return is_dropped(seen);
        };
        let fate = self.fate_of_send(index, from.now, message, len);
        let peer = message
            .xor_addr(attr::XOR_PEER_ADDRESS)
            .map(|peer| self.internal(peer).ip());
        let permission = peer.and_then(|ip| self.allocations[index].permission(ip, from.now));
        let doubtful = permission.is_some_and(|permission| permission.doubtful);
        if doubtful && matches!(seen.verdict, Some(Verdict::Drop(_))) {
            return Ok(());
        }
        self.expect(index, seen, fate)
    }

    fn fate_of_send(&self, index: usize, now: Instant, message: &Message, len: usize) -> Fate {
        let allocation = &self.allocations[index];
        let peer = message.xor_addr(attr::XOR_PEER_ADDRESS);
        let (Some(peer), Some(payload)) = (peer, data_range(message, len)) else {
            return Fate::Dropped;
        };
        let own = self.internal(peer);
        let reachable = allocation.half(Family::of(own.ip())).is_some();
        let allowed = self.judge(peer, true) == Policy::Allowed;
        let unknown = super::requests::unknown_required(message);
        if !reachable
            || !allowed
            || !unknown.is_empty()
            || allocation.permission(own.ip(), now).is_none()
        {
            return Fate::Dropped;
        }
        let dont_fragment = message.has(attr::DONT_FRAGMENT);
        Fate::ToPeer {
            peer: own,
            payload,
            dont_fragment,
        }
    }

    fn expect(&mut self, index: usize, seen: &Seen, fate: Fate) -> Result<(), String> {
        let Fate::ToPeer {
            peer,
            payload,
            dont_fragment,
        } = fate
        else {
            return is_dropped(seen);
        };
        let allocation = &mut self.allocations[index];
        let half = allocation
            .half(Family::of(peer.ip()))
            .ok_or("peer of a lost family")?;
        let wanted = Verdict::ToPeer {
            relay: half.relay,
            peer: relayd::addr::PeerAddr::new(peer),
            payload: payload.clone(),
            dont_fragment,
        };
        ensure(seen.verdict.as_ref() == Some(&wanted), || {
            format!("expected {wanted:?}, got {:?}", seen.verdict)
        })?;
        allocation.counters.to_peer_packets += 1;
        allocation.counters.to_peer_bytes += payload.len() as u64;
        Ok(())
    }

    /// One datagram that reached a relay socket.
    pub fn peer(
        &mut self,
        worker: usize,
        now: Instant,
        relay: RelayId,
        from: SocketAddr,
        payload: &[u8],
        seen: &Seen,
    ) -> Result<(), String> {
        seen.is_silent()?;
        let index = self
            .find_relay(worker, relay)
            .ok_or("the model has no such relay")?;
        let shown = self.external(from);
        let shown_is_own = self.rules.own.contains(&from.ip());
        let denied = self.judge(from, true) == Policy::Denied;
        let allocation = &mut self.allocations[index];
        let Some(permission) = allocation.permission(from.ip(), now) else {
            return is_dropped(seen);
        };
        let doubtful = denied || permission.doubtful;
        if doubtful && matches!(seen.verdict, Some(Verdict::Drop(_))) {
            return Ok(());
        }
        let Some(Verdict::ToClient { client, prefix }) = &seen.verdict else {
            return Err(format!("data of a permitted peer: {:?}", seen.verdict));
        };
        let right = client.five_tuple == allocation.tuple && client.link == allocation.link;
        ensure(right, || format!("delivered to {client:?}"))?;
        let mut bytes = prefix.header().to_vec();
        bytes.extend(payload);
        bytes.extend(std::iter::repeat_n(0, prefix.padding()));
        let is_bound = |c: &&super::Channel| c.peer == from && c.expires_at > now;
        match allocation.channels.iter().find(is_bound) {
            Some(channel) => {
                let padded = allocation.tuple.transport.is_stream();
                let accepted = [true, false].into_iter().filter(|with| *with || !padded);
                let mut accepted =
                    accepted.map(|with| stun::channel_data(channel.number, payload, with));
                ensure(accepted.any(|wanted| wanted == bytes), || {
                    format!("wrong ChannelData of {} for {}", channel.number, from)
                })?;
            }
            None => vet_data_indication(&bytes, if shown_is_own { shown } else { from }, payload)?,
        }
        allocation.counters.to_client_packets += 1;
        allocation.counters.to_client_bytes += payload.len() as u64;
        Ok(())
    }

    /// RFC 8656 §11.5: an ICMP error is told to the client when its peer is permitted.
    pub fn icmp(
        &mut self,
        worker: usize,
        now: Instant,
        relay: RelayId,
        peer: SocketAddr,
        icmp: Icmp,
        seen: &Seen,
    ) -> Result<(), String> {
        seen.is_steady()?;
        let index = self
            .find_relay(worker, relay)
            .ok_or("the model has no such relay")?;
        let allocation: &Allocation = &self.allocations[index];
        let Some(permission) = allocation.permission(peer.ip(), now) else {
            return ensure(seen.replies.is_empty(), || {
                "ICMP of a peer without permission".into()
            });
        };
        let doubtful = permission.doubtful || self.judge(peer, true) != Policy::Allowed;
        if doubtful && seen.replies.is_empty() {
            return Ok(());
        }
        let [(to, bytes)] = seen.replies.as_slice() else {
            return Err(format!("{} answers to an ICMP error", seen.replies.len()));
        };
        ensure(
            to.five_tuple == allocation.tuple && to.link == allocation.link,
            || format!("ICMP told to {to:?}"),
        )?;
        let message = Message::read(bytes)?;
        ensure(
            (message.class, message.method) == (Class::Indication, stun::DATA),
            || format!("ICMP told by {message:?}"),
        )?;
        let shown = self.external(peer);
        ensure(
            message.xor_addr(attr::XOR_PEER_ADDRESS) == Some(shown),
            || {
                format!(
                    "ICMP told of {:?}",
                    message.xor_addr(attr::XOR_PEER_ADDRESS)
                )
            },
        )?;
        ensure(!message.has(attr::DATA), || {
            "an ICMP indication carries no DATA".into()
        })?;
        let kind = u16::from(icmp.kind) << 9 | u16::from(icmp.code);
        let mut wanted = vec![0, 0];
        wanted.extend(kind.to_be_bytes());
        wanted.extend(icmp.data.to_be_bytes());
        ensure(message.get(attr::ICMP) == Some(&wanted), || {
            format!(
                "ICMP attribute {:?}, expected {wanted:?}",
                message.get(attr::ICMP)
            )
        })
    }
}

fn vet_data_indication(bytes: &[u8], from: SocketAddr, payload: &[u8]) -> Result<(), String> {
    let message = Message::read(bytes)?;
    if let Some(complaint) = message.complaint() {
        return Err(format!(
            "a client would refuse the Data indication: {complaint}"
        ));
    }
    ensure(
        (message.class, message.method) == (Class::Indication, stun::DATA),
        || format!("data arrived as {message:?}"),
    )?;
    ensure(
        message.xor_addr(attr::XOR_PEER_ADDRESS) == Some(from),
        || {
            format!(
                "data of {from} arrived from {:?}",
                message.xor_addr(attr::XOR_PEER_ADDRESS)
            )
        },
    )?;
    ensure(message.get(attr::DATA) == Some(payload), || {
        "the payload was changed".into()
    })?;
    ensure(message.attrs.len() == 2, || format!("{message:?}"))
}

fn is_dropped(seen: &Seen) -> Result<(), String> {
    let relayed = matches!(
        seen.verdict,
        Some(Verdict::ToPeer { .. } | Verdict::ToClient { .. })
    );
    ensure(!relayed, || format!("must be dropped: {:?}", seen.verdict))
}

/// Number and payload range of a ChannelData message; what follows the payload is padding.
fn frame(bytes: &[u8]) -> Option<(u16, Range<usize>)> {
    let header = bytes.get(..4)?;
    let number = u16::from_be_bytes([header[0], header[1]]);
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    (4 + len <= bytes.len()).then_some((number, 4..4 + len))
}

fn data_range(message: &Message, len: usize) -> Option<Range<usize>> {
    let mut offset = 20;
    for attr in &message.attrs {
        let start = offset + 4;
        if attr.kind == attr::DATA {
            return Some(start..start + attr.value.len());
        }
        offset = start + attr.value.len().next_multiple_of(4);
    }
    debug_assert!(offset == len);
    None
}
