//! `POST /credentials`: time-limited TURN credentials for web applications, as their `RTCPeerConnection` or SDK takes them.
//!
//! Who shows a configured token or a signed JWT gets a user name `expiry:name` and the password that `turn.auth_secret` makes of
//! it (the TURN REST form): nothing is stored, and the TURN server needs to know nothing of this room. Pure: a request and the time in, an answer
//! out. `service` is the order of the checks, `token` says who may ask, `request` what is asked for, `shapes` how each SDK wants it,
//! `result` is the closed list of outcomes (status, metric label and log text).
//!
//! Invariants: a credential lives no longer than `ttl_max` and than the JWT that asked for it; every answer to a bad token is the
//! same; no token, credential or name is in a metric, and no token or credential in a log. Absent: sockets, the clock, CORS (the
//! proxy's, like every other answer's), and accounts.

mod key;
mod metrics;
mod request;
mod result;
mod service;
mod shapes;
mod token;

#[cfg(test)]
mod tests;

pub use key::{KeyError, PublicKey};
pub use metrics::Metrics;
pub use request::BodyFault;
pub use service::{Head, Pending, Service, Step};
pub use shapes::VENDORS;

use crate::secret::Secret;
use std::net::{Ipv4Addr, SocketAddr};

/// Where the endpoint is, also under each of `proxy.prefixes`.
pub const PATH: &str = "/credentials";
/// Room for a name, a number and a vendor; nothing else is in a body.
pub const BODY_BYTES_MAX: usize = 4 << 10;
/// Keys of one algorithm: each is tried on a token of that algorithm.
pub const KEYS_MAX: usize = 16;

/// `[credentials]`. The endpoint is on when somebody can be let in: with a token or a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bearer tokens; whoever has one may ask for any name.
    pub tokens: Vec<Secret>,
    /// Keys of JWTs, each for one algorithm and no other.
    pub keys: Vec<JwtKey>,
    /// `iss` that a JWT must have.
    pub issuer: Option<String>,
    /// `aud` that a JWT must have. Without it, a JWT with an `aud` is for somebody else (RFC 7519 §4.1.3).
    pub audience: Option<String>,
    /// Of a credential whose request names none.
    pub ttl_s: u32,
    /// A shorter wish gets this.
    pub ttl_min_s: u32,
    /// A longer wish gets this.
    pub ttl_max_s: u32,
    /// Requests of one client address (/32, /56), answered well or not; 0: no limit.
    pub requests_per_s_per_address: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tokens: Vec::new(),
            keys: Vec::new(),
            issuer: None,
            audience: None,
            ttl_s: 8 * 3600,
            ttl_min_s: 60,
            ttl_max_s: 24 * 3600,
            requests_per_s_per_address: 10,
        }
    }
}

impl Settings {
    pub fn is_on(&self) -> bool {
        !self.tokens.is_empty() || !self.keys.is_empty()
    }
}

/// A key and the one algorithm that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwtKey {
    Hs256(Secret),
    Rs256(PublicKey),
    Es256(PublicKey),
}

impl JwtKey {
    /// As `alg` names it (RFC 7518 §3.1).
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Hs256(_) => "HS256",
            Self::Rs256(_) => "RS256",
            Self::Es256(_) => "ES256",
        }
    }
}

/// The TURN server that credentials are for, as clients reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `server.domain`: a name or an address.
    pub domain: String,
    /// An address for SDKs that take no name.
    pub ipv4: Option<Ipv4Addr>,
    pub realm: String,
    /// The first of `turn.auth_secret`.
    pub secret: Secret,
    pub ports: Ports,
    /// `proxy.prefixes`, without a slash at the end.
    pub prefixes: Vec<String>,
}

/// One port for each transport; `None`: there is no listener that browsers would use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    pub udp: Option<u16>,
    pub tcp: Option<u16>,
    pub tls: Option<u16>,
}

impl Ports {
    /// Of several listeners the one with the port that networks let through most often, else the first.
    pub fn of(udp: &[SocketAddr], tcp: &[SocketAddr], tls: &[SocketAddr]) -> Self {
        Self {
            udp: preferred(udp, 3478),
            tcp: preferred(tcp, 3478),
            tls: preferred(tls, 443),
        }
    }
}

fn preferred(listeners: &[SocketAddr], best: u16) -> Option<u16> {
    // libwebrtc refuses TURN on other ports below 1024.
    let usable = |port: &u16| *port >= 1024 || matches!(port, 53 | 80 | 443);
    let ports = listeners.iter().map(SocketAddr::port).filter(usable);
    ports
        .clone()
        .find(|port| *port == best)
        .or(ports.clone().next())
}
