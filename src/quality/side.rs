//! One side of a call: its streams, what they add up to, and its round trips.
//!
//! An SSRC becomes a stream with its second packet, so that a flood of made-up ones finds no room; at most [`STREAMS_MAX`],
//! of which the longest idle one makes room for the next. What it had counted stays in the side's sums. A live stream makes
//! room for none: what comes beyond that is counted by kind, and measured no further.

use super::packet::Rtp;
use super::report::{Interval, RoundTripFrom, SideReport, SideSummary, StreamReport, Totals};
use super::stream::{Jitter, Stream, loss_ratio};
use super::{Kind, Side, SideCounts, millis};
use crate::addr::PeerAddr;

pub const STREAMS_MAX: usize = 16;

/// A stream that was heard within this time is live. If live ones made room, 17 of them would displace each other in turn, and
/// none would be measured.
const IDLE_NS: u64 = 1_000_000_000;

/// SSRCs that have sent one packet.
const CANDIDATES: usize = 6;

/// So long a candidate's second packet is waited for though others want its place: so in a flood a real stream, whose packets
/// follow each other, gets its turn.
const CANDIDATE_MS: u32 = 100;

/// A second packet may be this far from the first one: others are lost or overtaken.
const SECOND_MAX: u16 = 64;

/// An answer that takes longer is none.
const ROUND_TRIP_NS_MAX: u64 = 10_000_000_000;

#[derive(Clone, Copy, Debug)]
struct Candidate {
    ssrc: u32,
    sequence: u16,
    len: u16,
    at_ms: u32,
}

#[derive(Clone, Debug, Default)]
pub struct SideRecord {
    streams: Vec<Stream>,
    /// The stream of the last packet.
    last: u32,
    rtp_bytes: u64,
    packets: [u64; Kind::ALL.len()],
    candidates: [Option<Candidate>; CANDIDATES],
    forgotten: u32,
    /// Of streams that are forgotten.
    gone: Totals,
    mark: Mark,
    stun: RoundTrips,
    rtcp: RoundTrips,
    latest: Interval,
    whole: Whole,
}

/// Where the numbers stood when the interval began.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    packets: u64,
    bytes: u64,
    expected: u64,
    lost: u64,
}

/// Made-up RTCP may tell any number of them: the sums stop at their ends.
#[derive(Clone, Copy, Debug, Default)]
struct RoundTrips {
    sum_ns: u64,
    count: u32,
}

impl RoundTrips {
    fn add(&mut self, ns: u64) {
        self.sum_ns = self.sum_ns.saturating_add(ns);
        self.count = self.count.saturating_add(1);
    }

    fn add_all(&mut self, other: Self) {
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        self.count = self.count.saturating_add(other.count);
    }

    fn mean_ms(self) -> Option<f32> {
        (self.count > 0).then(|| millis(self.sum_ns as f64 / f64::from(self.count)))
    }
}

/// What the closed intervals have measured.
#[derive(Clone, Copy, Debug, Default)]
struct Whole {
    jitter: Jitter,
    round_trips: RoundTrips,
}

impl Whole {
    fn add(&mut self, jitter: Jitter, stun: RoundTrips, rtcp: RoundTrips) {
        self.jitter.sum_ns += jitter.sum_ns;
        self.jitter.samples += jitter.samples;
        let round_trips = if stun.count > 0 { stun } else { rtcp };
        self.round_trips.add_all(round_trips);
    }
}

impl SideRecord {
    #[inline]
    pub fn count(&mut self, kind: Kind) {
        self.packets[kind.index()] += 1;
    }

    #[inline]
    pub fn receive(&mut self, rtp: &Rtp, len: usize, now_ns: u64, peer: PeerAddr) {
        self.rtp_bytes += len as u64;
        let last = self.streams.get_mut(self.last as usize);
        if let Some(stream) = last.filter(|stream| stream.ssrc == rtp.ssrc) {
            stream.receive(rtp, len, now_ns, peer);
            return;
        }
        self.receive_of_another(rtp, len, now_ns, peer);
    }

    fn receive_of_another(&mut self, rtp: &Rtp, len: usize, now_ns: u64, peer: PeerAddr) {
        let mut all = self.streams.iter().map(|stream| stream.ssrc);
        let known = all.position(|ssrc| ssrc == rtp.ssrc);
        let Some(at) = known.or_else(|| self.admit(rtp, len, now_ns, peer)) else {
            return;
        };
        self.last = at as u32;
        if let Some(stream) = self.streams.get_mut(at) {
            stream.receive(rtp, len, now_ns, peer);
        }
    }

    /// Makes a stream of an SSRC that has sent a packet before.
    #[cold]
    fn admit(&mut self, rtp: &Rtp, len: usize, now_ns: u64, peer: PeerAddr) -> Option<usize> {
        let of_it = |slot: &&mut Option<Candidate>| slot.is_some_and(|it| it.ssrc == rtp.ssrc);
        let first = self.candidates.iter_mut().find(of_it);
        let is_near = |first: &Candidate| {
            let apart = rtp.sequence.wrapping_sub(first.sequence);
            apart != 0 && apart.wrapping_add(SECOND_MAX) <= 2 * SECOND_MAX
        };
        let this = Candidate {
            ssrc: rtp.ssrc,
            sequence: rtp.sequence,
            len: u16::try_from(len).unwrap_or(u16::MAX),
            // Only differences count.
            at_ms: (now_ns / 1_000_000) as u32,
        };
        let Some(slot) = first else {
            self.nominate(this);
            return None;
        };
        let Some(first) = slot.take().filter(is_near) else {
            *slot = Some(this);
            return None;
        };
        let len = usize::from(first.len);
        self.make_room(Stream::new(first.sequence, len, rtp, now_ns, peer), now_ns)
    }

    fn nominate(&mut self, candidate: Candidate) {
        let age = |slot: &&mut Option<Candidate>| {
            slot.map_or(u32::MAX, |it| candidate.at_ms.wrapping_sub(it.at_ms))
        };
        let oldest = self.candidates.iter_mut().max_by_key(age);
        if let Some(slot) = oldest.filter(|slot| age(slot) > CANDIDATE_MS) {
            *slot = Some(candidate);
        }
    }

    /// `None` where all are live.
    fn make_room(&mut self, stream: Stream, now_ns: u64) -> Option<usize> {
        if self.streams.len() < STREAMS_MAX {
            self.streams.reserve_exact(1);
            self.streams.push(stream);
            return Some(self.streams.len() - 1);
        }
        let all = self.streams.iter_mut().enumerate();
        let (at, idle) = all.min_by_key(|(_, stream)| stream.last_ns)?;
        if now_ns.saturating_sub(idle.last_ns) < IDLE_NS {
            return None;
        }
        self.gone.add(idle.totals());
        self.forgotten = self.forgotten.saturating_add(1);
        *idle = stream;
        Some(at)
    }

    pub fn add_round_trip(&mut self, from: RoundTripFrom, ns: u64) {
        if ns > ROUND_TRIP_NS_MAX {
            return;
        }
        match from {
            RoundTripFrom::Stun => self.stun.add(ns),
            RoundTripFrom::Rtcp => self.rtcp.add(ns),
        }
    }

    pub fn totals(&self) -> Totals {
        let mut totals = self.gone;
        let all = self.streams.iter().map(Stream::totals);
        all.for_each(|stream| totals.add(stream));
        totals
    }

    fn jitter(&self) -> Jitter {
        let mut all = Jitter::default();
        for jitter in self.streams.iter().map(Stream::jitter) {
            all.sum_ns += jitter.sum_ns;
            all.samples += jitter.samples;
        }
        all
    }

    /// The interval under way, as if it ended after `seconds`.
    pub fn so_far(&self, seconds: f32) -> Interval {
        let totals = self.totals();
        let stun = self.stun.mean_ms().map(|ms| (ms, RoundTripFrom::Stun));
        let rtcp = self.rtcp.mean_ms().map(|ms| (ms, RoundTripFrom::Rtcp));
        let round_trip = stun.or(rtcp);
        let packets = self.packets[Kind::Rtp.index()] - self.mark.packets;
        let expected = totals.expected.saturating_sub(self.mark.expected);
        let lost = totals.lost.saturating_sub(self.mark.lost);
        Interval {
            loss_ratio: loss_ratio(expected, lost),
            expected: u32::try_from(expected).unwrap_or(u32::MAX),
            jitter_ms: self.jitter().mean_ms(),
            round_trip_ms: round_trip.map(|(ms, _)| ms),
            round_trip_from: round_trip.map(|(_, from)| from),
            bits_per_s: Some((self.rtp_bytes - self.mark.bytes) as f32 * 8.0 / seconds),
            packets_per_s: Some(packets as f32 / seconds),
        }
    }

    /// Ends the interval and tells what it was.
    pub fn close(&mut self, seconds: f32) -> Interval {
        self.latest = self.so_far(seconds);
        self.whole.add(self.jitter(), self.stun, self.rtcp);
        let totals = self.totals();
        self.mark = Mark {
            packets: self.packets[Kind::Rtp.index()],
            bytes: self.rtp_bytes,
            expected: totals.expected,
            lost: totals.lost,
        };
        (self.stun, self.rtcp) = (RoundTrips::default(), RoundTrips::default());
        let streams = self.streams.iter_mut();
        streams.for_each(|stream| stream.close(seconds));
        self.latest
    }

    /// Counts an interval for the metrics.
    pub fn observe(interval: &Interval, counts: &mut SideCounts) {
        let pairs = [
            (&mut counts.loss_ratio, interval.weighty_loss()),
            (&mut counts.jitter, interval.jitter_ms.map(|ms| ms / 1e3)),
            (
                &mut counts.round_trip,
                interval.round_trip_ms.map(|ms| ms / 1e3),
            ),
        ];
        for (histogram, value) in pairs {
            value.into_iter().for_each(|value| histogram.observe(value));
        }
    }

    /// Ends further intervals after a silent one.
    pub fn stay_silent(&mut self) {
        self.latest = Interval::SILENT;
    }

    /// The last interval that was closed.
    pub fn latest(&self) -> Interval {
        self.latest
    }

    pub fn report(&self, interval: Interval) -> SideReport {
        SideReport {
            packets: self.packets,
            interval,
            totals: self.totals(),
        }
    }

    pub fn streams(
        &self,
        side: Side,
        now_ns: u64,
        seconds: f32,
    ) -> impl Iterator<Item = StreamReport> {
        let streams = self.streams.iter();
        streams.map(move |stream| stream.report(side, now_ns, seconds))
    }

    pub fn forgotten(&self) -> u64 {
        u64::from(self.forgotten)
    }

    /// The whole call, the interval under way included.
    pub fn summary(&self) -> SideSummary {
        let totals = self.totals();
        let mut whole = self.whole;
        whole.add(self.jitter(), self.stun, self.rtcp);
        SideSummary {
            loss_millionths: (totals.expected > 0)
                .then(|| (totals.lost as f64 * 1e6 / totals.expected as f64).round() as u32),
            jitter_us: whole.jitter.mean_ms().map(micros),
            round_trip_us: whole.round_trips.mean_ms().map(micros),
        }
    }
}

fn micros(ms: f32) -> u32 {
    (ms * 1e3).round() as u32
}

#[cfg(test)]
impl SideRecord {
    pub fn heap_bytes(&self) -> usize {
        self.streams.capacity() * size_of::<Stream>()
    }
}
