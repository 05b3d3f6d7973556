//! An upgrade as one worker sees it: clients of the former process go on there, everybody else is the successor's.
//!
//! The sockets of the listeners are the same in both processes, so the kernel's spreading of 5-tuples over them does not
//! change. Only one process reads a socket at a time. First the former worker tells the allocations that it has, still
//! reading; then it stops, and the successor begins: between the two is one message, and what arrives meanwhile waits in
//! the socket. From there on the successor forwards the packets of the former worker's 5-tuples over the lane; that
//! worker answers by its own descriptor of the same socket. Every allocation that starts or ends is told before the
//! client hears of it.
//!
//! Two workers are joined by a lane; a worker has several where the processes have different numbers of workers. Without
//! an upgrade under way there is none of this but an empty `Option`.

mod former;
mod lane;
mod successor;
mod wire;

pub use former::{Give, Giving};
pub use lane::LaneEnd;
pub use successor::{SeedLane, Taking, lanes};

use crate::io::outbox::Chain;
use crate::io::ports::{PortLease, PortPool};
use crate::io::runs::Runs;
use crate::io::token::Token;
use crate::io::worker::Worker;
use crate::sys::epoll::Interest;
use crate::turn::{self, AllocationEnd, AllocationStart};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use wire::Record;

/// A UDP listener of this process, for another process to read.
pub struct OfferedSocket {
    pub socket: OwnedFd,
    pub address: SocketAddr,
    pub worker: usize,
    /// Place among the worker's listeners.
    pub index: usize,
}

/// What a worker has to do with the worker of another process.
pub struct Handover {
    /// By the index in `Token::Lane`; a lane that has ended leaves its place empty.
    pub lanes: Vec<Option<LaneEnd>>,
    pub side: Side,
}

pub enum Side {
    Former(Giving),
    Successor(Taking),
}

impl Handover {
    pub fn lane_mut(&mut self, index: usize) -> Option<&mut LaneEnd> {
        self.lanes.get_mut(index)?.as_mut()
    }

    pub fn tell(&mut self, lane: usize, record: &Record) {
        if let Some(lane) = self.lane_mut(lane) {
            lane.tell(record);
        }
    }
}

/// A relayed address of the other process: a peer like any client's, whose port is not to be had here.
pub struct ForeignRelay {
    addr: SocketAddr,
    shared: Arc<turn::Shared>,
    /// Gives the port back, after the address has stopped to be live.
    _lease: Option<PortLease>,
}

impl ForeignRelay {
    fn new(addr: SocketAddr, shared: &Arc<turn::Shared>, ports: &Arc<PortPool>) -> Self {
        shared.mark_relay(addr);
        Self {
            addr,
            shared: Arc::clone(shared),
            _lease: ports.set_aside(addr),
        }
    }
}

impl Drop for ForeignRelay {
    fn drop(&mut self) {
        self.shared.clear_relay(self.addr);
    }
}

impl Worker {
    pub(super) fn handle_lane(&mut self, index: usize, readable: bool) {
        match self.handover.as_ref().map(|handover| &handover.side) {
            Some(Side::Former(_)) if readable => self.read_lane_as_former(index),
            Some(Side::Successor(_)) if readable => self.read_lane_as_successor(index),
            Some(_) | None => {}
        }
        self.flush_records();
    }

    pub(super) fn tell_started(&mut self, start: &AllocationStart) {
        let Some(handover) = &mut self.handover else {
            return;
        };
        let relayed = start.relayed.iter().map(|addr| addr.socket_addr());
        match handover.side {
            Side::Former(_) => {
                let record = Record::Started {
                    id: start.id,
                    five_tuple: start.five_tuple,
                    relayed: relayed.collect(),
                    username: start.username.clone(),
                };
                handover.tell(0, &record);
            }
            Side::Successor(_) => relayed.for_each(|addr| handover.tell(0, &Record::RelayUp(addr))),
        }
    }

    pub(super) fn tell_ended(&mut self, end: &AllocationEnd) {
        let Some(handover) = &mut self.handover else {
            return;
        };
        match handover.side {
            Side::Former(_) => handover.tell(0, &Record::Ended { id: end.id }),
            Side::Successor(_) => end.relayed.iter().for_each(|addr| {
                handover.tell(0, &Record::RelayDown(addr.socket_addr()));
            }),
        }
    }

    /// Tells what there is to tell; before every answer to a client.
    pub(super) fn flush_records(&mut self) {
        let lanes = self.handover.as_ref().map_or(0, |all| all.lanes.len());
        for index in 0..lanes {
            let Some(lane) = self.handover.as_mut().and_then(|all| all.lane_mut(index)) else {
                continue;
            };
            if lane.is_behind() && (lane.catch_up().is_err() || lane.is_overfull()) {
                self.lose_lane(index);
                continue;
            }
            self.watch_lane(index);
        }
    }

    pub(super) fn flush_lane(&mut self, index: usize) {
        let Some(lane) = self.handover.as_mut().and_then(|all| all.lane_mut(index)) else {
            return;
        };
        let chain = std::mem::replace(&mut lane.chain, Chain::EMPTY);
        match lane.forward(self.outbox.chain(chain), &self.arena) {
            Ok(forwarded) => {
                self.counts.forwarded += forwarded.taken;
                self.counts.forward_dropped += forwarded.dropped;
                self.watch_lane(index);
            }
            Err(_) => self.lose_lane(index),
        }
    }

    /// Asks to hear of room on the lane exactly while something waits for it.
    fn watch_lane(&mut self, index: usize) {
        let Some(lane) = self.handover.as_mut().and_then(|all| all.lane_mut(index)) else {
            return;
        };
        let wanted = lane.is_behind();
        if wanted == lane.watched {
            return;
        }
        let interest = if wanted {
            Interest::ReadWrite
        } else {
            Interest::Read
        };
        let token = Token::Lane(index as u32).to_bits();
        match self.epoll.modify(lane.lane.as_fd(), token, interest) {
            Ok(()) => lane.watched = wanted,
            Err(error) => tracing::error!(%error, "cannot watch a lane"),
        }
    }

    /// The other process has ended, or does not read what it is told.
    fn lose_lane(&mut self, index: usize) {
        let lane = self.handover.as_mut().and_then(|all| all.lane_mut(index));
        if lane.is_some_and(|lane| lane.is_overfull()) {
            self.counts.lanes_overfull += 1;
            tracing::error!(
                "the other process of an upgrade does not read what it is told: going on without it"
            );
        }
        match self.handover.as_ref().map(|handover| &handover.side) {
            Some(Side::Former(_)) => self.take_back(),
            Some(Side::Successor(_)) => self.forget_former(index),
            None => {}
        }
    }

    /// Whether packets of the former process's clients may come by this listener.
    pub(super) fn serves_former(&self, index: usize) -> bool {
        let listener = self.listeners.get(index);
        let Some(former) = listener.and_then(|listener| listener.former) else {
            return false;
        };
        let Some(handover) = &self.handover else {
            return false;
        };
        let mut lanes = handover.lanes.iter().flatten();
        let is_former = matches!(handover.side, Side::Successor(_));
        is_former && lanes.any(|lane| lane.worker == former.worker)
    }

    /// Begins to read a listener.
    fn read_from_now_on(&mut self, index: usize) {
        let Some(listener) = self.listeners.get_mut(index) else {
            return;
        };
        let token = Token::Listener(index as u32).to_bits();
        match self
            .epoll
            .add(listener.socket.as_fd(), token, Interest::Read)
        {
            Ok(()) => {
                listener.runs = Runs::of_shared(&listener.socket);
                listener.is_read = true;
            }
            Err(error) => tracing::error!(%error, "cannot watch a listener"),
        }
    }
}
