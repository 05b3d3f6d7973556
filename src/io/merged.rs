//! Reading sockets whose runs the kernel hands over merged (see `runs`).
//!
//! The datagrams of a run lie side by side, with no room for a header in front of each. So each is copied once into the
//! arena, which for 1200 bytes costs a tenth of receiving it alone, and goes on as if it had come so.

use crate::io::arena::LAYOUT;
use crate::io::metrics::SocketCounts;
use crate::io::outbox::Payload;
use crate::io::worker::Worker;
use crate::sys::recv::Received;
use crate::turn::RelayId;
use std::ops::Range;
use std::os::fd::AsFd;

/// Messages asked for at once, each of up to 64 KiB, and of 64 datagrams or, from this machine, more.
const MESSAGES_MAX: usize = 8;

/// After so many datagrams a listener's turn is over.
const PARTS_MAX: usize = 256;

impl Worker {
    /// False when nothing is left to be read.
    pub(super) fn receive_merged_from_clients(&mut self, index: usize) -> bool {
        let Some(listener) = self.listeners.get_mut(index) else {
            return false;
        };
        let is_alone = !self.has_rested && listener.burst.take_alone();
        let asked = asked(is_alone, listener.burst.several());
        let Ok(count) = self.receiver.receive_merged(listener.socket.as_fd(), asked) else {
            return false;
        };
        if !is_alone {
            listener.burst.note(asked, count);
            self.full_calls += u64::from(count >= asked);
        }
        let bound = listener.socket.addr();
        if self.handover.is_some() {
            self.read_lanes();
        }
        let mut parts = 0;
        for at in 0..count {
            let Some(received) = self.receiver.get(at) else {
                continue;
            };
            parts += received.parts().len();
            self.note_listener_overflow(index, &received);
            count_parts(&mut self.counts.listeners, &received);
            let server_ip = received.local_ip.unwrap_or(bound.ip());
            for part in received.parts() {
                let payload = self.copied(at, part);
                self.handle_client_datagram(index, bound, server_ip, received.from, payload);
            }
        }
        count >= asked && !is_alone && parts < PARTS_MAX
    }

    pub(super) fn receive_merged_from_peers(&mut self, relay: RelayId) {
        let Some(socket) = self.relays.get_mut(relay) else {
            return;
        };
        let is_alone = !self.has_rested && socket.burst.take_alone();
        let asked = asked(is_alone, socket.burst.several());
        let Ok(count) = self.receiver.receive_merged(socket.socket().as_fd(), asked) else {
            return;
        };
        if !is_alone {
            socket.burst.note(asked, count);
            self.full_calls += u64::from(count >= asked);
        }
        for at in 0..count {
            let Some(received) = self.receiver.get(at) else {
                continue;
            };
            self.note_relay_overflow(relay, &received);
            count_parts(&mut self.counts.relays, &received);
            for part in received.parts() {
                let payload = self.copied(at, part);
                self.handle_peer_datagram(relay, received.from, payload);
            }
        }
    }

    /// A part of a message in the arena, with margins of its own. What lies there is sent first if it needs the room.
    fn copied(&mut self, message: usize, part: Range<usize>) -> Payload {
        let len = part.len();
        let taken = LAYOUT.headroom + len + LAYOUT.tailroom;
        self.make_room(taken);
        let start = self.arena.used() + LAYOUT.headroom;
        let room = self.arena.get_mut(start..start + len);
        room.copy_from_slice(self.receiver.merged(message, part));
        self.arena.take(taken.next_multiple_of(LAYOUT.stride));
        Payload::Arena(start..start + len)
    }
}

fn asked(is_alone: bool, several: usize) -> usize {
    if is_alone {
        1
    } else {
        several.min(MESSAGES_MAX)
    }
}

fn count_parts(counts: &mut SocketCounts, received: &Received) {
    let parts = received.parts().len() as u64;
    counts.received += parts;
    if parts > 1 {
        counts.merged += parts;
    }
}
