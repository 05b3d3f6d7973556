//! The TURN server core (RFC 8656, RFC 8489), sans-IO: bytes, addresses and `Now` in, values out.
//!
//! No sockets, no `async`, no clock, no global randomness, no metrics crate. One `Server` belongs to one
//! worker thread; what several workers share is in `Shared`, which is never locked for a relayed packet.

pub mod output;
pub mod ports;
pub mod settings;

pub use output::{
    AllocationEnd, AllocationStart, ClientRef, DropReason, EndReason, Icmp, LinkId, Output, Prefix,
    Verdict,
};
pub use ports::{
    BindError, BindRequest, BoundRelay, PortWish, RelayId, RelayPorts, ReservationToken,
};
pub use settings::{ExternalIps, Limits, RelayAddresses, Settings, UserKey};

use crate::addr::{FiveTuple, PeerAddr};
use crate::entropy::Entropy;
use crate::time::Now;
use std::sync::Arc;
use std::time::Instant;

/// What the servers of all workers share: user and total quotas, nonce keys, the limiter of unauthenticated
/// answers, the set of live relayed ports.
pub struct Shared {}

impl Shared {
    pub fn new(_entropy: &mut dyn Entropy) -> Arc<Self> {
        todo!()
    }
}

/// One worker's TURN server.
pub struct Server {}

impl Server {
    pub fn new(_settings: Arc<Settings>, _shared: Arc<Shared>, _entropy: Box<dyn Entropy>) -> Self {
        todo!()
    }

    /// Takes new settings for what comes; live allocations keep the key that they were made with.
    pub fn set_settings(&mut self, _settings: Arc<Settings>) {
        todo!()
    }

    /// From now on new allocations are refused with 508; everything else goes on.
    pub fn set_draining(&mut self) {
        todo!()
    }

    /// Handles one datagram, or one whole message cut from a stream (ChannelData without its padding).
    ///
    /// `link` is the driver's handle of the socket or connection the bytes came by; it comes back in every
    /// reply. After each call the driver empties `poll_output`.
    pub fn handle_client(
        &mut self,
        _now: Now,
        _from: &FiveTuple,
        _link: LinkId,
        _bytes: &[u8],
        _relays: &mut impl RelayPorts,
    ) -> Verdict {
        todo!()
    }

    /// Handles one datagram that reached a relay socket.
    pub fn handle_peer(
        &mut self,
        _now: Now,
        _relay: RelayId,
        _from: PeerAddr,
        _payload: &[u8],
    ) -> Verdict {
        todo!()
    }

    /// An ICMP error for something that was sent from `relay` to `peer` (RFC 8656 §11.5, §18.13).
    pub fn handle_icmp(&mut self, _now: Now, _relay: RelayId, _peer: PeerAddr, _icmp: Icmp) {
        todo!()
    }

    /// The client's TCP or TLS connection is gone: its allocation is freed at once.
    pub fn handle_closed(&mut self, _now: Now, _client: &FiveTuple) {
        todo!()
    }

    /// Expires what is due. Cheap when nothing is.
    pub fn handle_timeout(&mut self, _now: Now) {
        todo!()
    }

    /// Replies and orders for the driver, in the order in which they arose.
    pub fn poll_output(&mut self) -> Option<Output> {
        todo!()
    }

    /// When `handle_timeout` wants to be called next. O(1).
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// Live allocations of this worker.
    pub fn allocation_count(&self) -> usize {
        todo!()
    }
}
