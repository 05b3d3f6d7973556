//! What the history is made of: counters and levels of one moment, and sums to take means from.

use crate::admin::control::Flow;
use crate::admin::stats::{Quality, QualityOfSide};
use crate::latency::Spread;

#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// By the client's transport: udp, tcp, tls.
    pub traffic: [Flows; 3],
    /// Live ones, in the same order.
    pub allocations: [u64; 3],
    pub drops: u64,
    pub turn_requests: u64,
    /// Of them those that were answered with an error.
    pub turn_errors: u64,
    pub proxy_requests: u64,
    pub proxy_errors: u64,
    pub latencies: Spread,
    pub tunnels: u64,
    pub connections: u64,
    pub quality: QualitySums,
    pub cpu_s: Option<f64>,
    pub resident_bytes: Option<u64>,
    pub relay_ports_used: u64,
}

/// Relayed payload, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flows {
    pub to_peer: Flow,
    pub to_client: Flow,
}

/// What was observed of all calls since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QualitySums {
    pub client: SideSums,
    pub peer: SideSums,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SideSums {
    pub loss_ratio: Observed,
    pub jitter_s: Observed,
    pub round_trip_s: Observed,
}

/// The count and the sum of a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Observed {
    pub count: u64,
    pub sum: f64,
}

impl Observed {
    /// Of what was observed since `earlier`; `None` if that is nothing.
    pub(super) fn mean_since(self, earlier: Self) -> Option<f64> {
        let count = self.count.checked_sub(earlier.count)?;
        let sum = self.sum - earlier.sum;
        (count > 0 && sum >= 0.0).then(|| sum / count as f64)
    }
}

impl QualitySums {
    /// The means of what was observed since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Quality {
        Quality {
            client: self.client.since(&earlier.client),
            peer: self.peer.since(&earlier.peer),
        }
    }
}

impl SideSums {
    fn since(&self, earlier: &Self) -> QualityOfSide {
        let ms = |now: Observed, then: Observed| now.mean_since(then).map(|mean| mean * 1e3);
        QualityOfSide {
            loss_ratio: self.loss_ratio.mean_since(earlier.loss_ratio),
            jitter_ms: ms(self.jitter_s, earlier.jitter_s),
            round_trip_ms: ms(self.round_trip_s, earlier.round_trip_s),
        }
    }
}
