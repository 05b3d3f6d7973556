//! The numbers of one moment, as `/stats` shows them: counters since the start, and what there is just now.
//!
//! What could not be measured is `None`, which becomes `null`, and never 0.

use super::control::{Flow, Transport};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Counts by one of a part's own closed words.
pub type ByLabel = BTreeMap<&'static str, u64>;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Stats {
    pub configuration: Configuration,
    /// One for each transport, in the order of [`Transport::ALL`].
    pub traffic: Vec<Traffic>,
    pub allocations: Allocations,
    pub drops: ByLabel,
    pub turn_requests: Vec<TurnRequests>,
    pub relay_ports: RelayPorts,
    pub workers: Vec<Worker>,
    pub proxy: ProxyNumbers,
    pub certificates: Vec<Certificate>,
    pub process: Process,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Configuration {
    pub file: Option<String>,
    /// 1 at the start, one more with each reload that was put in force.
    pub generation: u64,
    /// When it was put in force, in seconds since 1970.
    pub loaded_at: u64,
}

/// Relayed payload since the start, by the client's transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Traffic {
    pub transport: Transport,
    pub to_peer: Flow,
    pub to_client: Flow,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Allocations {
    pub udp: u64,
    pub tcp: u64,
    pub tls: u64,
    pub total: u64,
    /// Since the start.
    pub started: u64,
    /// Since the start, by reason.
    pub ended: ByLabel,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct TurnRequests {
    pub method: &'static str,
    pub answer: &'static str,
    pub count: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct RelayPorts {
    pub used: u64,
    /// Of all addresses.
    pub total: u64,
    /// First and last.
    pub range: String,
    pub addresses: Vec<AddressPorts>,
}

#[derive(Clone, Debug, Serialize)]
pub struct AddressPorts {
    pub ip: IpAddr,
    pub used: u64,
    pub total: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Worker {
    pub worker: usize,
    pub allocations: u64,
    pub streams: u64,
    /// Relayed since the start, both ways.
    pub packets: u64,
    pub bytes: u64,
    pub cpu_s: Option<f64>,
}

/// Answers by the class of their status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statuses {
    #[serde(rename = "1xx")]
    pub informational: u64,
    #[serde(rename = "2xx")]
    pub success: u64,
    #[serde(rename = "3xx")]
    pub redirection: u64,
    #[serde(rename = "4xx")]
    pub client_error: u64,
    #[serde(rename = "5xx")]
    pub server_error: u64,
}

impl Statuses {
    /// In the order of the classes.
    pub fn of(counts: [u64; 5]) -> Self {
        let [
            informational,
            success,
            redirection,
            client_error,
            server_error,
        ] = counts;
        Self {
            informational,
            success,
            redirection,
            client_error,
            server_error,
        }
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct ProxyNumbers {
    /// Clients' connections.
    pub connections: u64,
    pub requests_under_way: u64,
    pub tunnels: u64,
    pub requests: Statuses,
    pub errors: ByLabel,
    /// Busiest first.
    pub upstreams: Vec<Upstream>,
    pub upstreams_forgotten: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Upstream {
    /// With its port.
    pub host: String,
    /// Answers that came from it.
    pub requests: Statuses,
    /// Requests to it that got no answer.
    pub errors: u64,
    /// Requests to it whose client went away before the answer.
    pub abandoned: u64,
    pub latency_ms: LatencyMs,
    /// Open now.
    pub tunnels: u64,
}

/// From the last of a request that was sent to the head of its answer, or to the end of a client's patience.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LatencyMs {
    pub mean: Option<f64>,
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p99: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// DNS names and IP addresses.
    pub names: Vec<String>,
    /// Its distinguished name.
    pub issuer: String,
    /// In seconds since 1970.
    pub not_after: i64,
    pub source: CertificateOrigin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateOrigin {
    File,
    Acme,
    SelfSigned,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Process {
    pub cpu_s: Option<f64>,
    pub resident_bytes: Option<u64>,
    pub open_fds: Option<u64>,
    pub fds_max: Option<u64>,
    pub threads: Option<u64>,
}

/// The calls' quality, both sides of relayd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quality {
    pub client: QualityOfSide,
    pub peer: QualityOfSide,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct QualityOfSide {
    pub loss_ratio: Option<f64>,
    pub jitter_ms: Option<f64>,
    pub round_trip_ms: Option<f64>,
}
