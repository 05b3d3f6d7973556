//! TCP and TLS listeners: accept, PROXY protocol, TLS handshake, and the first byte that tells TURN from HTTP.
//!
//! Hands a TURN connection to `io` (as `Accepted`) and an HTTP connection to `proxy`; knows neither.

use ipnet::IpNet;
use std::net::SocketAddr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Plain listeners: TURN, HTTP, and TLS by its ClientHello when a certificate is configured.
    pub tcp: Vec<SocketAddr>,
    pub tls: Vec<SocketAddr>,
    /// Networks whose PROXY v1/v2 header is believed, and then required.
    pub proxy_protocol_from: Vec<IpNet>,
    /// From accept to the end of the TLS handshake, PROXY header included, in seconds.
    pub handshake_timeout_s: u64,
    /// From there to the first byte, in seconds.
    pub first_byte_timeout_s: u64,
    /// Connections of one client address (/32, /56) at once; 0: no limit.
    pub connections_per_address: u32,
    /// Connections of one client address that have not shown what they are yet.
    pub pending_per_address: u32,
    /// Connections at once; 0: what the open-files limit allows.
    pub connections_total: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tcp: Vec::new(),
            tls: Vec::new(),
            proxy_protocol_from: Vec::new(),
            handshake_timeout_s: 10,
            first_byte_timeout_s: 10,
            connections_per_address: 4096,
            pending_per_address: 256,
            connections_total: 0,
        }
    }
}
