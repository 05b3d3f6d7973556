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

/// Records that may wait beside those of the allocations that there were at the beginning, in bytes: beyond, the other
/// worker is stuck, and the lane is lost.
const RECORDS_BYTES_MAX: usize = 4 << 20;

pub struct LaneEnd {
    pub lane: Lane,
    /// The former process's worker at one end of it.
    pub worker: usize,
    /// Packets of this round.
    pub chain: Chain,
    records: Vec<Vec<u8>>,
    records_bytes: usize,
    records_bytes_max: usize,
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
            records_bytes: 0,
            records_bytes_max: RECORDS_BYTES_MAX,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            watched: false,
        }
    }

    pub fn tell(&mut self, record: &Record) {
        self.records_bytes += wire::put(&mut self.records, record);
    }

    /// Tells what there is already: as much as the allocations are, and outside the bound.
    pub fn tell_first(&mut self, record: &Record) {
        let before = self.records_bytes;
        self.tell(record);
        self.records_bytes_max += self.records_bytes - before;
    }

    /// More records wait than the other worker, were it alive, would let wait.
    pub fn is_overfull(&self) -> bool {
        self.records_bytes > self.records_bytes_max
    }

    /// Something waits for the lane to have room.
    pub fn is_behind(&self) -> bool {
        !self.records.is_empty() || !self.waiting.is_empty()
    }

    /// Sends what waits: records first, which packets may depend on.
    pub fn catch_up(&mut self) -> io::Result<()> {
        if !self.records.is_empty() {
            let sent = self.lane.send(self.records.iter().map(Vec::as_slice))?;
            let gone: usize = self.records.drain(..sent).map(|record| record.len()).sum();
            self.records_bytes -= gone;
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
    fn records_that_nobody_reads_are_bounded_and_those_of_the_beginning_are_not() {
        let (one, _other) = Lane::pair().expect("made");
        let mut end = LaneEnd::new(one, 0);
        let record = Record::Ended { id: 7 };
        while end.records_bytes <= 2 * RECORDS_BYTES_MAX {
            end.tell_first(&record);
        }
        assert!(!end.is_overfull());
        let first = end.records_bytes;
        while !end.is_overfull() {
            end.tell(&record);
        }
        assert!(end.records_bytes > first + RECORDS_BYTES_MAX);
        assert!(end.records_bytes < first + RECORDS_BYTES_MAX + 100);
    }

    #[test]
    fn the_bytes_that_wait_are_those_of_the_records() {
        let (one, other) = Lane::pair().expect("made");
        let mut end = LaneEnd::new(one, 0);
        for id in 0..100_000 {
            end.tell(&Record::Ended { id });
        }
        let mut buffer = vec![0; 64 << 10];
        while end.is_behind() {
            end.catch_up().expect("sent");
            while other.receive(&mut buffer).is_ok() {}
            let waiting: usize = end.records.iter().map(Vec::len).sum();
            assert_eq!(end.records_bytes, waiting);
        }
        assert_eq!(end.records_bytes, 0);
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
