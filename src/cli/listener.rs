//! Where the admin listener of a configuration can be asked.

use crate::config::{Config, Problem, Report};
use std::net::SocketAddr;

/// The address of `admin.listen`; `message` says what cannot be done without one.
pub(super) fn address(config: &Config, message: &str) -> Result<SocketAddr, Report> {
    let problem = |label: &str| {
        let help = "write listen = \"127.0.0.1:9641\" in [admin]";
        Report {
            problems: vec![Problem::error(message, label, help)],
        }
    };
    match config.admin.listen {
        None => Err(problem("`admin.listen` is off")),
        Some(listen) if listen.port() == 0 => Err(problem(
            "`admin.listen` has port 0, which is another one at each start",
        )),
        Some(listen) => Ok(listen),
    }
}
