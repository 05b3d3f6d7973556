//! The admin listener: `/healthz`, `/readyz`, `/metrics`; on loopback unless configured otherwise.

use std::net::SocketAddr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `None`: off.
    pub listen: Option<SocketAddr>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 9641))),
        }
    }
}
