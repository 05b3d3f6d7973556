//! From client to client of this server: handed over within the process, by the same rules as over the wire.
//!
//! The sender's side of the core has admitted the packet (`Verdict::ToPeer`) before it comes here; the receiver's side
//! (`handle_peer`) sees it come from the sender's relayed address, checks permission, policy and bandwidth, and counts.

use crate::addr::PeerAddr;
use crate::io::arena::LAYOUT;
use crate::io::crossing::Crossed;
use crate::io::local::Owner;
use crate::io::outbox::{Margins, Payload};
use crate::io::worker::Worker;
use crate::turn::RelayId;
use std::net::SocketAddr;

impl Worker {
    /// Gives a packet that leaves `sender` for the relayed address `to` to `owner`, who holds that address.
    pub(super) fn hand_over(
        &mut self,
        sender: RelayId,
        owner: Owner,
        to: PeerAddr,
        (payload, margins): (Payload, Margins),
    ) {
        let Some(from) = self.relays.get_mut(sender).map(|relay| relay.addr()) else {
            return;
        };
        self.counts.handed_over += 1;
        if owner.worker == self.index {
            self.receive_from_neighbour(owner.relay, from, payload, margins);
        } else {
            self.counts.crossed += 1;
            let bytes = payload.bytes(&self.arena);
            self.crossing
                .push(owner.worker, from, to.socket_addr(), bytes);
        }
    }

    fn receive_from_neighbour(
        &mut self,
        relay: RelayId,
        from: SocketAddr,
        payload: Payload,
        margins: Margins,
    ) {
        let bytes = payload.bytes(&self.arena);
        let from = PeerAddr::new(from);
        let verdict = self.core.handle_peer(self.now, relay, from, bytes);
        self.take_output();
        self.carry_out(verdict, payload, margins);
    }

    /// Takes what other workers have handed over.
    pub(super) fn take_crossed(&mut self) {
        for sender in 0..self.crossing.senders() {
            if sender == self.index {
                continue;
            }
            let batch = self.crossing.take(sender);
            for (from, to, payload) in batch.packets() {
                // The relay may have been closed, and its port may be another's by then.
                let owner = self.relays.owner(to);
                let Some(owner) = owner.filter(|owner| owner.worker == self.index) else {
                    self.counts.crossing_dropped += 1;
                    continue;
                };
                let payload = self.received(payload);
                self.receive_from_neighbour(owner.relay, from, payload, Margins::SLOT);
            }
            self.crossing.put_back(batch);
        }
    }

    /// Puts a payload where a received datagram would lie.
    fn received(&mut self, payload: &[u8]) -> Payload {
        let end = LAYOUT.headroom + payload.len();
        if payload.len() > LAYOUT.payload_max() {
            let mut bytes = vec![0; end + LAYOUT.tailroom];
            bytes[LAYOUT.headroom..end].copy_from_slice(payload);
            let range = LAYOUT.headroom..end;
            return Payload::Owned { bytes, range };
        }
        self.make_room(LAYOUT.stride);
        let start = self.arena.used();
        let slot = self.arena.next(LAYOUT.stride);
        slot[LAYOUT.headroom..end].copy_from_slice(payload);
        self.arena.take(LAYOUT.stride);
        Payload::Arena(start + LAYOUT.headroom..start + end)
    }

    pub(super) fn flush_crossing(&mut self) {
        let (inboxes, counts) = (&self.inboxes, &mut self.counts);
        self.crossing.flush(|to, crossed| match crossed {
            Crossed::First => inboxes[to].waker.wake(),
            Crossed::Behind => {}
            Crossed::Dropped(packets) => counts.crossing_dropped += packets as u64,
        });
    }
}
