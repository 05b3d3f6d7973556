//! Drivers of the TURN core: one worker thread per core with its own UDP listeners, relay sockets and streams.
//!
//! `media` is the face to the rest of relayd; `worker` is the loop. Between a packet in and a packet out there
//! is no lock and no allocation; a payload is copied only if it came in a merged run (`merged`) or crosses to another
//! worker (`crossing`). What the workers share (`ports`, `inbox`) is cold.

mod arena;
mod burst;
pub mod census;
mod coturn;
mod crossing;
mod datagrams;
mod groups;
mod handover;
mod inbox;
mod listener;
mod listeners;
mod local;
mod media;
mod merged;
mod metrics;
mod neighbours;
mod outbox;
mod pace;
mod port_metrics;
mod ports;
mod relay;
mod runs;
mod stream;
mod streams;
mod tick;
mod token;
mod traced;
mod worker;
mod write_queue;

#[cfg(test)]
mod tests;

pub use coturn::CoturnMetrics;
pub use groups::{Orders, Plan};
pub use handover::OfferedSocket;
pub use media::{Media, MediaHandle, OfferedReservation};
pub use metrics::{Metrics, WorkerNumbers};
pub use port_metrics::PortMetrics;
pub use ports::PortUse;

use crate::sys::holder::Holder;
use std::net::SocketAddr;

/// Settings of the media plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Worker threads; at least 1.
    pub workers: usize,
    /// UDP listeners; every worker binds each of them with SO_REUSEPORT.
    pub udp: Vec<SocketAddr>,
    /// Relayed ports, first and last.
    pub relay_ports: (u16, u16),
    /// Relay sockets at once, reserved ones included: a dual allocation has two. `app` sets what the open-files
    /// limit allows, so that the last descriptors are left for connections.
    pub relay_sockets_max: usize,
    /// SO_RCVBUF and SO_SNDBUF of a UDP listener, in bytes.
    pub listener_buffer_bytes: usize,
    /// SO_RCVBUF and SO_SNDBUF of a relay socket, in bytes; 0: the system's default.
    pub relay_buffer_bytes: usize,
    /// Bytes that may wait for one slow TCP or TLS client before its oldest media is dropped.
    pub stream_queue_bytes_max: usize,
    /// How long a connection may be without an allocation, in seconds.
    pub stream_idle_s: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: 1,
            udp: Vec::new(),
            relay_ports: (49152, 65535),
            relay_sockets_max: usize::MAX,
            listener_buffer_bytes: 4 << 20,
            relay_buffer_bytes: 0,
            stream_queue_bytes_max: 256 << 10,
            stream_idle_s: 60,
        }
    }
}

/// Why the media plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot listen on udp {addr}: already used by {holder}")]
    UdpInUse { addr: SocketAddr, holder: Holder },
    #[error("cannot listen on udp {addr}")]
    Udp {
        addr: SocketAddr,
        source: std::io::Error,
    },
    #[error("cannot listen on udp {addr}: its last socket is just being closed; try again")]
    Closing { addr: SocketAddr },
    /// epoll or eventfd.
    #[error("cannot set up worker {worker}")]
    Worker {
        worker: usize,
        source: std::io::Error,
    },
}
