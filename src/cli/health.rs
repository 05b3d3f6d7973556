//! `relayd health`: whether the server of this configuration lives, for a container's health check.

use super::listener::address;
use super::{CANNOT_START, Ports, load, load_first_try, print, refuse, time_to_live};
use crate::admin::probe::{Question, probe};
use crate::config::{Config, Machine};
use crate::secret::Secret;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

pub(super) const HELP: &str = "\
Asks the address of `admin.listen`, which must have a fixed port. Exit codes: 0 it answers (with --ready: it takes new \
clients), 1 it does not, 64 bad configuration.";

#[derive(Debug, clap::Args)]
pub(super) struct Asked {
    /// Ask whether it takes new clients, which a draining server does not
    #[arg(long)]
    ready: bool,
    /// How long all of it may take
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = time_to_live)]
    timeout: Duration,
}

/// Asks, prints the answer, and turns it into an exit code.
pub(super) fn health(file: Option<&Path>, ports: Ports, asked: &Asked) -> ExitCode {
    let loaded = match file {
        Some(path) => load(path),
        None => load_first_try("of no use here", ports, &Machine::read()),
    };
    let config = match loaded {
        Ok(loaded) => loaded.config,
        Err(report) => return refuse(&report),
    };
    let listen = match address(&config, "nobody can be asked for the server's health") {
        Ok(listen) => listen,
        Err(report) => return refuse(&report),
    };
    let question = Question {
        listen,
        path: if asked.ready { "/readyz" } else { "/healthz" },
        token: token(&config),
        timeout: asked.timeout,
    };
    match probe(&question) {
        Ok(answer) if answer.status == 200 => print(answer.body.trim_end()),
        Ok(answer) => {
            eprintln!(
                "error: status {}: {}",
                answer.status,
                answer.body.trim_end()
            );
            ExitCode::from(CANNOT_START)
        }
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}"));
            eprintln!("error: {error}{}", cause.unwrap_or_default());
            ExitCode::from(CANNOT_START)
        }
    }
}

/// What the admin listener wants to see, if it wants anything.
fn token(config: &Config) -> Option<&Secret> {
    config.admin.token.as_ref()
}
