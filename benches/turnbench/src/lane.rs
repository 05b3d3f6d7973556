//! One direction of all allocations: what was sent, what came back, and whether it came back right.
//!
//! Every packet is known by allocation and sequence number, and each is booked at most once: a second arrival is a
//! duplicate. Nothing that is not exactly what was sent, or came the wrong way, counts as relayed.

use crate::hist::Hist;
use crate::payload::Payload;
use serde_json::{json, Value};

/// tag, allocation, sequence, timestamp, direction, check; behind what the payload's kind puts first.
pub const HEADER: usize = 28;
const TAG: u32 = 0x5442_6E31;
/// After this long without an arrival the packets under way are given up, in the closed loop.
const STALL_NS: u64 = 20_000_000;

/// Packets that were not relayed as they should be, of the whole run, warm-up included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Altered, of the wrong length, or never sent.
    pub corrupt: u64,
    /// Right, but from the wrong relayed address, to the wrong client or on the wrong channel.
    pub misrouted: u64,
    pub duplicated: u64,
}

pub struct Lane {
    direction: u8,
    payload: Payload,
    /// Consecutive packets of one allocation.
    burst: u64,
    burst_left: u64,
    next: Vec<u64>,
    /// One past the highest sequence number seen.
    seen: Vec<u64>,
    /// One bit for each sequence number that arrived.
    arrived: Vec<Vec<u64>>,
    sent: u64,
    /// Packets that arrived or were overtaken, hence no longer in flight.
    pub settled: u64,
    cursor: usize,
    window: f64,
    lost_in_epoch: u64,
    last_progress: u64,
    // What was sent inside the measured interval:
    pub m_sent: u64,
    pub m_recv: u64,
    pub m_bytes: u64,
    reordered: u64,
    pub faults: Faults,
    latency: Hist,
}

/// The measured interval, in nanoseconds.
#[derive(Clone, Copy)]
pub struct Span {
    pub begin: u64,
    pub end: u64,
}

impl Span {
    pub fn holds(self, at: u64) -> bool {
        at >= self.begin && at < self.end
    }
}

/// What a packet says of itself.
struct Stamp {
    allocation: usize,
    sequence: u64,
    sent_at: u64,
}

impl Lane {
    pub fn new(
        allocations: usize,
        direction: u8,
        payload: Payload,
        burst: u64,
        start: u64,
    ) -> Self {
        Lane {
            direction,
            payload,
            burst: burst.max(1),
            burst_left: burst.max(1),
            next: vec![0; allocations],
            seen: vec![0; allocations],
            arrived: vec![Vec::new(); allocations],
            sent: 0,
            settled: 0,
            cursor: 0,
            window: 32.0,
            lost_in_epoch: 0,
            last_progress: start,
            m_sent: 0,
            m_recv: 0,
            m_bytes: 0,
            reordered: 0,
            faults: Faults::default(),
            latency: Hist::default(),
        }
    }

    pub fn sent(&self) -> u64 {
        self.sent
    }

    pub fn window(&self) -> u64 {
        self.window as u64
    }

    /// How many more packets fit into the closed loop's window.
    pub fn room(&self) -> u64 {
        self.window()
            .saturating_sub(self.sent.saturating_sub(self.settled))
    }

    /// Allocation and sequence number of the next packet.
    #[inline]
    pub fn take(&mut self, measured: bool) -> (usize, u64) {
        let i = self.cursor;
        self.burst_left -= 1;
        if self.burst_left == 0 {
            self.burst_left = self.burst;
            self.cursor += 1;
            if self.cursor == self.next.len() {
                self.cursor = 0;
            }
        }
        (i, self.take_of(i, measured))
    }

    /// The sequence number of the next packet of this allocation.
    #[inline]
    pub fn take_of(&mut self, i: usize, measured: bool) -> u64 {
        let seq = self.next[i];
        self.next[i] += 1;
        self.sent += 1;
        self.m_sent += measured as u64;
        seq
    }

    /// Writes the headers of a packet.
    #[inline]
    pub fn stamp(&self, p: &mut [u8], allocation: usize, sequence: u64, now: u64) {
        let (head, p) = p.split_at_mut(self.payload.head());
        self.payload
            .write(head, self.direction, allocation, sequence, now);
        p[..4].copy_from_slice(&TAG.to_be_bytes());
        p[4..8].copy_from_slice(&(allocation as u32).to_be_bytes());
        p[8..16].copy_from_slice(&sequence.to_be_bytes());
        p[16..24].copy_from_slice(&now.to_be_bytes());
        p[24] = self.direction;
        p[25..28].copy_from_slice(&check(allocation as u64, sequence, now));
    }

    /// Books an arrival; returns the allocation when the packet is sound, came the right way, and is the first of its number.
    #[inline]
    pub fn arrived(
        &mut self,
        p: &[u8],
        fill: &[u8],
        now: u64,
        span: Span,
        right_way: impl FnOnce(usize) -> bool,
    ) -> Option<usize> {
        let Some(stamp) = self.read(p, fill) else {
            self.faults.corrupt += 1;
            return None;
        };
        let (i, seq) = (stamp.allocation, stamp.sequence);
        if !right_way(i) {
            self.faults.misrouted += 1;
            return None;
        }
        if !self.is_first(i, seq) {
            self.faults.duplicated += 1;
            return None;
        }
        if seq >= self.seen[i] {
            let gap = seq - self.seen[i];
            self.lost_in_epoch += gap;
            self.settled += gap + 1;
            self.seen[i] = seq + 1;
        } else {
            self.reordered += 1;
        }
        self.last_progress = now;
        if span.holds(stamp.sent_at) {
            self.m_recv += 1;
            self.m_bytes += p.len() as u64;
            self.latency.add(now.saturating_sub(stamp.sent_at));
        }
        Some(i)
    }

    #[inline]
    fn read(&self, p: &[u8], fill: &[u8]) -> Option<Stamp> {
        if p.len() != fill.len() {
            return None;
        }
        let at = self.payload.head();
        let (head, p) = p.split_at(at);
        if p[..4] != TAG.to_be_bytes() || p[24] != self.direction {
            return None;
        }
        let word = |at: usize| u64::from_be_bytes(p[at..at + 8].try_into().expect("eight bytes"));
        let allocation = u32::from_be_bytes([p[4], p[5], p[6], p[7]]) as usize;
        let (sequence, sent_at) = (word(8), word(16));
        let sound = self
            .next
            .get(allocation)
            .is_some_and(|next| sequence < *next)
            && p[25..28] == check(allocation as u64, sequence, sent_at)
            && self
                .payload
                .is_sound(head, self.direction, allocation, sequence, sent_at)
            && p[HEADER..] == fill[at + HEADER..];
        sound.then_some(Stamp {
            allocation,
            sequence,
            sent_at,
        })
    }

    /// The time at which a packet says that it was sent; one that has `arrived`.
    #[inline]
    pub fn sent_at(&self, p: &[u8]) -> u64 {
        let at = self.payload.head() + 16;
        u64::from_be_bytes(p[at..at + 8].try_into().expect("eight bytes"))
    }

    /// True once for each sequence number.
    #[inline]
    fn is_first(&mut self, allocation: usize, sequence: u64) -> bool {
        let bits = &mut self.arrived[allocation];
        let (word, bit) = ((sequence / 64) as usize, 1u64 << (sequence % 64));
        if word >= bits.len() {
            bits.resize(word + 1, 0);
        }
        let first = bits[word] & bit == 0;
        bits[word] |= bit;
        first
    }

    /// Closed-loop control, once per epoch: grow without loss, shrink with it.
    pub fn adjust(&mut self, now: u64, max: u64) {
        let waiting = self.sent > self.settled;
        if waiting && now.saturating_sub(self.last_progress) > STALL_NS {
            self.settled = self.sent;
            self.last_progress = now;
            self.window = (self.window / 2.0).max(8.0);
        } else if self.lost_in_epoch > 0 {
            self.window = (self.window * 0.8).max(8.0);
        } else {
            self.window = (self.window + 4.0).min(max as f64);
        }
        self.lost_in_epoch = 0;
    }

    /// Of what was sent inside the measured interval.
    pub fn lost(&self) -> u64 {
        self.m_sent.saturating_sub(self.m_recv)
    }

    pub fn json(&self, seconds: f64) -> Value {
        json!({
            "sent": self.m_sent, "relayed": self.m_recv, "lost": self.lost(),
            "loss_pct": (self.lost() as f64 * 1e5 / self.m_sent.max(1) as f64).round() / 1e3,
            "pps": (self.m_recv as f64 / seconds).round(),
            "mbit_s": (self.m_bytes as f64 * 8e-5 / seconds).round() / 10.0,
            "latency_us": self.latency.micros(),
            "reordered": self.reordered, "corrupt": self.faults.corrupt,
            "misrouted": self.faults.misrouted, "duplicated": self.faults.duplicated,
        })
    }
}

/// Three bytes that no header altered by chance has.
#[inline]
fn check(allocation: u64, sequence: u64, now: u64) -> [u8; 3] {
    let mixed = (allocation ^ sequence.rotate_left(20) ^ now.rotate_left(41))
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    [
        (mixed >> 56) as u8,
        (mixed >> 48) as u8,
        (mixed >> 40) as u8,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Span = Span {
        begin: 0,
        end: u64::MAX,
    };

    fn packet(lane: &mut Lane, fill: &[u8]) -> Vec<u8> {
        let (i, seq) = lane.take(true);
        let mut p = fill.to_vec();
        lane.stamp(&mut p, i, seq, 5);
        p
    }

    #[test]
    fn every_altered_bit_is_corrupt() {
        for payload in [Payload::Plain, Payload::Rtp] {
            every_altered_bit_of(payload);
        }
    }

    fn every_altered_bit_of(payload: Payload) {
        let fill = vec![9u8; 52];
        let mut lane = Lane::new(2, 0, payload, 1, 0);
        let sound = packet(&mut lane, &fill);
        for bit in 0..sound.len() * 8 {
            let mut p = sound.clone();
            p[bit / 8] ^= 1 << (bit % 8);
            let got = lane.arrived(&p, &fill, 9, ALL, |_| true);
            assert_eq!(got, None, "{payload:?}: bit {bit}");
        }
        assert_eq!(lane.faults.corrupt, sound.len() as u64 * 8);
        assert_eq!(lane.arrived(&sound, &fill, 9, ALL, |_| true), Some(0));
        assert_eq!(lane.lost(), 0);
    }

    #[test]
    fn a_packet_counts_once_however_late_its_copy_comes() {
        let fill = vec![9u8; 40];
        let mut lane = Lane::new(1, 0, Payload::Plain, 1, 0);
        let packets: Vec<_> = (0..1000).map(|_| packet(&mut lane, &fill)).collect();
        for p in packets.iter().rev().chain(&packets) {
            lane.arrived(p, &fill, 9, ALL, |_| true);
        }
        assert_eq!((lane.m_recv, lane.faults.duplicated), (1000, 1000));
        assert_eq!(lane.lost(), 0);
    }

    #[test]
    fn what_came_the_wrong_way_is_no_arrival() {
        let fill = vec![9u8; 40];
        let mut lane = Lane::new(1, 0, Payload::Plain, 1, 0);
        let p = packet(&mut lane, &fill);
        assert_eq!(lane.arrived(&p, &fill, 9, ALL, |_| false), None);
        assert_eq!((lane.faults.misrouted, lane.lost()), (1, 1));
    }

    #[test]
    fn a_burst_stays_with_its_allocation() {
        let mut lane = Lane::new(2, 0, Payload::Plain, 3, 0);
        let order: Vec<_> = (0..8).map(|_| lane.take(true).0).collect();
        assert_eq!(order, [0, 0, 0, 1, 1, 1, 0, 0]);
    }
}
