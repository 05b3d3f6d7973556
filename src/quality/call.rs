//! The record of one call. Intervals of 10 s end when the next packet comes, or in what is shown: there is no timer.

use super::checks::Checks;
use super::counts::Counts;
use super::history::History;
use super::packet::{Check, Seen};
use super::report::{Details, Interval, Report, RoundTripFrom, Summary};
use super::rtcp::Reports;
use super::side::SideRecord;
use super::trouble::trouble;
use super::{INTERVAL_NS, Side};
use crate::addr::PeerAddr;

/// Until then an interval's rates are more chance than measure.
const FIRST_LOOK_NS: u64 = 1_000_000_000;

const INTERVAL_S: f32 = INTERVAL_NS as f32 / 1e9;

/// An interval whose end is noticed later than this is not observed: the metrics tell how it is now.
const LATE_NS: u64 = 6 * INTERVAL_NS;

/// Where a packet comes from, and when.
#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    side: Side,
    /// Who it is from or for.
    peer: PeerAddr,
    now_ns: u64,
}

impl Arrived {
    pub fn new(side: Side, peer: PeerAddr, now_ns: u64) -> Self {
        Self { side, peer, now_ns }
    }
}

/// Looks at one packet. The record is made with the first packet that can be measured.
#[inline]
pub fn measure(
    call: &mut Option<Box<Call>>,
    counts: &mut Counts,
    arrived: Arrived,
    payload: &[u8],
) {
    let seen = Seen::of(payload);
    counts.side_mut(arrived.side).count(seen.kind());
    let Some(call) = call else {
        if seen != Seen::Other {
            let mut begun = Box::new(Call::new(arrived.now_ns));
            begun.see(counts, arrived, seen, payload);
            *call = Some(begun);
        }
        return;
    };
    call.see(counts, arrived, seen, payload);
}

#[derive(Clone, Debug)]
pub struct Call {
    interval_end_ns: u64,
    sides: [SideRecord; 2],
    checks: Checks,
    reports: Reports,
    /// Whether an interval has ended.
    closed: bool,
    history: History,
}

impl Call {
    fn new(now_ns: u64) -> Self {
        Self {
            interval_end_ns: now_ns.saturating_add(INTERVAL_NS),
            sides: Default::default(),
            checks: Checks::default(),
            reports: Reports::default(),
            closed: false,
            history: History::default(),
        }
    }

    #[inline]
    fn see(&mut self, counts: &mut Counts, arrived: Arrived, seen: Seen, payload: &[u8]) {
        let Arrived { side, peer, now_ns } = arrived;
        if now_ns >= self.interval_end_ns {
            self.close(now_ns, counts);
        }
        let record = &mut self.sides[side.index()];
        record.count(seen.kind());
        match seen {
            Seen::Rtp(rtp) => record.receive(&rtp, payload.len(), now_ns, peer),
            Seen::Stun(Some(check)) => self.see_check(side, check, now_ns),
            Seen::Rtcp => self.see_reports(side, payload, now_ns),
            Seen::Stun(None) | Seen::Dtls | Seen::Other => {}
        }
    }

    fn see_check(&mut self, side: Side, check: Check, now_ns: u64) {
        match check {
            Check::Request(id) => self.checks.request(side, id, now_ns),
            Check::Answer(id) => {
                if let Some(ns) = self.checks.answer(side, id, now_ns) {
                    self.sides[side.index()].add_round_trip(RoundTripFrom::Stun, ns);
                }
            }
        }
    }

    fn see_reports(&mut self, side: Side, payload: &[u8], now_ns: u64) {
        if let Some(ns) = self.reports.see(side, payload, now_ns) {
            self.sides[side.index()].add_round_trip(RoundTripFrom::Rtcp, ns);
        }
    }

    /// Ends the interval under way, and those after it in which nothing came.
    #[cold]
    fn close(&mut self, now_ns: u64, counts: &mut Counts) {
        // The second one tells each stream that it is silent.
        for _ in 0..2 {
            if self.interval_end_ns > now_ns {
                return;
            }
            let [client, peer] = &mut self.sides;
            let intervals = [client.close(INTERVAL_S), peer.close(INTERVAL_S)];
            if now_ns - self.interval_end_ns <= LATE_NS {
                observe(&intervals, counts);
            }
            self.history.push(&intervals);
            self.closed = true;
            self.interval_end_ns = self.interval_end_ns.saturating_add(INTERVAL_NS);
        }
        self.stay_silent(now_ns);
    }

    /// Ends the further intervals at once: a call may be idle for years.
    fn stay_silent(&mut self, now_ns: u64) {
        let Some(since_ns) = now_ns.checked_sub(self.interval_end_ns) else {
            return;
        };
        let ended = since_ns / INTERVAL_NS + 1;
        self.sides.iter_mut().for_each(SideRecord::stay_silent);
        self.history.push_silent(ended);
        let passed_ns = ended.saturating_mul(INTERVAL_NS);
        self.interval_end_ns = self.interval_end_ns.saturating_add(passed_ns);
    }

    /// Counts what has not been counted yet: the call, or its measuring, ends. A short call has no whole interval, and a bad
    /// one often ends because it is bad.
    pub fn finish(&mut self, now_ns: u64, counts: &mut Counts) {
        self.close(now_ns, counts);
        let elapsed_ns = (now_ns + INTERVAL_NS).saturating_sub(self.interval_end_ns);
        if elapsed_ns >= FIRST_LOOK_NS {
            let seconds = elapsed_ns as f32 / 1e9;
            let intervals = self.sides.each_ref().map(|side| side.so_far(seconds));
            observe(&intervals, counts);
        }
    }

    /// 0 to 100, of the last whole interval.
    pub fn trouble(&self, now_ns: u64) -> u8 {
        trouble(&self.latest(now_ns)).score
    }

    /// Of the last interval that has ended by now, whether its end has been noticed or not.
    fn latest(&self, now_ns: u64) -> [Interval; 2] {
        let elapsed_ns = (now_ns + INTERVAL_NS).saturating_sub(self.interval_end_ns);
        let [client, peer] = &self.sides;
        match elapsed_ns {
            0..INTERVAL_NS if self.closed => [client.latest(), peer.latest()],
            0..FIRST_LOOK_NS => Default::default(),
            FIRST_LOOK_NS..INTERVAL_NS => {
                let seconds = elapsed_ns as f32 / 1e9;
                [client.so_far(seconds), peer.so_far(seconds)]
            }
            _ if elapsed_ns < 2 * INTERVAL_NS => {
                [client.so_far(INTERVAL_S), peer.so_far(INTERVAL_S)]
            }
            _ => [Interval::SILENT; 2],
        }
    }

    /// How it is by now. With `details` streams and history, too.
    pub fn report(&self, now_ns: u64, details: bool) -> Report {
        let latest = self.latest(now_ns);
        let [client, peer] = &self.sides;
        let [of_client, of_peer] = latest;
        let sides = [client.report(of_client), peer.report(of_peer)];
        let details = details.then(|| self.details(now_ns, &latest));
        Report::new(trouble(&latest), sides, details)
    }

    fn details(&self, now_ns: u64, latest: &[Interval; 2]) -> Details {
        // Rare, and only for one call at a time.
        let mut closed = self.clone();
        closed.close(now_ns, &mut Counts::default());
        let began_ns = closed.interval_end_ns.saturating_sub(INTERVAL_NS);
        let elapsed_ns = now_ns.saturating_sub(began_ns);
        let elapsed_s = elapsed_ns as f64 / 1e9;
        let seconds = elapsed_ns.max(FIRST_LOOK_NS) as f32 / 1e9;
        let [client, peer] = &closed.sides;
        let streams = client.streams(Side::Client, now_ns, seconds);
        let streams = streams.chain(peer.streams(Side::Peer, now_ns, seconds));
        let mut history = closed.history.report(elapsed_s);
        if history.steps.is_empty() {
            history.steps.push(*latest);
            (history.last_step_s, history.age_s) = (elapsed_s, 0.0);
        }
        Details {
            streams: streams.collect(),
            streams_forgotten: client.forgotten() + peer.forgotten(),
            history,
        }
    }

    /// The whole of it, for the end.
    pub fn summary(&self) -> Summary {
        let [client, peer] = &self.sides;
        Summary::new([client.summary(), peer.summary()])
    }
}

fn observe(intervals: &[Interval; 2], counts: &mut Counts) {
    for (side, interval) in Side::ALL.into_iter().zip(intervals) {
        SideRecord::observe(interval, counts.side_mut(side));
    }
}

#[cfg(test)]
impl Call {
    /// Beside the record itself.
    pub fn heap_bytes(&self) -> usize {
        let sides = self.sides.iter().map(SideRecord::heap_bytes);
        sides.sum::<usize>() + self.history.heap_bytes() + self.reports.heap_bytes()
    }
}
