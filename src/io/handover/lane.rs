//! One worker's end of a lane: what waits to be told, and packets that the lane did not take at once.

use crate::io::arena::Arena;
use crate::io::handover::wire::{self, Record};
use crate::io::outbox::{Chain, Item};
use crate::sys::lane::Lane;
use std::collections::VecDeque;
use std::io;

/// Packets that may wait for the former process, and their bytes: beyond, it does not keep up, and they are dropped.
const WAITING_MAX: usize = 8192;
const WAITING_BYTES_MAX: usize = 8 << 20;

pub struct LaneEnd {
    pub lane: Lane,
    /// The former process's worker at one end of it.
    pub worker: usize,
    /// Packets of this round.
    pub chain: Chain,
    records: Vec<Vec<u8>>,
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
    /// Epoll reports when it can be written to.
    pub watched: bool,
}

/// What became of a round's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    pub taken: u64,
    pub dropped: u64,
}

impl LaneEnd {
    pub fn new(lane: Lane, worker: usize) -> Self {
        Self {
            lane,
            worker,
            chain: Chain::EMPTY,
            records: Vec::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            watched: false,
        }
    }

    pub fn tell(&mut self, record: &Record) {
        wire::put(&mut self.records, record);
    }

    /// Something waits for the lane to have room.
    pub fn is_behind(&self) -> bool {
        !self.records.is_empty() || !self.waiting.is_empty()
    }

    /// Sends what waits: records first, which packets may depend on.
    pub fn catch_up(&mut self) -> io::Result<()> {
        if !self.records.is_empty() {
            let sent = self.lane.send(self.records.iter().map(Vec::as_slice))?;
            self.records.drain(..sent);
        }
        if self.records.is_empty() && !self.waiting.is_empty() {
            let sent = self.lane.send(self.waiting.iter().map(Vec::as_slice))?;
            let gone: usize = self.waiting.drain(..sent).map(|packet| packet.len()).sum();
            self.waiting_bytes -= gone;
        }
        Ok(())
    }

    /// Sends packets, or keeps them until there is room, as long as not too many wait.
    pub fn forward<'a>(
        &mut self,
        items: impl Iterator<Item = &'a Item>,
        arena: &'a Arena,
    ) -> io::Result<Forwarded> {
        self.catch_up()?;
        let packets: Vec<&[u8]> = items.map(|item| item.payload.bytes(arena)).collect();
        let sent = match self.is_behind() {
            true => 0,
            false => self.lane.send(packets.iter().copied())?,
        };
        let mut forwarded = Forwarded::default();
        for packet in packets.iter().skip(sent) {
            let bytes = self.waiting_bytes + packet.len();
            if self.waiting.len() >= WAITING_MAX || bytes > WAITING_BYTES_MAX {
                forwarded.dropped += 1;
            } else {
                self.waiting.push_back(packet.to_vec());
                self.waiting_bytes = bytes;
            }
        }
        forwarded.taken = packets.len() as u64 - forwarded.dropped;
        Ok(forwarded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::outbox::Payload;

    fn items(count: usize) -> Vec<Item> {
        let to = "127.0.0.1:1".parse().expect("valid");
        let item = |n: usize| Item::new(Payload::reply(vec![n as u8; 200]), to);
        (0..count).map(item).collect()
    }

    #[test]
    fn packets_that_find_the_lane_full_wait_in_order_and_too_many_are_dropped() {
        let (one, other) = Lane::pair().expect("made");
        let mut end = LaneEnd::new(one, 0);
        let arena = Arena::default();
        let items = items(100_000);
        let forwarded = end.forward(items.iter(), &arena).expect("sent");
        assert!(forwarded.dropped > 0 && end.is_behind());
        assert_eq!(end.waiting.len(), WAITING_MAX);
        let mut seen = 0u64;
        let mut buffer = [0; 256];
        while seen < forwarded.taken {
            end.catch_up().expect("sent");
            while let Ok(len) = other.receive(&mut buffer) {
                assert_eq!((len, buffer[0]), (200, seen as u8));
                seen += 1;
            }
        }
        assert_eq!((end.is_behind(), end.waiting_bytes), (false, 0));
    }

    #[test]
    fn records_go_before_packets() {
        let (one, other) = Lane::pair().expect("made");
        let mut end = LaneEnd::new(one, 0);
        end.tell(&Record::Over);
        end.forward(items(1).iter(), &Arena::default())
            .expect("sent");
        let mut buffer = [0; 256];
        let len = other.receive(&mut buffer).expect("records");
        assert!(matches!(
            wire::read(&buffer[..len]),
            Some(wire::Message::Records(_))
        ));
        assert_eq!(other.receive(&mut buffer).expect("a packet"), 200);
    }
}
