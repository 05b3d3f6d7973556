//! How good a call is, measured at the relay from what passes: RTP sequence numbers and timestamps, STUN checks, RTCP.
//!
//! Pure: bytes and nanoseconds in, numbers out. One [`Call`] belongs to one allocation.
//!
//! Absent: what the headers of encrypted packets do not say, and what happens behind the relay on a packet's way out.

mod counts;
mod report;

pub use counts::{Counts, Histogram, SideCounts};
pub use report::{
    Details, HistoryReport, Interval, Report, RoundTripFrom, SideReport, SideSummary, StreamReport,
    Summary, Totals, Trouble,
};

/// Which way into the relay: what arrives from the client, or from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Peer,
}

impl Side {
    pub const ALL: [Self; 2] = [Self::Client, Self::Peer];

    /// Metric label and word of the admin API.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Peer => "peer",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Peer,
            Self::Peer => Self::Client,
        }
    }
}

/// What a packet is by its first bytes (RFC 7983, RFC 5761 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Rtp,
    Rtcp,
    Stun,
    Dtls,
    /// ZRTP, a TURN channel inside, anything unknown or cut off.
    Other,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Rtp, Self::Rtcp, Self::Stun, Self::Dtls, Self::Other];

    /// Metric label and word of the admin API.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Rtp => "rtp",
            Self::Rtcp => "rtcp",
            Self::Stun => "stun",
            Self::Dtls => "dtls",
            Self::Other => "other",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// What makes a call bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Loss,
    Jitter,
    RoundTrip,
}

impl Cause {
    /// Word of the admin API.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Jitter => "jitter",
            Self::RoundTrip => "round_trip",
        }
    }
}
