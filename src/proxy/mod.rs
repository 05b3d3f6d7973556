//! The signalling plane: an HTTPS/WSS reverse proxy for what the allow-list names (PROXY.md).
//!
//! A connection goes through `server` (hyper, behind `guard` and `framing`), each of its requests through `forward`, which asks
//! the pure half (`route`, `headers`, `cors`, `redirect`, `respond`: no I/O) what to do and `upstream` (`pool`, `connect`,
//! `resolve`) to do it; a WebSocket ends up in `tunnel`. `plane` is the face: [`Proxy`] for the process, [`Local`] for a thread.
//!
//! Everything of a connection stays on one thread, in a `LocalSet`; threads share settings, counters and limits only.
//! Not here: listeners, the client's TLS and connection limits (`listen`), certificates, the built-in page itself.

pub mod allowlist;
mod body;
mod connect;
pub mod cookies;
pub mod cors;
mod forward;
pub mod forwarded;
mod framing;
mod guard;
pub mod headers;
pub mod location;
mod metrics;
mod open_tunnels;
mod own;
mod plane;
mod pool;
mod query;
mod rate;
mod record;
pub mod redirect;
mod resolve;
pub mod respond;
pub mod route;
mod server;
mod timer;
mod traced;
mod tunnel;
mod upstream;
mod upstreams;
pub mod vendors;

#[cfg(test)]
mod tests;

pub use connect::{connect, dialling_order};
pub use metrics::{Metrics, Totals};
pub use open_tunnels::OpenTunnel;
pub use own::{BodyFault, Endpoint, Step, Then};
pub use plane::{ConnectionInfo, Error, Local, Page, Prepared, Proxy};
pub use resolve::{Addresses, Resolve, SystemResolver};
pub use upstreams::UpstreamNumbers;

use crate::ip_rules::IpRules;
use ipnet::IpNet;
use plane::Compiled;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// `host` or `*.suffix`, with the ports it may be reached at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostRule {
    /// Lower case, without the `*.`.
    pub name: String,
    /// `*.name`: any name below it, on a label edge; not `name` itself.
    pub subdomains: bool,
    /// Never empty, never 0.
    pub ports: RangeInclusive<u16>,
}

/// A prefix with a fixed upstream: `/ws/x?y` → `<base>x?y`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixRoute {
    /// Begins and ends with a slash.
    pub prefix: String,
    /// `https://host[:port]/path/`: ends with a slash. WebSockets go to the same place.
    pub upstream: String,
}

/// `[proxy.timeouts]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From a connection's first byte, or a request's, to the end of its head.
    pub request_header: Duration,
    /// Between two requests of a client connection.
    pub idle: Duration,
    /// For the name of an upstream host.
    pub resolve: Duration,
    /// For TCP to an upstream, over all of its addresses, and as long again for its TLS handshake.
    pub connect: Duration,
    /// From the last byte of a request to the head of its answer; long polls take 40 to 70 s.
    pub response: Duration,
    /// Silence in a body, either way, and of a client that takes nothing of an answer.
    pub body_idle: Duration,
    /// Silence of a WebSocket, both ways.
    pub tunnel_idle: Duration,
    /// How long an upstream connection is kept for the next request.
    pub upstream_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            request_header: Duration::from_secs(15),
            idle: Duration::from_secs(75),
            resolve: Duration::from_secs(5),
            connect: Duration::from_secs(5),
            response: Duration::from_secs(120),
            body_idle: Duration::from_secs(120),
            tunnel_idle: Duration::from_secs(3600),
            upstream_idle: Duration::from_secs(60),
        }
    }
}

/// `[proxy.limits]`; 0 means no limit where it is not said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Request head with its first line, in bytes; never 0.
    pub header_bytes: usize,
    /// Header fields of a request; never 0.
    pub headers: usize,
    /// Path and query of a request, in bytes; never 0.
    pub target_bytes: usize,
    /// Requests at once on an HTTP/2 connection; never 0.
    pub h2_streams: u32,
    /// Request body, in bytes; 0: no limit.
    pub body_bytes: u64,
    /// Bodies up to this size are kept, so that a 307 or 308 can be followed, in bytes.
    pub replay_bytes: usize,
    /// Redirects followed for one request; 0: none.
    pub redirects: u8,
    /// Requests under way to one upstream host and port, over all threads.
    pub upstream_connections_per_host: usize,
    /// Upstream connections at once over all hosts and threads, idle and tunnelled ones included; 0: no limit. `app` works it
    /// out from the open-files limit.
    pub upstream_connections: usize,
    /// Idle pooled connections to one upstream host and port, per thread; 0: none are kept.
    pub upstream_idle_per_host: usize,
    /// WebSockets at once.
    pub tunnels: usize,
    /// Requests per second of one client address (/32, /56).
    pub requests_per_s_per_address: u32,
}

impl Limits {
    /// What the parsers take of a head, in bytes. More than `header_bytes`: a parser refuses without a word to the page,
    /// so a head that is a little too large is left to the service, whose answer has a body and CORS.
    fn parsed_bytes(&self) -> usize {
        self.header_bytes.saturating_mul(2)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 32 << 10,
            headers: 100,
            target_bytes: 16 << 10,
            h2_streams: 128,
            body_bytes: 0,
            replay_bytes: 64 << 10,
            redirects: 5,
            upstream_connections_per_host: 1024,
            upstream_connections: 0,
            upstream_idle_per_host: 32,
            tunnels: 0,
            requests_per_s_per_address: 0,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// relayd's own authorities, lower case, `host` or `host:port`: stripped from the front of a target.
    pub public_names: Vec<String>,
    /// What a target may name as its first segment.
    pub allow: Vec<HostRule>,
    /// Never reached, whatever the other lists and the routes say.
    pub deny: Vec<HostRule>,
    pub routes: Vec<PrefixRoute>,
    /// What Agora's paths may name in their query; empty: these paths are not served.
    pub agora_hosts: Vec<HostRule>,
    /// What TRTC's unified proxy may name in `signalDomain`; empty: it is not served.
    pub trtc_signal_hosts: Vec<HostRule>,
    /// `*` or origins (`https://app.example.com`).
    pub cors_origins: Vec<String>,
    /// Networks whose X-Forwarded-For and Forwarded are appended to, not replaced.
    pub trusted_proxies: Vec<IpNet>,
    /// `/azure`: every route is also served under it.
    pub prefixes: Vec<String>,
    /// (host, port) → address; the operator's word, so not vetted.
    pub resolve: HashMap<(String, u16), SocketAddr>,
    pub ca_file: Option<PathBuf>,
    /// What DNS returned is judged by these.
    pub addresses: IpRules,
    pub timeouts: Timeouts,
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            public_names: Vec::new(),
            allow: Vec::new(),
            deny: Vec::new(),
            routes: Vec::new(),
            agora_hosts: Vec::new(),
            trtc_signal_hosts: Vec::new(),
            cors_origins: vec!["*".to_owned()],
            trusted_proxies: Vec::new(),
            prefixes: Vec::new(),
            resolve: HashMap::new(),
            ca_file: None,
            addresses: IpRules::default(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
        }
    }
}
