//! The admin listener: `/healthz`, `/readyz`, `/metrics`, `/version`, `POST /reload`; on loopback only.
//!
//! It answers on a thread of its own, so that a scrape neither waits for media or signalling nor holds them up. Nothing
//! here is secret on the machine itself, and a reload reads the file that its owner wrote; without authentication it is not for a
//! network, so any other address than a loopback one is refused. Absent: TLS, keep-alive (one request a connection, all
//! of it within 10 s).

pub mod probe;
mod server;
mod state;
#[cfg(test)]
mod tests;

pub use server::{Admin, BindError, Running};
pub use state::{Addresses, AdminState, ReloadRequest, Reloaded};

use std::net::SocketAddr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `None`: off. Loopback only: there is no authentication, so [`Admin::bind`] refuses any other address.
    pub listen: Option<SocketAddr>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 9641))),
        }
    }
}
