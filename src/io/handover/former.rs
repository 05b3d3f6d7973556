//! The side that gives its listeners away and keeps its allocations.

use crate::addr::{FiveTuple, Transport};
use crate::io::arena::LAYOUT;
use crate::io::handover::wire::{self, HEADER_LEN, Message, Packet, Record};
use crate::io::handover::{ForeignRelay, Handover, LaneEnd, Side};
use crate::io::outbox::{Margins, Payload};
use crate::io::token::{Link, Token};
use crate::io::worker::Worker;
use crate::sys::epoll::Interest;
use crate::sys::lane::Lane;
use crate::sys::recv::BATCH_MAX;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::mpsc::Sender;

/// Calls for one lane in its turn; what is left is reported again.
const LANE_READS: usize = 4;

/// The order to give listeners away.
pub struct Give {
    /// The first is told of every allocation; by the others only relayed addresses come.
    pub lanes: Vec<Lane>,
    /// Places of the listeners that the successor reads. The others go on to be read here.
    pub listeners: Vec<usize>,
    /// Told once this worker reads them no more.
    pub done: Sender<()>,
}

pub struct Giving {
    listeners: Vec<usize>,
    done: Sender<()>,
    let_go: bool,
    /// The successor's.
    relays: HashMap<SocketAddr, ForeignRelay>,
}

impl Worker {
    /// Tells the successor what this worker has. The listeners are read until it knows.
    pub(in crate::io) fn give(&mut self, order: Give) {
        let mut lanes = Vec::new();
        for (index, lane) in order.lanes.into_iter().enumerate() {
            let token = Token::Lane(index as u32).to_bits();
            if let Err(error) = self.epoll.add(lane.as_fd(), token, Interest::Read) {
                // The lanes close with this, which the successor takes for what it is.
                tracing::error!(%error, "cannot watch a lane");
                return;
            }
            lanes.push(Some(LaneEnd::new(lane, index)));
        }
        let mut handover = Box::new(Handover {
            lanes,
            side: Side::Former(Giving {
                listeners: order.listeners,
                done: order.done,
                let_go: false,
                relays: HashMap::new(),
            }),
        });
        for allocation in self.core.allocations() {
            let relayed = allocation.relayed.iter().map(|addr| addr.socket_addr());
            let record = Record::Started {
                id: allocation.id,
                five_tuple: allocation.five_tuple,
                relayed: relayed.collect(),
                username: allocation.username.to_owned(),
            };
            if let Some(lane) = handover.lane_mut(0) {
                lane.tell_first(&record);
            }
        }
        handover.tell(0, &Record::Told);
        self.handover = Some(handover);
        self.flush_records();
    }

    pub(super) fn read_lane_as_former(&mut self, index: usize) {
        for _ in 0..LANE_READS {
            if !self.read_lane_batch(index) {
                return;
            }
        }
    }

    /// False when nothing is left to be read.
    fn read_lane_batch(&mut self, index: usize) -> bool {
        self.make_room(BATCH_MAX * LAYOUT.stride);
        let Some(lane) = self.handover.as_mut().and_then(|all| all.lane_mut(index)) else {
            return false;
        };
        let room = self.arena.next(BATCH_MAX * LAYOUT.stride);
        let count = match self.receiver.receive(lane.lane.as_fd(), room, LAYOUT) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
            Err(_) => {
                self.lose_lane(index);
                return false;
            }
        };
        let start = self.arena.used();
        self.arena.take(count * LAYOUT.stride);
        for at in 0..count {
            let len = self.receiver.length(at);
            if len == 0 {
                self.lose_lane(index);
                return false;
            }
            let payload = self.payload(at, start + at * LAYOUT.stride, len);
            self.handle_lane_message(payload, len);
        }
        count == BATCH_MAX
    }

    fn handle_lane_message(&mut self, message: Payload, len: usize) {
        let records: Vec<Record> = match wire::read(message.bytes(&self.arena)) {
            Some(Message::Packet(packet)) => {
                let payload = message.narrowed(HEADER_LEN.min(len)..len);
                return self.handle_forwarded(&packet, payload);
            }
            Some(Message::Records(records)) => records.collect(),
            None => return,
        };
        for record in records {
            match record {
                Record::Known => self.let_go(),
                Record::RelayUp(addr) => {
                    // A mark that is there goes first: with it the address would stop to be live.
                    self.note_relay(addr, None);
                    let ports = &self.relays.shared().ports;
                    let relay = ForeignRelay::new(addr, &self.turn_shared, ports);
                    self.note_relay(addr, Some(relay));
                }
                Record::RelayDown(addr) => self.note_relay(addr, None),
                // A successor has nothing else to say.
                Record::Started { .. } | Record::Ended { .. } | Record::Told | Record::Over => {}
            }
        }
    }

    fn note_relay(&mut self, addr: SocketAddr, relay: Option<ForeignRelay>) {
        if let Some(Side::Former(giving)) = self.handover.as_mut().map(|all| &mut all.side) {
            match relay {
                Some(relay) => drop(giving.relays.insert(addr, relay)),
                None => drop(giving.relays.remove(&addr)),
            }
        }
    }

    /// A packet of an own client that the successor has read.
    fn handle_forwarded(&mut self, packet: &Packet, payload: Payload) {
        let Some(listener) = self.listeners.get(usize::from(packet.listener)) else {
            return;
        };
        let from = FiveTuple {
            client: packet.client,
            server: SocketAddr::new(packet.server, listener.socket.addr().port()),
            transport: Transport::Udp,
        };
        self.counts.forwarded_here += 1;
        let link = Link::Listener(packet.listener.into()).id();
        let bytes = payload.bytes(&self.arena);
        let is_leaving = listener.leaving.is_some();
        self.core.set_refusing(is_leaving);
        let verdict = self
            .core
            .handle_client(self.now, &from, link, bytes, &mut self.relays);
        self.core.set_refusing(false);
        self.take_output();
        self.carry_out(verdict, payload, Margins::SLOT);
    }

    /// Reads the given listeners no more; the successor begins when it hears of it.
    fn let_go(&mut self) {
        let Some(handover) = &mut self.handover else {
            return;
        };
        let Side::Former(giving) = &mut handover.side else {
            return;
        };
        if giving.let_go {
            return;
        }
        for index in &giving.listeners {
            let Some(listener) = self.listeners.get_mut(*index) else {
                continue;
            };
            if let Err(error) = self.epoll.remove(listener.socket.as_fd()) {
                tracing::error!(%error, "cannot stop watching a listener");
            }
            listener.is_read = false;
        }
        giving.let_go = true;
        handover.tell(0, &Record::Over);
        // Whoever waits for the last call must see them all.
        self.publish_allocations();
        if let Some(Side::Former(giving)) = self.handover.as_ref().map(|all| &all.side) {
            // Whoever waits may have given up.
            let _ = giving.done.send(());
        }
    }

    /// The successor has ended: what it read is read here again, for the calls that are left.
    pub(super) fn take_back(&mut self) {
        let Some(handover) = self.handover.take() else {
            return;
        };
        let Side::Former(giving) = handover.side else {
            return;
        };
        if giving.let_go {
            tracing::warn!("the process that took over is gone: reading the UDP listeners again");
            for index in giving.listeners {
                self.read_from_now_on(index);
            }
        }
    }
}
