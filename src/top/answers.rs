//! What the admin API answers, as far as it is shown.
//!
//! Every field may be missing: an older server has not got it, and it is shown as "-". All text is [`Clean`].

use super::text::Clean;
use serde::Deserialize;
use std::collections::BTreeMap;

/// When an answer was made, by the wall clock and since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Moment {
    /// Seconds since 1970.
    pub time: Option<f64>,
    pub uptime_s: Option<f64>,
}

/// What the wall clock may be corrected by between two answers, and what whole seconds hide.
const BIRTH_S_MAX: f64 = 2.0;

impl Moment {
    /// Whether another process than that of the former answer made this one: after a restart or an upgrade there is another
    /// behind the same address. Its counters and its IDs begin anew.
    pub(super) fn is_of_another_process(self, former: Self) -> bool {
        let birth = |of: Self| Some(of.time? - of.uptime_s?);
        let apart = birth(self).zip(birth(former)).map(|(a, b)| (a - b).abs());
        apart.is_some_and(|s| s > BIRTH_S_MAX)
            || matches!((self.uptime_s, former.uptime_s), (Some(new), Some(old)) if new < old)
    }
}

/// `GET /stats`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stats {
    #[serde(flatten)]
    pub moment: Moment,
    pub version: Option<Clean>,
    pub draining: Option<bool>,
    pub configuration: Configuration,
    pub traffic: Vec<Traffic>,
    pub allocations: Allocations,
    pub drops: Option<BTreeMap<Clean, u64>>,
    pub turn_requests: Option<Vec<TurnRequests>>,
    pub relay_ports: RelayPorts,
    pub proxy: Proxy,
    pub quality: Means,
    pub process: Process,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Configuration {
    pub generation: Option<u64>,
}

/// Relayed payload since the start, by the client's transport.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Traffic {
    pub transport: Clean,
    #[serde(default)]
    pub to_peer: Flow,
    #[serde(default)]
    pub to_client: Flow,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Flow {
    pub packets: Option<u64>,
    pub bytes: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Allocations {
    pub udp: Option<u64>,
    pub tcp: Option<u64>,
    pub tls: Option<u64>,
    pub total: Option<u64>,
    pub started: Option<u64>,
    pub ended: Option<BTreeMap<Clean, u64>>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct TurnRequests {
    pub method: Clean,
    pub answer: Clean,
    pub count: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RelayPorts {
    pub used: Option<u64>,
    pub total: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Proxy {
    pub connections: Option<u64>,
    pub tunnels: Option<u64>,
    /// By class of status: `2xx`.
    pub requests: Option<BTreeMap<Clean, u64>>,
    pub errors: Option<BTreeMap<Clean, u64>>,
    pub upstreams: Option<Vec<Upstream>>,
    pub upstreams_forgotten: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Upstream {
    pub host: Clean,
    #[serde(default)]
    pub requests: BTreeMap<Clean, u64>,
    #[serde(default)]
    pub errors: Option<u64>,
    #[serde(default)]
    pub latency_ms: Latency,
    #[serde(default)]
    pub tunnels: Option<u64>,
}

impl Upstream {
    pub(super) fn requests_total(&self) -> u64 {
        self.requests
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Latency {
    pub mean: Option<f64>,
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p99: Option<f64>,
}

/// Of the last minute, over all calls.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Means {
    pub client: Option<Mean>,
    pub peer: Option<Mean>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Mean {
    pub loss_ratio: Option<f64>,
    pub jitter_ms: Option<f64>,
    pub round_trip_ms: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Process {
    pub cpu_s: Option<f64>,
    pub resident_bytes: Option<u64>,
}

/// `GET /history`: the last value ends at `end`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct History {
    pub step_s: f64,
    pub end: f64,
    pub series: BTreeMap<String, Vec<Option<f64>>>,
}

/// A page of `GET /allocations` or `GET /tunnels`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Page<T> {
    #[serde(flatten)]
    pub moment: Moment,
    #[serde(default)]
    pub total: Option<u64>,
    #[serde(alias = "allocations", alias = "tunnels")]
    pub rows: Vec<T>,
    #[serde(default)]
    pub next: Option<String>,
}

/// `GET /allocations/{id}`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct One {
    #[serde(flatten)]
    pub moment: Moment,
    pub allocation: Allocation,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Allocation {
    pub id: u64,
    #[serde(default)]
    pub user: Clean,
    #[serde(default)]
    pub transport: Clean,
    #[serde(default)]
    pub client: Clean,
    #[serde(default)]
    pub server: Clean,
    #[serde(default)]
    pub relayed: Vec<Clean>,
    #[serde(default)]
    pub age_s: Option<f64>,
    #[serde(default)]
    pub lifetime_left_s: Option<f64>,
    #[serde(default)]
    pub to_peer: Flow,
    #[serde(default)]
    pub to_client: Flow,
    #[serde(default)]
    pub worker: Option<u64>,
    #[serde(default)]
    pub permissions: Vec<Permission>,
    #[serde(default)]
    pub channels: Vec<Channel>,
    #[serde(default)]
    pub quality: Option<Quality>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Permission {
    pub ip: Clean,
    #[serde(default)]
    pub lifetime_left_s: Option<f64>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Channel {
    pub number: u64,
    pub peer: Clean,
    #[serde(default)]
    pub lifetime_left_s: Option<f64>,
}

/// How a call is doing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Quality {
    /// 0 to 100.
    pub trouble: Option<f64>,
    pub trouble_side: Option<Clean>,
    pub trouble_cause: Option<Clean>,
    pub client: Side,
    pub peer: Side,
    pub streams: Vec<Stream>,
    pub streams_forgotten: Option<u64>,
    pub history: Option<CallHistory>,
}

/// What arrives from one side.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Side {
    pub packets: BTreeMap<Clean, u64>,
    pub loss_ratio: Option<f64>,
    pub jitter_ms: Option<f64>,
    pub bits_per_s: Option<f64>,
    pub packets_per_s: Option<f64>,
    pub round_trip_ms: Option<f64>,
    pub round_trip_from: Option<Clean>,
    pub expected: Option<u64>,
    pub lost: Option<u64>,
    pub reordered: Option<u64>,
    pub duplicates: Option<u64>,
    pub restarts: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stream {
    pub from: Clean,
    pub peer: Clean,
    pub ssrc: Option<u64>,
    pub payload_type: Option<u64>,
    pub packets: Option<u64>,
    pub lost: Option<u64>,
    pub loss_ratio: Option<f64>,
    pub jitter_ms: Option<f64>,
    pub bits_per_s: Option<f64>,
    pub idle_s: Option<f64>,
}

/// The whole call in steps of equal length, oldest first.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CallHistory {
    pub step_s: Option<f64>,
    pub client: Series,
    pub peer: Series,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Series {
    pub loss_ratio: Vec<Option<f64>>,
    pub jitter_ms: Vec<Option<f64>>,
    pub round_trip_ms: Vec<Option<f64>>,
    pub bits_per_s: Vec<Option<f64>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Tunnel {
    pub id: u64,
    #[serde(default)]
    pub client: Clean,
    #[serde(default)]
    pub host: Clean,
    #[serde(default)]
    pub path: Clean,
    #[serde(default)]
    pub age_s: Option<f64>,
    #[serde(default)]
    pub idle_s: Option<f64>,
    #[serde(default)]
    pub bytes_to_upstream: Option<u64>,
    #[serde(default)]
    pub bytes_to_client: Option<u64>,
}

/// `GET /version` and `GET /drain`: what a server without `/stats` can say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Version {
    pub version: Option<Clean>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Drain {
    #[serde(flatten)]
    pub moment: Moment,
    pub draining: Option<bool>,
    pub left: Left,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Left {
    pub allocations: Option<u64>,
    pub tunnels: Option<u64>,
    pub connections: Option<u64>,
}

impl Stats {
    /// What a server says that has no `/stats`.
    pub(super) fn of_older(version: Version, drain: Drain) -> Self {
        Self {
            moment: drain.moment,
            version: version.version,
            draining: drain.draining,
            allocations: Allocations {
                total: drain.left.allocations,
                ..Allocations::default()
            },
            proxy: Proxy {
                tunnels: drain.left.tunnels,
                connections: drain.left.connections,
                ..Proxy::default()
            },
            ..Self::default()
        }
    }
}

#[derive(Deserialize)]
pub(super) struct ErrorBody {
    pub error: ErrorText,
}

#[derive(Deserialize)]
pub(super) struct ErrorText {
    pub message: Clean,
}
