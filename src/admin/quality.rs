//! How good a call is, in the words of `/allocations`. What could not be measured is null.

use serde::Serialize;
use std::net::SocketAddr;

#[derive(Clone, Debug, Serialize)]
pub struct Quality {
    /// 0 to 100.
    pub trouble: u8,
    /// Of the worst that was found.
    pub trouble_side: Option<&'static str>,
    pub trouble_cause: Option<&'static str>,
    pub client: QualitySide,
    pub peer: QualitySide,
    /// On an allocation's own page.
    #[serde(flatten)]
    pub details: Option<QualityDetails>,
}

/// Packets since the start, whatever they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PacketKinds {
    pub rtp: u64,
    pub rtcp: u64,
    pub stun: u64,
    pub dtls: u64,
    pub other: u64,
}

/// RTP packets since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RtpTotals {
    pub expected: u64,
    pub lost: u64,
    pub reordered: u64,
    pub duplicates: u64,
    pub restarts: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct QualitySide {
    pub packets: PacketKinds,
    pub loss_ratio: Option<f64>,
    pub jitter_ms: Option<f64>,
    pub bits_per_s: Option<f64>,
    pub packets_per_s: Option<f64>,
    pub round_trip_ms: Option<f64>,
    pub round_trip_from: Option<&'static str>,
    #[serde(flatten)]
    pub totals: RtpTotals,
}

#[derive(Clone, Debug, Serialize)]
pub struct QualityDetails {
    pub streams: Vec<QualityStream>,
    pub streams_forgotten: u64,
    pub history: QualityHistory,
}

#[derive(Clone, Debug, Serialize)]
pub struct QualityStream {
    pub from: &'static str,
    pub peer: SocketAddr,
    pub ssrc: u32,
    pub payload_type: u8,
    pub clock_rate_hz: Option<u32>,
    pub packets: u64,
    pub bytes: u64,
    #[serde(flatten)]
    pub totals: RtpTotals,
    pub loss_ratio: Option<f64>,
    pub jitter_ms: Option<f64>,
    pub bits_per_s: f64,
    pub packets_per_s: f64,
    pub idle_s: f64,
}

/// Both sides in steps of the same length, oldest first; the last one may be shorter, and ends `age_s` before the answer.
#[derive(Clone, Debug, Serialize)]
pub struct QualityHistory {
    pub step_s: f64,
    pub last_step_s: f64,
    pub age_s: f64,
    pub client: QualitySeries,
    pub peer: QualitySeries,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct QualitySeries {
    pub loss_ratio: Vec<Option<f64>>,
    pub jitter_ms: Vec<Option<f64>>,
    pub round_trip_ms: Vec<Option<f64>>,
    pub bits_per_s: Vec<Option<f64>>,
}
