//! One file for each table: what the file says, with places, as the parts' plain settings and defaults.

pub(super) mod acme;
pub(super) mod admin;
pub(super) mod credentials;
pub(super) mod listen;
pub(super) mod log;
pub(super) mod proxy;
pub(super) mod server;
pub(super) mod tls;
pub(super) mod tracing;
pub(super) mod turn;
