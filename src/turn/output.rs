//! What the core returns: a verdict for each packet, and a queue of replies and orders for the driver.

use crate::addr::{FiveTuple, PeerAddr, RelayedAddr, Transport};
use crate::quality;
use crate::stun::indication::DATA_HEADER_LEN_MAX;
use crate::turn::labels::labels;
use crate::turn::ports::RelayId;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

/// The driver's handle of a listener socket (UDP) or of a connection (TCP, TLS); opaque to the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkId(pub u32);

/// Where a message to a client goes: from `five_tuple.server` to `five_tuple.client`, by `link`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRef {
    pub link: LinkId,
    pub five_tuple: FiveTuple,
}

/// Longest header in front of relayed payload: a Data indication from an IPv6 peer, in bytes.
pub const PREFIX_LEN_MAX: usize = DATA_HEADER_LEN_MAX;

/// The bytes that turn received payload into a message: written in front of it, in place, with `padding`
/// zero bytes after it.
///
/// ChannelData: 4 bytes (RFC 8656 §12.4). Data indication: 36 bytes from an IPv4 peer, 48 from IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    bytes: [u8; PREFIX_LEN_MAX],
    len: u8,
    padding: u8,
}

impl Prefix {
    /// `header` is at most [`PREFIX_LEN_MAX`] long, `padding` 0 to 3.
    pub fn new(header: &[u8], padding: u8) -> Self {
        debug_assert!(header.len() <= PREFIX_LEN_MAX && padding < 4);
        let mut bytes = [0; PREFIX_LEN_MAX];
        bytes[..header.len()].copy_from_slice(header);
        Self {
            bytes,
            len: header.len() as u8,
            padding,
        }
    }

    pub fn header(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Zero bytes that follow the payload: 0 to 3.
    pub fn padding(&self) -> usize {
        usize::from(self.padding)
    }
}

/// What is to be done with one received packet, without copying it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Dealt with; answers, if any, are in `poll_output`.
    Consumed,
    /// Send `bytes[payload]` of what was received from the relay socket to the peer.
    ToPeer {
        relay: RelayId,
        peer: PeerAddr,
        payload: Range<usize>,
        /// Set the DF bit for this datagram (DONT-FRAGMENT in a Send indication, RFC 8656 §11.1).
        dont_fragment: bool,
    },
    /// Send `prefix` + payload + padding to the client.
    ToClient { client: ClientRef, prefix: Prefix },
    /// Counted by the core already; the driver closes a stream on reasons that say so.
    Drop(DropReason),
}

labels! {
    /// Why a packet was dropped: metric label and log text.
    pub enum DropReason {
        /// Neither STUN nor ChannelData.
        Unrecognized = "unrecognized",
        /// STUN or ChannelData by its first bytes, broken inside.
        Malformed = "malformed",
        /// A response, or an indication that is not for a server.
        UnexpectedMessage = "unexpected_message",
        /// A request of a method that this server does not have (RFC 8489 §6.3).
        UnknownMethod = "unknown_method",
        /// An indication with an attribute that must be understood and is not (RFC 8489 §6.3.2).
        UnknownAttribute = "unknown_attribute",
        /// A Send indication or ChannelData from a 5-tuple without allocation.
        NoAllocation = "no_allocation",
        /// ChannelData of a channel that is not bound.
        NoChannel = "no_channel",
        /// No permission for the peer's address, in either direction.
        NoPermission = "no_permission",
        /// The policy denies this peer.
        PeerDenied = "peer_denied",
        /// A Send indication to a peer of a family that the allocation has no relayed address of.
        FamilyMismatch = "family_mismatch",
        /// A datagram to a relayed address that is no allocation's any more.
        NoRelay = "no_relay",
        /// Longer than the message that would carry it can be.
        Oversized = "oversized",
        /// The allocation's bandwidth is used up.
        AllocationBandwidth = "allocation_bandwidth",
        /// The user's bandwidth is used up.
        UserBandwidth = "user_bandwidth",
        /// The server's bandwidth is used up.
        TotalBandwidth = "total_bandwidth",
        /// More unauthenticated requests from one source than are answered.
        UnauthenticatedRate = "unauthenticated_rate",
        /// More failed authentications of one user from one source than are looked at.
        FailedAuthenticationRate = "failed_authentication_rate",
    }
}

impl DropReason {
    /// True where a stream that carried this cannot be trusted to be in step any more.
    pub fn closes_stream(self) -> bool {
        match self {
            Self::Unrecognized => true,
            Self::Malformed
            | Self::UnexpectedMessage
            | Self::UnknownMethod
            | Self::UnknownAttribute
            | Self::NoAllocation
            | Self::NoChannel
            | Self::NoPermission
            | Self::PeerDenied
            | Self::FamilyMismatch
            | Self::NoRelay
            | Self::Oversized
            | Self::AllocationBandwidth
            | Self::UserBandwidth
            | Self::TotalBandwidth
            | Self::UnauthenticatedRate
            | Self::FailedAuthenticationRate => false,
        }
    }
}

/// An ICMP error's type and code, and its 4 bytes of data (the MTU, for example).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp {
    pub kind: u8,
    pub code: u8,
    pub data: u32,
}

labels! {
    /// Why an allocation ended: metric label and log text.
    pub enum EndReason {
        /// The client refreshed it with a lifetime of 0.
        Deleted = "deleted",
        /// Its lifetime ran out.
        Expired = "expired",
        /// The client's TCP or TLS connection closed.
        Disconnected = "disconnected",
        /// An operator ended it.
        Revoked = "revoked",
        /// The server stopped.
        Stopped = "stopped",
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocationStart {
    pub id: u64,
    pub username: String,
    pub five_tuple: FiveTuple,
    /// One or, with ADDITIONAL-ADDRESS-FAMILY, two.
    pub relayed: Vec<RelayedAddr>,
}

/// Everything the log line of an ended allocation says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocationEnd {
    pub id: u64,
    pub username: String,
    pub transport: Transport,
    pub client: SocketAddr,
    pub relayed: Vec<RelayedAddr>,
    /// Relayed payload, without headers.
    pub to_peer_packets: u64,
    pub to_peer_bytes: u64,
    pub to_client_packets: u64,
    pub to_client_bytes: u64,
    pub duration: Duration,
    pub reason: EndReason,
    /// `None` if nothing was measured.
    pub quality: Option<quality::Summary>,
}

/// A bound channel with a permission: what a fast path needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelPath {
    pub client: ClientRef,
    pub relay: RelayId,
    pub channel: u16,
    pub peer: PeerAddr,
}

/// An order for the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send these bytes to the client: a whole STUN message.
    Reply {
        client: ClientRef,
        bytes: Vec<u8>,
    },
    /// Close this relay socket and give its port back.
    CloseRelay(RelayId),
    /// For the log and for `/allocations`.
    Started(Box<AllocationStart>),
    Ended(Box<AllocationEnd>),
    /// A fast path may relay this channel of a UDP client in both directions by itself.
    PathUp(ChannelPath),
    /// It may no longer: the channel, its permission or its allocation ended, or the policy changed.
    PathDown(ChannelPath),
}
