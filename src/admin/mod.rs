//! The admin listener: health, metrics, and a JSON API to look at the server and to steer it.
//!
//! It answers on a thread of its own, so that a scrape neither waits for media or signalling nor holds them up. `server` takes
//! connections, `guard` says who may ask (a token, or loopback names and no foreign page), `routes` is the table of what there
//! is, `handlers` answer by what [`Control`] offers, `openapi.json` describes all of it and a test holds the two together.
//! `sampler` fills the `history` of the last hours, whether anybody asks or not.
//!
//! Invariants: without a token only a loopback address is served; an answer is bounded, and so are a request, its time and the
//! connections at once. Absent: TLS (a token on a network wants a proxy or a tunnel before it), CORS, keep-alive.

mod access;
mod address;
mod answer;
mod control;
mod counts;
mod guard;
mod handlers;
mod history;
mod paging;
pub mod probe;
mod quality;
mod query;
mod routes;
mod sampler;
mod server;
mod state;
pub mod stats;
#[cfg(test)]
mod tests;

pub use address::AddressFilter;
pub use control::{
    Allocation, AllocationFilter, AllocationList, AllocationQuery, AllocationSort, Asked, Calls,
    Channel, Control, Flow, LogLevel, Permission, Transport, Tunnel, Unavailable,
};
pub use counts::Counts;
pub use history::{Flows, Observed, QualitySums, Sample, SideSums};
pub use paging::{CursorKey, Position};
pub use quality::{
    PacketKinds, Quality, QualityDetails, QualityHistory, QualitySeries, QualitySide,
    QualityStream, RtpTotals,
};
pub use server::{Admin, BindError, Running};
pub use state::{Addresses, AdminState, ReloadRequest, Reloaded};

use crate::secret::Secret;
use std::net::SocketAddr;

/// The description of the API.
pub const OPENAPI: &str = include_str!("openapi.json");

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `None`: off. Without a token loopback only: [`Admin::bind_beside`] refuses any other address.
    pub listen: Option<SocketAddr>,
    /// What every request but those of /healthz and /readyz must bring.
    pub token: Option<Secret>,
    /// Whether /metrics shows the counts under coturn's names, too.
    pub coturn_metrics: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 9641))),
            token: None,
            coturn_metrics: true,
        }
    }
}
