//! The only code that knows TOML: a file becomes `Config`, or all of its problems.

use crate::{admin, io, listen, proxy, telemetry, tls, turn};
use std::time::Duration;

/// A whole valid configuration; each part gets its own settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// `server.domain`: what clients call this server.
    pub domain: String,
    /// `server.drain_timeout`.
    pub drain_timeout: Duration,
    /// `proxy.test_page`: `/` on the TLS port serves the built-in page.
    pub test_page: bool,
    pub tls: Option<tls::Settings>,
    pub turn: turn::Settings,
    pub io: io::Settings,
    pub listen: listen::Settings,
    pub proxy: proxy::Settings,
    pub admin: admin::Settings,
    pub log: telemetry::Settings,
}
