//! Whole calls on simulated time: streams built packet by packet, with what they must be measured to be.

mod floods;
mod intervals;
mod streams;

use super::*;
use crate::addr::PeerAddr;
use crate::stun::MAGIC_COOKIE;

const MS: u64 = 1_000_000;
const S: u64 = 1000 * MS;

/// Where the clock of all workers stands when a call begins.
const START_NS: u64 = 1234 * S + 567;

/// SplitMix64; a test prints its seed.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// One allocation's record with its worker's counts.
#[derive(Default)]
struct Relay {
    call: Option<Box<Call>>,
    counts: Counts,
}

fn peer() -> PeerAddr {
    PeerAddr::new("8.8.8.8:5000".parse().expect("a literal address"))
}

impl Relay {
    /// `at_ns` after the start.
    fn pass(&mut self, side: Side, at_ns: u64, bytes: &[u8]) {
        let arrived = Arrived::new(side, peer(), START_NS + at_ns);
        measure(&mut self.call, &mut self.counts, arrived, bytes);
    }

    fn report(&self, at_ns: u64) -> Report {
        let call = self.call.as_ref().expect("something was measured");
        call.report(START_NS + at_ns, true)
    }

    fn trouble(&self, at_ns: u64) -> u8 {
        let call = self.call.as_ref().expect("something was measured");
        call.trouble(START_NS + at_ns)
    }

    fn interval(&self, side: Side, at_ns: u64) -> Interval {
        self.report(at_ns).side(side).interval
    }

    fn streams(&self, at_ns: u64) -> Vec<StreamReport> {
        self.report(at_ns).details.expect("asked for").streams
    }
}

/// A packet of a stream.
#[derive(Clone, Copy)]
struct Media {
    ssrc: u32,
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
    len: usize,
}

impl Media {
    fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![0x80, self.payload_type];
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.timestamp.to_be_bytes());
        bytes.extend(self.ssrc.to_be_bytes());
        bytes.resize(self.len, 0xa5);
        bytes
    }
}

/// The nth packet of an Opus stream: every 20 ms, 100 bytes long.
fn audio(ssrc: u32, n: u64) -> Media {
    Media {
        ssrc,
        payload_type: 111,
        sequence: (65_500 + n) as u16,
        timestamp: (u32::MAX - 5000).wrapping_add(960 * n as u32),
        len: 100,
    }
}

fn check(kind: u16, id: u8) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend([0, 0]);
    bytes.extend(MAGIC_COOKIE.to_be_bytes());
    bytes.extend([id; 12]);
    bytes
}

fn is_near(value: Option<f32>, expected: f32, slack: f32) -> bool {
    value.is_some_and(|value| (value - expected).abs() <= slack)
}
