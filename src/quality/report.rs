//! What a call's record says of itself, as values for whoever shows it. `None` is what could not be measured.

use super::{Cause, Kind, Side};
use crate::addr::PeerAddr;

/// How much is wrong, 0 to 100, and with what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    pub score: u8,
    /// Of the worst that was found; `None` where the score is 0.
    pub worst: Option<(Side, Cause)>,
}

/// Where a round trip was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundTripFrom {
    Stun,
    Rtcp,
}

/// Of fewer packets, one that is lost would be a bad call: muted audio sends two or three a second.
pub(super) const EXPECTED_MIN: u32 = 20;

/// One interval, or a step of the history.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Interval {
    pub loss_ratio: Option<f32>,
    /// The packets that `loss_ratio` is of; 0 in a step of the history.
    pub(super) expected: u32,
    pub jitter_ms: Option<f32>,
    pub round_trip_ms: Option<f32>,
    pub round_trip_from: Option<RoundTripFrom>,
    pub bits_per_s: Option<f32>,
    pub packets_per_s: Option<f32>,
}

impl Interval {
    /// In which nothing came.
    pub(super) const SILENT: Self = Self {
        loss_ratio: None,
        expected: 0,
        jitter_ms: None,
        round_trip_ms: None,
        round_trip_from: None,
        bits_per_s: Some(0.0),
        packets_per_s: Some(0.0),
    };

    /// The loss that a call is judged by: `None` where a single packet would weigh too much.
    pub(super) fn weighty_loss(&self) -> Option<f32> {
        self.loss_ratio.filter(|_| self.expected >= EXPECTED_MIN)
    }
}

/// RTP packets since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub expected: u64,
    pub lost: u64,
    pub reordered: u64,
    pub duplicates: u64,
    pub restarts: u64,
}

impl Totals {
    pub(super) fn add(&mut self, other: Self) {
        self.expected += other.expected;
        self.lost += other.lost;
        self.reordered += other.reordered;
        self.duplicates += other.duplicates;
        self.restarts += other.restarts;
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SideReport {
    pub(super) packets: [u64; Kind::ALL.len()],
    /// The last one.
    pub interval: Interval,
    pub totals: Totals,
}

impl SideReport {
    pub fn packets(&self, kind: Kind) -> u64 {
        self.packets[kind.index()]
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct StreamReport {
    pub from: Side,
    /// The other end of the relay, whichever side sends.
    pub peer: PeerAddr,
    pub ssrc: u32,
    pub payload_type: u8,
    pub clock_rate_hz: Option<u32>,
    pub packets: u64,
    pub bytes: u64,
    pub totals: Totals,
    pub interval: Interval,
    pub idle_s: f64,
}

/// The whole call in steps of the same length, oldest first; client's side and peer's. The last one may still be shorter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistoryReport {
    pub step_s: f64,
    /// What the last step covers.
    pub last_step_s: f64,
    /// Since the last step's end: the interval under way is in none.
    pub age_s: f64,
    pub steps: Vec<[Interval; 2]>,
}

/// What costs more to show.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    pub streams: Vec<StreamReport>,
    pub streams_forgotten: u64,
    pub history: HistoryReport,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    pub trouble: Trouble,
    sides: [SideReport; 2],
    /// Only where they were asked for.
    pub details: Option<Details>,
}

impl Report {
    pub(super) fn new(trouble: Trouble, sides: [SideReport; 2], details: Option<Details>) -> Self {
        Self {
            trouble,
            sides,
            details,
        }
    }

    pub fn side(&self, side: Side) -> &SideReport {
        &self.sides[side.index()]
    }
}

/// A whole call, for the log line at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    sides: [SideSummary; 2],
}

/// One side of it: the loss of all packets, and means over the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SideSummary {
    pub(super) loss_millionths: Option<u32>,
    pub(super) jitter_us: Option<u32>,
    pub(super) round_trip_us: Option<u32>,
}

impl SideSummary {
    pub fn loss_ratio(&self) -> Option<f64> {
        self.loss_millionths.map(|loss| f64::from(loss) / 1e6)
    }

    pub fn jitter_ms(&self) -> Option<f64> {
        self.jitter_us.map(|us| f64::from(us) / 1e3)
    }

    pub fn round_trip_ms(&self) -> Option<f64> {
        self.round_trip_us.map(|us| f64::from(us) / 1e3)
    }
}

impl Summary {
    pub(super) fn new(sides: [SideSummary; 2]) -> Self {
        Self { sides }
    }

    pub fn side(&self, side: Side) -> &SideSummary {
        &self.sides[side.index()]
    }
}
