//! TCP and TLS listeners: accept, PROXY protocol, TLS handshake, and the first byte that tells TURN from HTTP.
//!
//! Hands a TURN connection to `io` (as `Accepted`) and an HTTP connection to `proxy`; knows neither.
//!
//! What holds: no byte of a client is consumed before its protocol is known (the first byte is peeked at), so nothing
//! can be lost on the way; a connection that has not shown what it is lives no longer than its deadlines; every
//! connection is counted from accept until its guard is dropped, whoever owns it by then; every connection that is
//! closed here is closed for one [`Reason`], which is the metric label and the log text.
//!
//! Absent: TLS inside TLS is not unwrapped again; nothing is ever answered in plain text.

mod accept;
mod accepting;
mod bind;
mod demux;
mod handshake;
mod limits;
mod metrics;
pub mod proxy_protocol;
mod stream;
#[cfg(test)]
mod tests;

pub use accepting::{Change, run};
pub use bind::{Asked, BindError, Bound, Listeners, Port, ThreadListeners, addresses};
pub use limits::{ConnectionGuard, Shared};
pub use metrics::{Metrics, Reason};
pub use stream::HttpStream;

use crate::accepted::Accepted;
use crate::tls;
use arc_swap::ArcSwapOption;
use ipnet::IpNet;
use std::net::SocketAddr;
use std::sync::Arc;

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
    /// Connections of one client address that have not shown what they are yet; 0: no limit.
    pub pending_per_address: u32,
    /// Connections at once; 0: what the open-files limit allows (`app` works it out; here it is no limit).
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

/// Who takes over a connection once its protocol is known. Both are called on the accepting thread and must not block.
pub trait Handler {
    /// Takes a TURN connection; typically sends it to a media worker.
    fn turn(&self, accepted: Accepted);

    /// Takes an HTTP connection; typically spawns it on the same thread.
    fn http(&self, stream: HttpStream, info: ConnectionInfo);
}

/// What is known about an HTTP connection before its first request.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// From the PROXY header where there is one.
    pub client: SocketAddr,
    /// The address that the client asked, also on a wildcard listener.
    pub server: SocketAddr,
    pub tls: bool,
    /// ALPN chose `h2`. HTTP/2 with prior knowledge is not told apart here: it begins with a letter, like HTTP/1.1.
    pub h2: bool,
    /// Server name of the TLS handshake, lower case.
    pub sni: Option<String>,
    /// Counts the connection against its limits until it is dropped.
    pub guard: ConnectionGuard,
}

/// The certificate that handshakes show, for all threads; empty while TLS is switched off.
pub type Tls = Arc<ArcSwapOption<tls::Store>>;
