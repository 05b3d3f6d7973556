//! One RTP stream: one SSRC from one side. Loss, jitter and rates, since its start and since the last interval's end.
//!
//! What each packet touches comes first, so that it is in as few cache lines as can be.

use super::clock::Clock;
use super::packet::Rtp;
use super::report::{Interval, StreamReport, Totals};
use super::sequence::{Arrival, Sequence};
use super::{Side, millis};
use crate::addr::PeerAddr;

/// A difference of transit times above this is a pause or a stopped clock, not jitter.
const TRANSIT_NS_MAX: f64 = 5e9;

/// How far the timestamps of an outage may be from the time that has passed.
const OUTAGE_SLACK_NS: f64 = 500e6;

#[derive(Clone, Debug)]
pub struct Stream {
    sequence: Sequence,
    pub ssrc: u32,
    timestamp: u32,
    /// When the first packet of this timestamp came.
    frame_ns: u64,
    pub last_ns: u64,
    /// 0: the clock rate is not known.
    ns_per_tick: f32,
    /// RFC 3550 §6.4.1.
    jitter_ns: f32,
    /// Of `jitter_ns`, in this interval.
    jitter_sum_ns: f32,
    jitter_samples: u32,
    packets: u64,
    bytes: u64,
    payload_type: u8,
    clock: Clock,
    mark: Mark,
    latest: Option<Latest>,
    peer: PeerAddr,
}

/// Where the numbers stood when the interval began.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    packets: u64,
    bytes: u64,
    expected: u64,
    lost: u64,
}

/// The last whole interval.
#[derive(Clone, Copy, Debug)]
struct Latest {
    loss_ratio: Option<f32>,
    jitter_ms: Option<f32>,
    bits_per_s: f32,
    packets_per_s: f32,
}

/// The jitter samples of an interval.
#[derive(Clone, Copy, Debug, Default)]
pub struct Jitter {
    pub sum_ns: f64,
    pub samples: u64,
}

impl Jitter {
    pub fn mean_ms(self) -> Option<f32> {
        (self.samples > 0).then(|| millis(self.sum_ns / self.samples as f64))
    }
}

impl Stream {
    /// With its first packet, of which only the number and the length are still known; the second one follows at once.
    pub fn new(number: u16, bytes: usize, second: &Rtp, now_ns: u64, peer: PeerAddr) -> Self {
        Self {
            sequence: Sequence::new(number),
            ssrc: second.ssrc,
            timestamp: second.timestamp,
            frame_ns: now_ns,
            last_ns: now_ns,
            ns_per_tick: 0.0,
            jitter_ns: 0.0,
            jitter_sum_ns: 0.0,
            jitter_samples: 0,
            packets: 1,
            bytes: bytes as u64,
            payload_type: second.payload_type,
            clock: Clock::new(now_ns, second.timestamp),
            mark: Mark::default(),
            latest: None,
            peer,
        }
    }

    #[inline]
    pub fn receive(&mut self, rtp: &Rtp, len: usize, now_ns: u64, peer: PeerAddr) {
        self.packets += 1;
        self.bytes += len as u64;
        self.last_ns = now_ns;
        let (ns_per_tick, frame_ns) = (self.ns_per_tick, self.frame_ns);
        let ticks = rtp.timestamp.wrapping_sub(self.timestamp).cast_signed();
        let is_outage = || {
            let transit = transit_ns(ns_per_tick, frame_ns, now_ns, ticks);
            ns_per_tick != 0.0 && transit.abs() < OUTAGE_SLACK_NS
        };
        match self.sequence.receive(rtp.sequence, is_outage) {
            Arrival::Next if ticks > 0 => self.begin_frame(rtp, ticks, now_ns, peer),
            // The same frame, or a clock that never moves.
            Arrival::Next if ticks == 0 => {}
            // Retransmissions on an SSRC of their own go back in time, so no jitter can be told; so does a new clock.
            Arrival::Next | Arrival::Restart => self.forget_clock(rtp, now_ns, peer),
            Arrival::Late | Arrival::Duplicate | Arrival::Stray => {}
        }
    }

    /// Only a frame's first packet has a transit time: its sender spreads the others over time.
    fn begin_frame(&mut self, rtp: &Rtp, ticks: i32, now_ns: u64, peer: PeerAddr) {
        if self.ns_per_tick != 0.0 {
            let transit = transit_ns(self.ns_per_tick, self.frame_ns, now_ns, ticks).abs();
            if transit < TRANSIT_NS_MAX {
                self.jitter_ns += (transit as f32 - self.jitter_ns) / 16.0;
                self.jitter_sum_ns += self.jitter_ns;
                self.jitter_samples += 1;
            }
        }
        self.timestamp = rtp.timestamp;
        self.frame_ns = now_ns;
        if self.clock.advance(now_ns, rtp.timestamp) {
            self.look_up(rtp, peer);
        }
    }

    /// Now and then: what need not be true at each packet.
    fn look_up(&mut self, rtp: &Rtp, peer: PeerAddr) {
        self.peer = peer;
        self.payload_type = rtp.payload_type;
        let ns_per_tick = self
            .clock
            .hz()
            .map_or(0.0, |hz| (1e9 / f64::from(hz)) as f32);
        if ns_per_tick != self.ns_per_tick {
            self.ns_per_tick = ns_per_tick;
            self.jitter_ns = 0.0;
        }
    }

    fn forget_clock(&mut self, rtp: &Rtp, now_ns: u64, peer: PeerAddr) {
        self.clock = Clock::new(now_ns, rtp.timestamp);
        self.timestamp = rtp.timestamp;
        self.frame_ns = now_ns;
        self.look_up(rtp, peer);
    }

    pub fn totals(&self) -> Totals {
        Totals {
            expected: self.sequence.expected,
            lost: self.sequence.lost(),
            reordered: u64::from(self.sequence.reordered),
            duplicates: u64::from(self.sequence.duplicates),
            restarts: u64::from(self.sequence.restarts),
        }
    }

    /// Of this interval.
    pub fn jitter(&self) -> Jitter {
        Jitter {
            sum_ns: f64::from(self.jitter_sum_ns),
            samples: u64::from(self.jitter_samples),
        }
    }

    fn so_far(&self, seconds: f32) -> Latest {
        let expected = self.sequence.expected - self.mark.expected;
        let lost = self.sequence.lost().saturating_sub(self.mark.lost);
        Latest {
            loss_ratio: loss_ratio(expected, lost),
            jitter_ms: self.jitter().mean_ms(),
            bits_per_s: (self.bytes - self.mark.bytes) as f32 * 8.0 / seconds,
            packets_per_s: (self.packets - self.mark.packets) as f32 / seconds,
        }
    }

    /// Ends the interval.
    pub fn close(&mut self, seconds: f32) {
        self.latest = Some(self.so_far(seconds));
        self.mark = Mark {
            packets: self.packets,
            bytes: self.bytes,
            expected: self.sequence.expected,
            lost: self.sequence.lost(),
        };
        self.jitter_sum_ns = 0.0;
        self.jitter_samples = 0;
    }

    /// `seconds`: how long the interval under way has lasted, for a stream that has not seen a whole one.
    pub fn report(&self, from: Side, now_ns: u64, seconds: f32) -> StreamReport {
        let latest = self.latest.unwrap_or_else(|| self.so_far(seconds));
        StreamReport {
            from,
            peer: self.peer,
            ssrc: self.ssrc,
            payload_type: self.payload_type,
            clock_rate_hz: self.clock.hz(),
            packets: self.packets,
            bytes: self.bytes,
            totals: self.totals(),
            interval: Interval {
                loss_ratio: latest.loss_ratio,
                jitter_ms: latest.jitter_ms,
                bits_per_s: Some(latest.bits_per_s),
                packets_per_s: Some(latest.packets_per_s),
                ..Interval::default()
            },
            idle_s: now_ns.saturating_sub(self.last_ns) as f64 / 1e9,
        }
    }
}

/// How much later than the frame before a frame has come, compared with its timestamp.
fn transit_ns(ns_per_tick: f32, before_ns: u64, now_ns: u64, ticks: i32) -> f64 {
    let elapsed_ns = now_ns.saturating_sub(before_ns) as f64;
    elapsed_ns - f64::from(ticks) * f64::from(ns_per_tick)
}

/// A late packet of the interval before may make up for more than is missing in this one.
pub fn loss_ratio(expected: u64, lost: u64) -> Option<f32> {
    (expected > 0).then(|| (lost as f32 / expected as f32).min(1.0))
}
