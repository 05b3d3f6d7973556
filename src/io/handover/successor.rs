//! The side that takes listeners over, and forwards what belongs to the former process.

use crate::addr::FiveTuple;
use crate::io::BindError;
use crate::io::handover::wire::{self, Message, Packet, Record};
use crate::io::handover::{ForeignRelay, Handover, LaneEnd, Side};
use crate::io::outbox::{Item, Margins, Payload};
use crate::io::token::Token;
use crate::io::worker::Worker;
use crate::sys::lane::Lane;
use crate::turn::Guest;
use std::collections::HashMap;
use std::io::ErrorKind;

/// Longest message of a lane, in bytes.
const MESSAGE_LEN_MAX: usize = 64 << 10;

/// An own end of a lane, before the worker starts.
pub struct SeedLane {
    pub lane: Lane,
    /// The former process's worker at its other end.
    pub worker: usize,
}

pub struct Taking {
    by_client: HashMap<FiveTuple, Place, ahash::RandomState>,
    allocations: HashMap<Place, Foreign>,
    buffer: Box<[u8]>,
}

/// Lane, and the allocation's number in the process at its end.
type Place = (usize, u64);

/// An allocation of the former process: counted here, so that nobody has more than the limits allow.
struct Foreign {
    five_tuple: FiveTuple,
    _relays: Vec<ForeignRelay>,
    _guest: Guest,
}

impl Handover {
    /// `None` without a former process.
    pub fn of_successor(lanes: Vec<SeedLane>, hasher: ahash::RandomState) -> Option<Box<Self>> {
        if lanes.is_empty() {
            return None;
        }
        let lanes = lanes.into_iter();
        let taking = Taking {
            by_client: HashMap::with_hasher(hasher),
            allocations: HashMap::new(),
            buffer: vec![0; MESSAGE_LEN_MAX].into(),
        };
        Some(Box::new(Self {
            lanes: lanes
                .map(|seed| Some(LaneEnd::new(seed.lane, seed.worker)))
                .collect(),
            side: Side::Successor(taking),
        }))
    }

    fn taking(&mut self) -> Option<&mut Taking> {
        match &mut self.side {
            Side::Former(_) => None,
            Side::Successor(taking) => Some(taking),
        }
    }
}

/// One lane for each worker of either process; returns the other ends, in the order of the former process's workers.
///
/// Lane `k` joins worker `k mod former` there and `k mod own` here.
pub fn lanes(own: usize, former: usize) -> Result<(Vec<Vec<SeedLane>>, Vec<Lane>), BindError> {
    let mut seeds: Vec<Vec<SeedLane>> = (0..own).map(|_| Vec::new()).collect();
    let mut others = Vec::new();
    for index in 0..own.max(former) {
        let worker = index % own;
        let pair = Lane::pair().map_err(|source| BindError::Worker { worker, source });
        let (lane, other) = pair?;
        others.push(other);
        seeds[worker].push(SeedLane {
            lane,
            worker: index % former,
        });
    }
    Ok((seeds, others))
}

impl Worker {
    /// Hears what was told before a packet that has just been read was sent.
    pub(in crate::io) fn read_lanes(&mut self) {
        let lanes = self.handover.as_ref().map_or(0, |all| all.lanes.len());
        for index in 0..lanes {
            self.read_lane_as_successor(index);
        }
    }

    pub(super) fn read_lane_as_successor(&mut self, index: usize) {
        loop {
            let Some(handover) = &mut self.handover else {
                return;
            };
            let Handover { lanes, side } = &mut **handover;
            let (Some(Some(lane)), Side::Successor(taking)) = (lanes.get(index), side) else {
                return;
            };
            let len = match lane.lane.receive(&mut taking.buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => return self.lose_lane(index),
                Ok(len) => len,
            };
            let message = wire::read(taking.buffer.get(..len).unwrap_or_default());
            let Some(Message::Records(records)) = message else {
                continue;
            };
            let records: Vec<Record> = records.collect();
            for record in records {
                self.learn(index, record);
            }
        }
    }

    fn learn(&mut self, lane: usize, record: Record) {
        match record {
            Record::Started {
                id,
                five_tuple,
                relayed,
                username,
            } => {
                let shared = &self.turn_shared;
                let ports = &self.relays.shared().ports;
                let relay = |addr| ForeignRelay::new(addr, shared, ports);
                let foreign = Foreign {
                    five_tuple,
                    _relays: relayed.into_iter().map(relay).collect(),
                    _guest: Guest::new(shared, &username),
                };
                let taking = self.handover.as_mut().and_then(|all| all.taking());
                if let Some(taking) = taking {
                    taking.by_client.insert(five_tuple, (lane, id));
                    taking.allocations.insert((lane, id), foreign);
                }
            }
            Record::Ended { id } => {
                let taking = self.handover.as_mut().and_then(|all| all.taking());
                if let Some(taking) = taking {
                    taking.forget((lane, id));
                }
            }
            Record::Told => {
                if let Some(handover) = &mut self.handover {
                    handover.tell(lane, &Record::Known);
                }
            }
            Record::Over => self.begin_to_read(lane),
            // A former process has nothing else to say.
            Record::Known | Record::RelayUp(_) | Record::RelayDown(_) => {}
        }
    }

    /// Reads the listeners that the worker at the lane's end has let go.
    fn begin_to_read(&mut self, lane: usize) {
        let Some(lane) = self.handover.as_mut().and_then(|all| all.lane_mut(lane)) else {
            return;
        };
        let worker = lane.worker;
        for index in 0..self.listeners.len() {
            let Some(listener) = self.listeners.get(index) else {
                continue;
            };
            let was_its = listener
                .former
                .is_some_and(|former| former.worker == worker);
            if was_its && !listener.is_read {
                self.read_from_now_on(index);
            }
        }
    }

    /// Queues a packet of the former process's client for it; gives back any other.
    pub(in crate::io) fn forward(
        &mut self,
        listener: usize,
        from: &FiveTuple,
        payload: Payload,
    ) -> Option<Payload> {
        let Some(handover) = &mut self.handover else {
            return Some(payload);
        };
        let Handover { lanes, side } = &mut **handover;
        let Side::Successor(taking) = side else {
            return Some(payload);
        };
        let Some((lane, _)) = taking.by_client.get(from).copied() else {
            return Some(payload);
        };
        let former = self
            .listeners
            .get(listener)
            .and_then(|listener| listener.former);
        let (Some(former), Some(Some(end))) = (former, lanes.get_mut(lane)) else {
            return Some(payload);
        };
        let packet = Packet {
            listener: former.index as u16,
            client: from.client,
            server: from.server.ip(),
        };
        let framed = payload.framed(&packet.prefix(), Margins::SLOT, &mut self.arena)?;
        let item = Item::new(framed, from.client.socket_addr());
        self.outbox
            .push(&mut end.chain, Token::Lane(lane as u32), item);
        None
    }

    /// The former process has ended: what was its is free.
    pub(super) fn forget_former(&mut self, index: usize) {
        // Before it let go, nobody else reads its listeners.
        self.begin_to_read(index);
        let Some(handover) = &mut self.handover else {
            return;
        };
        if let Some(lane) = handover.lanes.get_mut(index) {
            *lane = None;
        }
        if let Some(taking) = handover.taking() {
            taking.by_client.retain(|_, (lane, _)| *lane != index);
            taking.allocations.retain(|(lane, _), _| *lane != index);
        }
        if handover.lanes.iter().all(Option::is_none) {
            self.handover = None;
        }
    }
}

impl Taking {
    fn forget(&mut self, place: Place) {
        let Some(foreign) = self.allocations.remove(&place) else {
            return;
        };
        // The client may have allocated again by then.
        if self.by_client.get(&foreign.five_tuple) == Some(&place) {
            self.by_client.remove(&foreign.five_tuple);
        }
    }
}
