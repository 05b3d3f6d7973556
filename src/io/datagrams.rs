//! The packet path of a worker: datagrams in, the core's verdict, chains out, and their flushing.

use crate::addr::{ClientAddr, FiveTuple, PeerAddr, Transport};
use crate::io::arena::{Arena, LAYOUT};
use crate::io::outbox::{Chain, Item, Margins, Outbox, Payload};
use crate::io::runs::Tally;
use crate::io::token::{Link, Token};
use crate::io::worker::Worker;
use crate::sys::errors::{Origin, SocketError, take_error};
use crate::sys::recv::{self, BATCH_MAX, DATAGRAM_LEN_MAX, Received};
use crate::sys::send::{SendCounts, Sender};
use crate::sys::socket::UdpSocket;
use crate::turn::{Icmp, RelayId, Verdict};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

/// Calls for one listener in its turn; what is left is reported again.
const LISTENER_READS: usize = 4;

/// Datagrams that are sent before more are read, though the round goes on: later they would have left the cache, and
/// whoever answers them would have waited for the whole round.
const GATHER_MAX: usize = 64;

/// Entries taken from one error queue in its turn.
const ERRORS_MAX: usize = 16;

impl Worker {
    pub(super) fn read_listener(&mut self, index: usize) {
        for _ in 0..LISTENER_READS {
            if !self.read_listener_once(index) {
                return;
            }
        }
    }

    /// False when nothing is left to be read.
    fn read_listener_once(&mut self, index: usize) -> bool {
        self.make_room(BATCH_MAX * LAYOUT.stride);
        let listener = self.listeners.get_mut(index);
        let is_leaving = listener.is_some_and(|listener| listener.leaving.is_some());
        self.core.set_refusing(is_leaving);
        let more = self.receive_from_clients(index);
        self.core.set_refusing(false);
        more
    }

    fn receive_from_clients(&mut self, index: usize) -> bool {
        let listener = self.listeners.get_mut(index);
        let Some(listener) = listener.filter(|listener| listener.is_read) else {
            return false;
        };
        self.counts.listeners.receive_calls += 1;
        if listener.runs.are_merged() {
            return self.receive_merged_from_clients(index);
        }
        // A wildcard listener must learn the address that was asked, which only a longer call tells.
        if !listener.is_wildcard && !self.has_rested && listener.burst.take_alone() {
            let bound = listener.socket.addr();
            if let Ok((from, payload)) = receive_one(&listener.socket, &mut self.arena) {
                self.counts.listeners.received += 1;
                if self.handover.is_some() {
                    self.read_lanes();
                }
                self.handle_client_datagram(index, bound, bound.ip(), from, payload);
            }
            return false;
        }
        let asked = listener.burst.several();
        let room = self.arena.next(asked * LAYOUT.stride);
        let Ok(count) = self.receiver.receive(listener.socket.as_fd(), room, LAYOUT) else {
            return false;
        };
        listener.burst.note(asked, count);
        self.full_calls += u64::from(count >= asked);
        let bound = listener.socket.addr();
        let start = self.arena.used();
        self.arena.take(count * LAYOUT.stride);
        self.counts.listeners.received += count as u64;
        if self.handover.is_some() {
            self.read_lanes();
        }
        let mut tally = Tally::default();
        for at in 0..count {
            if let Some(received) = self.receiver.get(at) {
                tally.see(received.from, received.len);
                self.note_listener_overflow(index, &received);
                let slot = start + at * LAYOUT.stride;
                let server_ip = received.local_ip.unwrap_or(bound.ip());
                let payload = self.payload(at, slot, received.len);
                self.handle_client_datagram(index, bound, server_ip, received.from, payload);
            }
        }
        if let Some(listener) = self.listeners.get_mut(index) {
            listener.runs.note(&tally, &listener.socket);
        }
        count >= asked
    }

    pub(super) fn handle_client_datagram(
        &mut self,
        listener: usize,
        bound: SocketAddr,
        server_ip: IpAddr,
        client: SocketAddr,
        payload: Payload,
    ) {
        let from = FiveTuple {
            client: ClientAddr::new(client),
            server: SocketAddr::new(server_ip, bound.port()),
            transport: Transport::Udp,
        };
        let link = Link::Listener(listener as u32).id();
        let mut payload = payload;
        if self.handover.is_some() {
            let Some(own) = self.forward(listener, &from, payload) else {
                return;
            };
            payload = own;
        }
        let bytes = payload.bytes(&self.arena);
        let verdict = self
            .core
            .handle_client(self.now, &from, link, bytes, &mut self.relays);
        self.take_output();
        self.carry_out(verdict, payload, Margins::SLOT);
    }

    pub(super) fn read_relay(&mut self, relay: RelayId) {
        self.make_room(BATCH_MAX * LAYOUT.stride);
        let Some(socket) = self.relays.get_mut(relay) else {
            return;
        };
        self.counts.relays.receive_calls += 1;
        if socket.runs.are_merged() {
            return self.receive_merged_from_peers(relay);
        }
        if !self.has_rested && socket.burst.take_alone() {
            if let Ok((from, payload)) = receive_one(socket.socket(), &mut self.arena) {
                self.counts.relays.received += 1;
                self.handle_peer_datagram(relay, from, payload);
            }
            return;
        }
        let asked = socket.burst.several();
        let room = self.arena.next(asked * LAYOUT.stride);
        let Ok(count) = self.receiver.receive(socket.socket().as_fd(), room, LAYOUT) else {
            return;
        };
        socket.burst.note(asked, count);
        self.full_calls += u64::from(count >= asked);
        let start = self.arena.used();
        self.arena.take(count * LAYOUT.stride);
        self.counts.relays.received += count as u64;
        let mut tally = Tally::default();
        for at in 0..count {
            if let Some(received) = self.receiver.get(at) {
                tally.see(received.from, received.len);
                self.note_relay_overflow(relay, &received);
                let slot = start + at * LAYOUT.stride;
                let payload = self.payload(at, slot, received.len);
                self.handle_peer_datagram(relay, received.from, payload);
            }
        }
        if let Some(socket) = self.relays.get_mut(relay) {
            socket.note_runs(&tally);
        }
    }

    pub(super) fn handle_peer_datagram(
        &mut self,
        relay: RelayId,
        from: SocketAddr,
        payload: Payload,
    ) {
        let bytes = payload.bytes(&self.arena);
        let from = PeerAddr::new(from);
        let verdict = self.core.handle_peer(self.now, relay, from, bytes);
        self.take_output();
        self.carry_out(verdict, payload, Margins::SLOT);
    }

    /// The datagram where it lies, or put together if it was longer than its slot.
    pub(super) fn payload(&self, at: usize, slot: usize, len: usize) -> Payload {
        let start = slot + LAYOUT.headroom;
        if len <= LAYOUT.payload_max() {
            return Payload::Arena(start..start + len);
        }
        let head = self.arena.get(start..start + LAYOUT.payload_max());
        let bytes = self.receiver.whole(at, head, len, LAYOUT);
        let range = LAYOUT.headroom..bytes.len() - LAYOUT.tailroom;
        Payload::Owned { bytes, range }
    }

    /// Queues what the verdict says about `received`, around which `margins` may be overwritten.
    pub(super) fn carry_out(&mut self, verdict: Verdict, received: Payload, margins: Margins) {
        match verdict {
            Verdict::Consumed => {}
            Verdict::ToPeer {
                relay,
                peer,
                payload,
                dont_fragment,
            } => {
                if let Some(owner) = self.relays.owner(peer.socket_addr()) {
                    let margins = margins.around(&payload, received.len());
                    self.hand_over(relay, owner, peer, (received.narrowed(payload), margins));
                    return;
                }
                let Some(socket) = self.relays.get_mut(relay) else {
                    return;
                };
                let mut item = Item::new(received.narrowed(payload), peer.socket_addr());
                item.dont_fragment = dont_fragment;
                self.outbox
                    .push(&mut socket.chain, Token::Relay(relay), item);
            }
            Verdict::ToClient { client, prefix } => {
                let framed = received.framed(&prefix, margins, &mut self.arena);
                if let Some(framed) = framed {
                    self.queue_for_client(&client, framed, true);
                }
            }
            Verdict::Drop(reason) => tracing::trace!(reason = reason.label(), "packet dropped"),
        }
    }

    pub(super) fn note_listener_overflow(&mut self, index: usize, received: &Received) {
        if let (Some(overflow), Some(listener)) = (received.overflow, self.listeners.get_mut(index))
        {
            let more = overflow.wrapping_sub(listener.overflow);
            self.counts.listeners.overflow += u64::from(more);
            listener.overflow = overflow;
        }
    }

    pub(super) fn note_relay_overflow(&mut self, relay: RelayId, received: &Received) {
        if let (Some(overflow), Some(socket)) = (received.overflow, self.relays.get_mut(relay)) {
            let more = overflow.wrapping_sub(socket.overflow);
            self.counts.relays.overflow += u64::from(more);
            socket.overflow = overflow;
        }
    }

    /// ICMP errors for what was sent from this relay socket.
    pub(super) fn take_errors(&mut self, relay: RelayId) {
        for _ in 0..ERRORS_MAX {
            let Some(socket) = self.relays.get_mut(relay) else {
                return;
            };
            match take_error(socket.socket().as_fd()) {
                Ok(Some(error)) => {
                    self.counts.icmp += 1;
                    if let Some(icmp) = icmp(&error) {
                        let peer = PeerAddr::new(error.peer);
                        self.core.handle_icmp(self.now, relay, peer, icmp);
                        self.take_output();
                    }
                }
                Ok(None) => {}
                Err(_) => break,
            }
        }
        // An error that found no room in the queue would be reported for ever.
        if let Some(socket) = self.relays.get_mut(relay) {
            let pending = socket.socket().take_pending_error();
            tracing::trace!(?pending, "error queue read");
        }
    }

    /// Makes the arena hold `len` more bytes, by sending what lies there, if that is needed or much has gathered.
    pub(super) fn make_room(&mut self, len: usize) {
        // What goes to streams gathers as long as it can: a write to one costs the same for one frame and for several.
        let is_much = self.outbox.len() >= GATHER_MAX && self.streams.is_empty();
        if is_much || self.arena.free() < len {
            self.flush();
        }
    }

    /// Sends everything that was queued in this round.
    pub(super) fn flush(&mut self) {
        if self.handover.is_some() {
            self.flush_records();
        }
        while let Some(token) = self.outbox.next_waiting() {
            match token {
                Token::Listener(index) => self.flush_listener(index as usize),
                Token::Relay(relay) => self.flush_relay(relay),
                Token::Stream(index) => self.flush_stream(index),
                Token::Lane(index) => self.flush_lane(index as usize),
                Token::Wake | Token::Timer => {}
            }
        }
        self.flush_crossing();
        self.outbox.clear();
        self.arena.reset();
    }

    fn flush_listener(&mut self, index: usize) {
        let Some(listener) = self.listeners.get_mut(index) else {
            return;
        };
        let chain = std::mem::replace(&mut listener.chain, Chain::EMPTY);
        let counts = &mut self.counts.listeners.send;
        let round = (&self.outbox, &self.arena);
        flush_chain(&mut self.sender, &listener.socket, chain, round, counts);
    }

    pub(super) fn flush_relay(&mut self, relay: RelayId) {
        let Some(socket) = self.relays.get_mut(relay) else {
            return;
        };
        let chain = std::mem::replace(&mut socket.chain, Chain::EMPTY);
        let counts = &mut self.counts.relays.send;
        let round = (&self.outbox, &self.arena);
        flush_chain(&mut self.sender, socket.socket(), chain, round, counts);
    }
}

/// Sends one socket's chain by as few calls as it takes.
fn flush_chain(
    sender: &mut Sender,
    socket: &UdpSocket,
    chain: Chain,
    (outbox, arena): (&Outbox, &Arena),
    counts: &mut SendCounts,
) {
    let mut items = outbox.chain(chain);
    if chain.has_dont_fragment {
        for item in items {
            counts.record(&send_fragmentable_or_not(sender, socket, item, arena));
        }
    } else if chain.is_single() {
        if let Some(item) = items.next() {
            counts.record(&sender.send_one(socket.as_fd(), &item.datagram(arena)));
        }
    } else {
        sender.send(
            socket.as_fd(),
            items.map(|item| item.datagram(arena)),
            counts,
        );
    }
}

fn send_fragmentable_or_not(
    sender: &mut Sender,
    socket: &UdpSocket,
    item: &Item,
    arena: &Arena,
) -> io::Result<()> {
    let datagram = item.datagram(arena);
    if !item.dont_fragment {
        return sender.send_one(socket.as_fd(), &datagram);
    }
    socket.set_dont_fragment(true)?;
    let outcome = sender.send_one(socket.as_fd(), &datagram);
    socket.set_dont_fragment(false)?;
    outcome
}

/// Receives one datagram of any length into the arena, which has room for the longest.
fn receive_one(socket: &UdpSocket, arena: &mut Arena) -> io::Result<(SocketAddr, Payload)> {
    let start = arena.used() + LAYOUT.headroom;
    let room = arena.next(LAYOUT.headroom + DATAGRAM_LEN_MAX);
    let (len, from) = recv::one(
        socket.as_fd(),
        room.get_mut(LAYOUT.headroom..).unwrap_or_default(),
    )?;
    let taken = LAYOUT.headroom + len + LAYOUT.tailroom;
    arena.take(taken.next_multiple_of(LAYOUT.stride));
    Ok((from, Payload::Arena(start..start + len)))
}

/// What the core makes an ICMP attribute of (RFC 8656 §18.13).
fn icmp(error: &SocketError) -> Option<Icmp> {
    let (kind, code) = match error.origin {
        Origin::Icmp | Origin::Icmp6 => (error.kind, error.code),
        // This machine knew the path's MTU, so no ICMP message came; for the client it is the same.
        Origin::Local if error.errno == libc::EMSGSIZE => match error.peer {
            SocketAddr::V4(_) => (3, 4),
            SocketAddr::V6(_) => (2, 0),
        },
        Origin::Local => return None,
    };
    Some(Icmp {
        kind,
        code,
        data: error.info,
    })
}
