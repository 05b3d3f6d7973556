//! The series that there are: each a name and the way from samples to a point.

use super::sample::Sample;
use crate::admin::stats::Quality;

/// How a point is made.
pub(super) enum Take {
    /// Of a counter: its growth by the second.
    Rate(fn(&Sample) -> Option<f64>),
    /// Of a level: the mean of those that were seen.
    Level(fn(&Sample) -> Option<f64>),
    /// Of the samples at the step's end and at its beginning.
    Between(fn(&Sample, &Sample) -> Option<f64>),
    /// Of the calls' quality meanwhile, or over [`QUALITY_OVER`](super::QUALITY_OVER) if the step is shorter.
    Of(fn(&Quality) -> Option<f64>),
}

use Take::{Between, Level, Of, Rate};

/// The three of one direction and one unit, in the order of a sample's transports.
macro_rules! by_transport {
    ($name:literal, $way:ident, $unit:ident * $factor:literal) => {
        [
            (
                concat!($name, ".udp.", stringify!($way)),
                Rate(|s| of(s.traffic[0].$way.$unit, $factor)),
            ),
            (
                concat!($name, ".tcp.", stringify!($way)),
                Rate(|s| of(s.traffic[1].$way.$unit, $factor)),
            ),
            (
                concat!($name, ".tls.", stringify!($way)),
                Rate(|s| of(s.traffic[2].$way.$unit, $factor)),
            ),
        ]
    };
}

type Series = (&'static str, Take);

const BITS_TO_PEER: [Series; 3] = by_transport!("bits_per_s", to_peer, bytes * 8.0);
const BITS_TO_CLIENT: [Series; 3] = by_transport!("bits_per_s", to_client, bytes * 8.0);
const PACKETS_TO_PEER: [Series; 3] = by_transport!("packets_per_s", to_peer, packets * 1.0);
const PACKETS_TO_CLIENT: [Series; 3] = by_transport!("packets_per_s", to_client, packets * 1.0);

const OTHERS: [Series; 21] = [
    ("allocations.udp", Level(|s| of(s.allocations[0], 1.0))),
    ("allocations.tcp", Level(|s| of(s.allocations[1], 1.0))),
    ("allocations.tls", Level(|s| of(s.allocations[2], 1.0))),
    ("drops_per_s", Rate(|s| of(s.drops, 1.0))),
    ("turn_requests_per_s", Rate(|s| of(s.turn_requests, 1.0))),
    ("turn_errors_per_s", Rate(|s| of(s.turn_errors, 1.0))),
    ("proxy_requests_per_s", Rate(|s| of(s.proxy_requests, 1.0))),
    ("proxy_errors_per_s", Rate(|s| of(s.proxy_errors, 1.0))),
    (
        "proxy_latency_ms.mean",
        Between(|now, then| now.latencies.since(&then.latencies)?.mean_ms()),
    ),
    (
        "proxy_latency_ms.p99",
        Between(|now, then| now.latencies.since(&then.latencies)?.quantile_ms(0.99)),
    ),
    ("tunnels", Level(|s| of(s.tunnels, 1.0))),
    ("connections", Level(|s| of(s.connections, 1.0))),
    ("loss_ratio.client", Of(|quality| quality.client.loss_ratio)),
    ("loss_ratio.peer", Of(|quality| quality.peer.loss_ratio)),
    ("jitter_ms.client", Of(|quality| quality.client.jitter_ms)),
    ("jitter_ms.peer", Of(|quality| quality.peer.jitter_ms)),
    (
        "round_trip_ms.client",
        Of(|quality| quality.client.round_trip_ms),
    ),
    (
        "round_trip_ms.peer",
        Of(|quality| quality.peer.round_trip_ms),
    ),
    ("cpu_cores", Rate(|s| s.cpu_s)),
    (
        "resident_bytes",
        Level(|s| s.resident_bytes.map(|bytes| bytes as f64)),
    ),
    ("relay_ports_used", Level(|s| of(s.relay_ports_used, 1.0))),
];

const GROUPS: [&[Series]; 5] = [
    &BITS_TO_PEER,
    &BITS_TO_CLIENT,
    &PACKETS_TO_PEER,
    &PACKETS_TO_CLIENT,
    &OTHERS,
];

/// How many there are.
pub(super) const SERIES: usize = 12 + OTHERS.len();

/// All of them, always in the same order.
pub(super) fn all() -> impl Iterator<Item = &'static Series> {
    GROUPS.into_iter().flatten()
}

fn of(count: u64, factor: f64) -> Option<f64> {
    Some(count as f64 * factor)
}
