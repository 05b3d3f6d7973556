//! What the admin listener can ask of the server, and in what words: `app` answers.
//!
//! Counters come as counters, with the moment of the answer beside them (`time`, `uptime_s`): whoever asks twice has a rate.

use super::address::AddressFilter;
use super::history::Sample;
use super::paging::Position;
use super::quality::Quality;
use super::stats::Stats;
use serde::Serialize;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Instant;

/// The part that was asked is stopping or overwhelmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

/// An answer that takes its time.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, Unavailable>> + Send + 'a>>;

/// The running server.
pub trait Control: Send + Sync {
    fn allocations(&self, query: AllocationQuery) -> Asked<'_, AllocationList>;

    /// Ends all that fit; tells how many there were.
    fn end_allocations(&self, filter: AllocationFilter) -> Asked<'_, usize>;

    /// All open tunnels, in no order.
    fn tunnels(&self) -> Vec<Tunnel>;

    /// Ends those of these IDs; tells how many there were.
    fn end_tunnels(&self, ids: &[u64]) -> usize;

    /// The configuration in force, without secrets.
    fn config(&self) -> serde_json::Value;

    fn log_level(&self) -> LogLevel;

    /// Until the next reload or restart. The error says what is accepted.
    fn set_log_level(&self, level: &str) -> Result<(), String>;

    /// Refuses new allocations, or accepts them again.
    fn set_draining(&self, draining: bool);

    fn calls(&self) -> Calls;

    /// The numbers of this moment.
    fn stats(&self) -> Stats;

    /// For the history; asked every few seconds, so it should be cheap.
    fn sample(&self) -> Sample;

    /// When the server started.
    fn started(&self) -> Instant;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    pub const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::Tls];
}

/// What an allocation must have; `None` is anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllocationFilter {
    pub id: Option<u64>,
    pub user: Option<String>,
    pub transport: Option<Transport>,
    pub client: Option<AddressFilter>,
    pub relayed: Option<AddressFilter>,
    pub peer: Option<AddressFilter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocationSort {
    Id,
    Age,
    Lifetime,
    User,
    Client,
    Bytes,
    Packets,
    ToPeerBytes,
    ToClientBytes,
    Trouble,
}

#[derive(Clone, Debug)]
pub struct AllocationQuery {
    pub filter: AllocationFilter,
    pub sort: AllocationSort,
    pub descending: bool,
    /// The last one of the page before.
    pub after: Option<Position>,
    pub limit: usize,
    /// Permissions and channels shown of each.
    pub lists_max: usize,
    /// Whether the quality is shown with its streams and its history.
    pub details: bool,
}

#[derive(Clone, Debug, Default)]
pub struct AllocationList {
    /// In the order asked for, each with its place in it.
    pub rows: Vec<(Position, Allocation)>,
    /// Allocations that fit, whatever the page.
    pub matched: usize,
}

/// One way of an allocation's traffic: relayed payload, without headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Flow {
    pub packets: u64,
    pub bytes: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Allocation {
    pub id: u64,
    pub user: String,
    pub transport: Transport,
    pub client: SocketAddr,
    pub server: SocketAddr,
    /// As bound on this machine.
    pub relayed: Vec<SocketAddr>,
    pub age_s: f64,
    pub lifetime_left_s: f64,
    pub to_peer: Flow,
    pub to_client: Flow,
    pub worker: usize,
    pub permission_count: usize,
    pub permissions: Vec<Permission>,
    pub channel_count: usize,
    pub channels: Vec<Channel>,
    /// `None`: switched off, or nothing that can be measured has passed.
    pub quality: Option<Quality>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Permission {
    pub ip: IpAddr,
    pub lifetime_left_s: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Channel {
    pub number: u16,
    pub peer: SocketAddr,
    pub lifetime_left_s: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Tunnel {
    pub id: u64,
    pub client: SocketAddr,
    pub host: String,
    pub path: String,
    pub age_s: f64,
    pub idle_s: f64,
    pub bytes_to_upstream: u64,
    pub bytes_to_client: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct LogLevel {
    /// In force.
    pub level: String,
    /// What the configuration says, which the next reload puts in force again.
    pub configured: String,
}

/// What a draining server waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Calls {
    pub allocations: usize,
    pub requests: usize,
    pub tunnels: usize,
    pub connections: u32,
}
