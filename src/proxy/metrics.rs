//! What the proxy counts, over all threads. Labels are closed enums; no host, path or address is one.

use super::respond::ProxyError;
use super::route::RouteKind;
use super::tunnel::End;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::fmt::{self, Write};

/// What a request turned out to be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum RequestKind {
    /// The target names the upstream host.
    Host,
    /// A prefix with a fixed upstream.
    Prefix,
    /// One of Agora's paths: the query names the upstream.
    Query,
    /// TRTC's unified proxy: the query names the host.
    Unified,
    /// A preflight that was answered here.
    Preflight,
    /// `/healthcheck`, `/readyz`, the built-in page.
    Own,
    /// Refused before an upstream was chosen.
    Refused,
}

/// The hundreds of a status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum StatusClass {
    Informational,
    Success,
    Redirection,
    ClientError,
    ServerError,
}

impl StatusClass {
    pub(super) const ALL: [Self; 5] = [
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
    ];

    pub(super) fn of(status: u16) -> Self {
        match status {
            0..200 => Self::Informational,
            200..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }
}

impl From<RouteKind> for RequestKind {
    fn from(kind: RouteKind) -> Self {
        match kind {
            RouteKind::Host => Self::Host,
            RouteKind::Prefix => Self::Prefix,
            RouteKind::Query => Self::Query,
            RouteKind::Unified => Self::Unified,
        }
    }
}

impl RequestKind {
    const ALL: [Self; 7] = [
        Self::Host,
        Self::Prefix,
        Self::Query,
        Self::Unified,
        Self::Preflight,
        Self::Own,
        Self::Refused,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Prefix => "prefix",
            Self::Query => "query",
            Self::Unified => "unified",
            Self::Preflight => "preflight",
            Self::Own => "own",
            Self::Refused => "refused",
        }
    }
}

/// Why a client's connection ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ClientFault {
    /// What it sent is not HTTP, or is ambiguous.
    Malformed,
    /// It fell silent in a head, or took no bytes of an answer.
    TimedOut,
    /// It went away in a request or an answer, or broke the rules of HTTP/2.
    BrokenOff,
}

impl ClientFault {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TimedOut => "timed out",
            Self::BrokenOff => "broken off",
        }
    }
}

macro_rules! label_value {
    ($($label:ty),*) => {$(
        impl EncodeLabelValue for $label {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                encoder.write_str(self.label())
            }
        }
    )*};
}

label_value!(RequestKind, StatusClass, ClientFault, End);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    pub(super) kind: RequestKind,
    pub(super) status: StatusClass,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ErrorLabel {
    pub(super) reason: ProxyError,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct EndLabel {
    pub(super) reason: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FaultLabel {
    pub(super) reason: ClientFault,
}

/// The proxy's counters.
#[derive(Debug)]
pub struct Metrics {
    pub(super) requests: Family<RequestLabels, Counter>,
    pub(super) errors: Family<ErrorLabel, Counter>,
    pub(super) client_faults: Family<FaultLabel, Counter>,
    pub(super) seconds: Histogram,
    pub(super) request_bytes: Counter,
    pub(super) response_bytes: Counter,
    pub(super) connects: Counter,
    pub(super) reuses: Counter,
    pub(super) retries: Counter,
    pub(super) redirects: Counter,
    pub(super) idle: Gauge,
    pub(super) under_way: Gauge,
    pub(super) tunnels: Gauge,
    pub(super) tunnel_ends: Family<EndLabel, Counter>,
    pub(super) tunnel_bytes_to_upstream: Counter,
    pub(super) tunnel_bytes_to_client: Counter,
    pub(super) reloads: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            errors: Family::default(),
            client_faults: Family::default(),
            // A pooled answer takes milliseconds, a long poll 40 to 70 s.
            seconds: Histogram::new([
                0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
                60.0, 120.0,
            ]),
            request_bytes: Counter::default(),
            response_bytes: Counter::default(),
            connects: Counter::default(),
            reuses: Counter::default(),
            retries: Counter::default(),
            redirects: Counter::default(),
            idle: Gauge::default(),
            under_way: Gauge::default(),
            tunnels: Gauge::default(),
            tunnel_ends: Family::default(),
            tunnel_bytes_to_upstream: Counter::default(),
            tunnel_bytes_to_client: Counter::default(),
            reloads: Counter::default(),
        }
    }
}

/// What the proxy has counted, for those who show it.
#[derive(Clone, Debug)]
pub struct Totals {
    /// Answers by the class of their status, 1xx first.
    pub statuses: [u64; StatusClass::ALL.len()],
    /// Answers made here because of an error, by reason.
    pub errors: Vec<(&'static str, u64)>,
}

impl Metrics {
    pub fn totals(&self) -> Totals {
        let answers = |status| {
            let of = |kind| self.requests.get(&RequestLabels { kind, status });
            let counted = RequestKind::ALL.into_iter().filter_map(of);
            counted.map(|counter| counter.get()).sum()
        };
        let errors = ProxyError::ALL.iter().map(|reason| {
            let counter = self.errors.get(&ErrorLabel { reason: *reason });
            (reason.label(), counter.map_or(0, |counter| counter.get()))
        });
        Totals {
            statuses: StatusClass::ALL.map(answers),
            errors: errors.collect(),
        }
    }

    /// Counters get `_total` appended when they are written.
    pub fn register(&self, registry: &mut Registry) {
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        counter(
            "relayd_proxy_request_body_bytes",
            "Request body bytes sent to upstreams",
            &self.request_bytes,
        );
        counter(
            "relayd_proxy_response_body_bytes",
            "Response body bytes sent to clients",
            &self.response_bytes,
        );
        counter(
            "relayd_proxy_upstream_connects",
            "Upstream connections made, TLS handshake included",
            &self.connects,
        );
        counter(
            "relayd_proxy_upstream_reuses",
            "Requests sent on a pooled upstream connection",
            &self.reuses,
        );
        counter(
            "relayd_proxy_upstream_retries",
            "Requests sent again because a pooled connection was stale",
            &self.retries,
        );
        counter(
            "relayd_proxy_redirects_followed",
            "Upstream redirects followed on the client's behalf",
            &self.redirects,
        );
        counter(
            "relayd_proxy_tunnel_to_upstream_bytes",
            "WebSocket bytes from clients to upstreams",
            &self.tunnel_bytes_to_upstream,
        );
        counter(
            "relayd_proxy_tunnel_to_client_bytes",
            "WebSocket bytes from upstreams to clients",
            &self.tunnel_bytes_to_client,
        );
        counter(
            "relayd_proxy_reloads",
            "Settings replaced while serving",
            &self.reloads,
        );
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| {
            registry.register(name, help, gauge.clone());
        };
        gauge(
            "relayd_proxy_upstream_idle_connections",
            "Idle pooled upstream connections",
            &self.idle,
        );
        gauge(
            "relayd_proxy_requests_under_way",
            "Requests whose answer is not complete",
            &self.under_way,
        );
        gauge("relayd_proxy_tunnels", "WebSockets open", &self.tunnels);
        registry.register(
            "relayd_proxy_requests",
            "Requests by what they were for and the class of their status",
            self.requests.clone(),
        );
        registry.register(
            "relayd_proxy_errors",
            "Answers made here because of an error, by reason",
            self.errors.clone(),
        );
        registry.register(
            "relayd_proxy_client_faults",
            "Client connections that ended before their time, by reason",
            self.client_faults.clone(),
        );
        registry.register(
            "relayd_proxy_tunnel_ends",
            "WebSockets ended, by reason",
            self.tunnel_ends.clone(),
        );
        registry.register(
            "relayd_proxy_request_seconds",
            "From a request's head to the end of its answer",
            self.seconds.clone(),
        );
    }
}
