//! Packets from a client of one worker to a client of another: copied once, handed over by the batch.
//!
//! There is a lane for each ordered pair of workers. A sender fills a batch of its own during a round and puts it into
//! the lane with its flush; the receiver takes the whole lane when it is woken. So the lock is taken once a round, and
//! by two threads only. A lane that its receiver does not empty is bounded: what comes then is dropped and counted.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What may wait in one lane, in bytes, headers included: 10 ms at 800 Mbit/s.
const LANE_BYTES_MAX: usize = 1 << 20;

/// Memory that an empty batch keeps for the next packets, in bytes; there is a lane for each pair of workers.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// One packet from `from`, the sender's relayed address, to `to`, the receiver's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    from: SocketAddr,
    to: SocketAddr,
    len: usize,
}

const HEADER_LEN: usize = size_of::<Header>();

/// Packets, one behind the other.
#[derive(Debug, Default)]
pub struct Batch {
    headers: Vec<Header>,
    bytes: Vec<u8>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }

    pub fn push(&mut self, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        let len = payload.len();
        self.headers.push(Header { from, to, len });
        self.bytes.extend_from_slice(payload);
    }

    /// (from, to, payload) in the order of arrival.
    pub fn packets(&self) -> impl Iterator<Item = (SocketAddr, SocketAddr, &[u8])> {
        let mut at = 0;
        self.headers.iter().map(move |header| {
            let payload = self.bytes.get(at..at + header.len).unwrap_or_default();
            at += header.len;
            (header.from, header.to, payload)
        })
    }

    pub fn clear(&mut self) {
        self.headers.clear();
        self.bytes.clear();
        if self.bytes.capacity() + self.headers.capacity() * HEADER_LEN > KEPT_BYTES_MAX {
            *self = Self::default();
        }
    }

    /// Payload and headers: packets may be empty, and are not free then either.
    fn len(&self) -> usize {
        self.bytes.len() + self.headers.len() * HEADER_LEN
    }

    fn append(&mut self, other: &mut Self) {
        self.headers.append(&mut other.headers);
        self.bytes.append(&mut other.bytes);
    }
}

/// The lanes of all workers.
pub struct Crossings {
    workers: usize,
    /// By receiver, then by sender.
    lanes: Vec<Mutex<Batch>>,
}

impl Crossings {
    pub fn new(workers: usize) -> Self {
        let lanes = (0..workers * workers).map(|_| Mutex::default()).collect();
        Self { workers, lanes }
    }

    fn lane(&self, from: usize, to: usize) -> MutexGuard<'_, Batch> {
        let lane = &self.lanes[to * self.workers + from];
        lane.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crossed {
    /// The receiver is to be woken.
    First,
    /// Behind others, of which the receiver knows.
    Behind,
    /// The lane was full: so many packets are lost.
    Dropped(usize),
}

/// One worker's end of all its lanes.
pub struct Crossing {
    worker: usize,
    shared: Arc<Crossings>,
    /// What this round sends, by receiver.
    outgoing: Vec<Batch>,
    spare: Batch,
}

impl Crossing {
    pub fn new(worker: usize, shared: Arc<Crossings>) -> Self {
        let outgoing = (0..shared.workers).map(|_| Batch::default()).collect();
        Self {
            worker,
            shared,
            outgoing,
            spare: Batch::default(),
        }
    }

    pub fn push(&mut self, to_worker: usize, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        if let Some(batch) = self.outgoing.get_mut(to_worker) {
            batch.push(from, to, payload);
        }
    }

    /// Hands over what this round has for others; tells what became of each worker's share.
    pub fn flush(&mut self, mut tell: impl FnMut(usize, Crossed)) {
        for (to, batch) in self.outgoing.iter_mut().enumerate() {
            if batch.is_empty() {
                continue;
            }
            let mut lane = self.shared.lane(self.worker, to);
            let crossed = if lane.is_empty() {
                std::mem::swap(&mut *lane, batch);
                Crossed::First
            } else if lane.len() + batch.len() > LANE_BYTES_MAX {
                Crossed::Dropped(batch.headers.len())
            } else {
                lane.append(batch);
                Crossed::Behind
            };
            drop(lane);
            batch.clear();
            tell(to, crossed);
        }
    }

    /// Senders, to ask for their packets one after the other.
    pub fn senders(&self) -> usize {
        self.shared.workers
    }

    /// What `from` has for this worker. Give the batch back by `put_back`, so that its memory is used again.
    pub fn take(&mut self, from: usize) -> Batch {
        let mut batch = std::mem::take(&mut self.spare);
        std::mem::swap(&mut *self.shared.lane(from, self.worker), &mut batch);
        batch
    }

    pub fn put_back(&mut self, mut batch: Batch) {
        batch.clear();
        self.spare = batch;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_cross_in_order_and_only_the_first_batch_wakes() {
        let (mut sender, mut receiver) = pair();
        let mut told = Vec::new();
        for round in 0..3u8 {
            for n in 0..4u8 {
                sender.push(1, addr(1), addr(2), &[round * 4 + n; 3]);
            }
            sender.flush(|to, crossed| told.push((to, crossed)));
        }
        assert_eq!(
            told,
            [
                (1, Crossed::First),
                (1, Crossed::Behind),
                (1, Crossed::Behind)
            ]
        );
        let batch = receiver.take(0);
        let got: Vec<u8> = batch.packets().map(|(_, _, payload)| payload[0]).collect();
        assert_eq!(got, (0..12).collect::<Vec<u8>>());
        assert!(
            batch.packets().all(|(from, to, payload)| {
                from == addr(1) && to == addr(2) && payload.len() == 3
            })
        );
        receiver.put_back(batch);
        assert!(receiver.take(0).is_empty());
    }

    #[test]
    fn a_lane_that_nobody_empties_is_bounded_and_says_what_is_lost() {
        let (mut sender, mut receiver) = pair();
        // Empty packets take room, too.
        for payload in [&[7; 1000][..], &[]] {
            let each = payload.len() + HEADER_LEN;
            let sent = 3 * LANE_BYTES_MAX / each;
            let (mut kept, mut lost) = (0, 0);
            for _ in 0..sent {
                sender.push(1, addr(1), addr(2), payload);
                sender.flush(|_, crossed| match crossed {
                    Crossed::First | Crossed::Behind => kept += 1,
                    Crossed::Dropped(packets) => lost += packets,
                });
            }
            assert_eq!(kept, LANE_BYTES_MAX / each);
            assert_eq!(kept + lost, sent);
            let batch = receiver.take(0);
            assert_eq!(batch.packets().count(), kept);
            receiver.put_back(batch);
            assert!(
                receiver.spare.bytes.capacity() <= KEPT_BYTES_MAX,
                "a crowd is not kept for"
            );
        }
    }

    fn pair() -> (Crossing, Crossing) {
        let shared = Arc::new(Crossings::new(2));
        let end = |worker| Crossing::new(worker, Arc::clone(&shared));
        (end(0), end(1))
    }

    fn addr(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 50_000))
    }
}
