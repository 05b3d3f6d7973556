//! What one server has counted: plain integers in arrays, indexed by closed enums. No metrics crate here.

use crate::addr::Transport;
use crate::quality;
use crate::turn::labels::labels;
use crate::turn::output::{DropReason, EndReason};

labels! {
    /// Requests by method (RFC 8656 §17, RFC 6062 §6.1).
    pub enum Method {
        Binding = "binding",
        Allocate = "allocate",
        Refresh = "refresh",
        CreatePermission = "create_permission",
        ChannelBind = "channel_bind",
        Connect = "connect",
        ConnectionBind = "connection_bind",
    }
}

impl Method {
    pub fn of(wire: u16) -> Option<Self> {
        match wire {
            0x001 => Some(Self::Binding),
            0x003 => Some(Self::Allocate),
            0x004 => Some(Self::Refresh),
            0x008 => Some(Self::CreatePermission),
            0x009 => Some(Self::ChannelBind),
            0x00a => Some(Self::Connect),
            0x00b => Some(Self::ConnectionBind),
            _ => None,
        }
    }
}

labels! {
    /// How a request was answered: with success, or with an error code.
    pub enum Answer {
        Success = "success",
        BadRequest = "400",
        Unauthorized = "401",
        Forbidden = "403",
        UnknownAttribute = "420",
        AllocationMismatch = "437",
        StaleNonce = "438",
        FamilyUnsupported = "440",
        WrongCredentials = "441",
        TransportUnsupported = "442",
        FamilyMismatch = "443",
        QuotaReached = "486",
        InsufficientCapacity = "508",
    }
}

impl Answer {
    /// The code in ERROR-CODE (RFC 8656 §19); `None` for success.
    pub fn code(self) -> Option<u16> {
        match self {
            Self::Success => None,
            Self::BadRequest => Some(400),
            Self::Unauthorized => Some(401),
            Self::Forbidden => Some(403),
            Self::UnknownAttribute => Some(420),
            Self::AllocationMismatch => Some(437),
            Self::StaleNonce => Some(438),
            Self::FamilyUnsupported => Some(440),
            Self::WrongCredentials => Some(441),
            Self::TransportUnsupported => Some(442),
            Self::FamilyMismatch => Some(443),
            Self::QuotaReached => Some(486),
            Self::InsufficientCapacity => Some(508),
        }
    }

    /// The reason phrase in ERROR-CODE. Empty where a stranger gets it, to keep that answer small.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Success | Self::Unauthorized | Self::StaleNonce => "",
            Self::BadRequest => "Bad Request",
            Self::Forbidden => "Forbidden",
            Self::UnknownAttribute => "Unknown Attribute",
            Self::AllocationMismatch => "Allocation Mismatch",
            Self::FamilyUnsupported => "Address Family not Supported",
            Self::WrongCredentials => "Wrong Credentials",
            Self::TransportUnsupported => "Unsupported Transport Protocol",
            Self::FamilyMismatch => "Peer Address Family Mismatch",
            Self::QuotaReached => "Allocation Quota Reached",
            Self::InsufficientCapacity => "Insufficient Capacity",
        }
    }
}

/// Relayed payload, without headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub to_peer_packets: u64,
    pub to_peer_bytes: u64,
    pub to_client_packets: u64,
    pub to_client_bytes: u64,
}

impl Traffic {
    pub fn add(&mut self, other: Self) {
        self.to_peer_packets += other.to_peer_packets;
        self.to_peer_bytes += other.to_peer_bytes;
        self.to_client_packets += other.to_client_packets;
        self.to_client_bytes += other.to_client_bytes;
    }

    pub(super) fn count_to_peer(&mut self, bytes: usize) {
        self.to_peer_packets += 1;
        self.to_peer_bytes += bytes as u64;
    }

    pub(super) fn count_to_client(&mut self, bytes: usize) {
        self.to_client_packets += 1;
        self.to_client_bytes += bytes as u64;
    }
}

/// Everything that one server has counted since its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    requests: [[u64; Answer::ALL.len()]; Method::ALL.len()],
    drops: [u64; DropReason::ALL.len()],
    ended: [u64; EndReason::ALL.len()],
    /// Allocations made.
    pub started: u64,
    /// Live allocations by transport, in the order of `Transport::ALL`.
    live: [u64; Transport::ALL.len()],
    /// What the allocations that have ended had relayed.
    pub ended_traffic: Traffic,
    /// By the client's transport, in the order of `Transport::ALL`.
    traffic: [Traffic; Transport::ALL.len()],
    /// Indications to clients about ICMP errors (RFC 8656 §11.5).
    pub icmp_indications: u64,
    /// What the calls' quality was measured to be.
    pub quality: quality::Counts,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            requests: [[0; Answer::ALL.len()]; Method::ALL.len()],
            drops: [0; DropReason::ALL.len()],
            ended: [0; EndReason::ALL.len()],
            started: 0,
            live: [0; Transport::ALL.len()],
            ended_traffic: Traffic::default(),
            traffic: [Traffic::default(); Transport::ALL.len()],
            icmp_indications: 0,
            quality: quality::Counts::default(),
        }
    }
}

impl Counters {
    /// Requests of one method that got one answer.
    pub fn requests(&self, method: Method, answer: Answer) -> u64 {
        self.requests[method.index()][answer.index()]
    }

    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason.index()]
    }

    /// Allocations that ended for one reason.
    pub fn ended(&self, reason: EndReason) -> u64 {
        self.ended[reason.index()]
    }

    /// Live allocations that are reached over a transport.
    pub fn live(&self, transport: Transport) -> u64 {
        self.live[transport.index()]
    }

    /// Relayed for clients that are reached over a transport.
    pub fn traffic_by(&self, transport: Transport) -> Traffic {
        self.traffic[transport.index()]
    }

    /// Relayed for all clients.
    pub fn traffic(&self) -> Traffic {
        let mut total = Traffic::default();
        self.traffic.iter().for_each(|part| total.add(*part));
        total
    }

    /// Requests of every method, and of them those with an answer that `which` takes.
    pub fn requests_with(&self, which: impl Fn(Answer) -> bool) -> u64 {
        let counted = Answer::ALL.into_iter().filter(|answer| which(*answer));
        let of_answer = |answer| Method::ALL.map(|method| self.requests(method, answer));
        counted.flat_map(of_answer).sum()
    }

    pub(super) fn count_to_peer(&mut self, transport: Transport, bytes: usize) {
        self.traffic[transport.index()].count_to_peer(bytes);
    }

    pub(super) fn count_to_client(&mut self, transport: Transport, bytes: usize) {
        self.traffic[transport.index()].count_to_client(bytes);
    }

    pub(super) fn count_start(&mut self, transport: Transport) {
        self.started += 1;
        self.live[transport.index()] += 1;
    }

    pub(super) fn count_request(&mut self, method: Method, answer: Answer) {
        self.requests[method.index()][answer.index()] += 1;
    }

    pub(super) fn count_drop(&mut self, reason: DropReason) {
        self.drops[reason.index()] += 1;
    }

    pub(super) fn count_end(&mut self, reason: EndReason, transport: Transport, had: Traffic) {
        self.ended[reason.index()] += 1;
        self.live[transport.index()] -= 1;
        self.ended_traffic.add(had);
    }
}
