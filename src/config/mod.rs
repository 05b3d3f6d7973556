//! The only code that knows TOML: a file becomes a `Config`, or all of its problems at once.
//!
//! `section` walks the parsed file and takes note of what is wrong, `read` has one file for each table, `values`
//! and `hosts` turn text into values, `cross` looks at several keys together, `warn` at what will surprise its
//! owner. Secrets leave here as `Secret` only: no report, no `Debug` and no log shows one.
//!
//! A key is added in its `read` file and in `config/relay.toml`; a test fails until both have it.

mod cross;
mod entries;
mod hosts;
mod machine;
mod nearest;
mod read;
pub mod report;
mod secrets;
mod section;
mod shown;
mod source;
mod syntax;
#[cfg(test)]
mod tests;
mod values;
mod warn;

pub use entries::{KeyChange, changes, keep_restart_only};
pub use machine::Machine;
pub use nearest::nearest;
pub use report::{Place, Problem, Report, Severity};
pub use shown::{Origin, Shown, ShownValue};
pub use values::{show_duration, show_size};

use crate::{acme, admin, credentials, io, listen, proxy, telemetry, tls, turn};
use section::{Reader, Table};
use source::Source;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use toml::de::DeTable;

/// The commented reference: every key with its default, unit and reason.
pub const REFERENCE: &str = include_str!("../../config/relay.toml");
/// What relayd runs without a file.
const FIRST_TRY: &str = include_str!("../../config/first-try.toml");
/// A larger file is not a configuration.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A whole valid configuration; each part gets its own settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// `server.domain`: what clients call this server.
    pub domain: String,
    /// `server.drain_timeout`.
    pub drain_timeout: Duration,
    /// `server.upgrade_timeout`.
    pub upgrade_timeout: Duration,
    /// `server.upgrade_drain_timeout`.
    pub upgrade_drain_timeout: Duration,
    /// STUN servers to ask for the external address before anything is bound, `host:port`, in this order.
    /// Empty unless `server.external_ip` has "auto"; what they say goes to `turn.external_ips.plain`.
    pub external_ip_stun: Vec<String>,
    /// `proxy.test_page`: `/` on the TLS port serves the built-in page.
    pub test_page: bool,
    /// `proxy.vendors`: the presets that `proxy.allow` and `proxy.routes` hold already.
    pub vendors: Vec<String>,
    pub tls: Option<tls::Settings>,
    /// `tls.acme`, if certificates come from there.
    pub acme: Option<acme::Settings>,
    /// `listeners` are the configured ones: after binding, the bound ones are to be put there.
    pub turn: turn::Settings,
    pub io: io::Settings,
    pub listen: listen::Settings,
    pub proxy: proxy::Settings,
    /// Off unless it names somebody who may ask.
    pub credentials: credentials::Settings,
    pub admin: admin::Settings,
    pub log: telemetry::Settings,
    /// The same as it is shown to the operator.
    pub shown: Shown,
}

/// A usable configuration and what is questionable about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Problem>,
}

/// What a configuration refers to outside its file.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Relative paths start here.
    pub base_dir: &'a Path,
    /// Environment variables, for `env:NAME`.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    pub machine: &'a Machine,
}

/// Reads and resolves a configuration file on this machine.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Report> {
    let name = path.display().to_string();
    let text = read_file(path, &name)?;
    let machine = Machine::read();
    let around = Surroundings {
        base_dir: path.parent().unwrap_or(Path::new("")),
        env,
        machine: &machine,
    };
    let (mut loaded, has_secrets) = resolve(&text, &name, &around)?;
    let world_readable = || std::fs::metadata(path).is_ok_and(|m| secrets::is_world_readable(&m));
    if has_secrets && world_readable() {
        loaded.warnings.push(Problem::warning(
            format!("{name} holds secrets, and everybody on this machine may read it"),
            "passwords and shared secrets are in the file itself",
            format!("chmod 640 {name}, or move the secrets to \"file:PATH\" or \"env:NAME\""),
        ));
    }
    Ok(loaded)
}

/// Resolves the text of a configuration; `file` is its name in reports.
pub fn parse(text: &str, file: &str, around: &Surroundings<'_>) -> Result<Loaded, Report> {
    resolve(text, file, around).map(|(loaded, _)| loaded)
}

/// What `first_try` is told: the rest is in `config/first-try.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstTryPorts {
    /// TURN over UDP and TCP.
    pub turn: u16,
    /// TLS: TURN, HTTPS and WSS.
    pub tls: u16,
    /// Health and metrics, on loopback.
    pub admin: u16,
}

impl Default for FirstTryPorts {
    fn default() -> Self {
        Self {
            turn: 3478,
            tls: 8443,
            admin: 9641,
        }
    }
}

/// The user that `first_try` makes.
pub const FIRST_TRY_USER: &str = "demo";

/// The configuration without a file: unprivileged ports on all addresses, a self-signed certificate, one user
/// with this password, the vendors' hosts allowed, the test page on. It goes the way of every other file.
pub fn first_try(
    password: &str,
    ports: FirstTryPorts,
    machine: &Machine,
) -> Result<Loaded, Report> {
    let text = FIRST_TRY
        .replace("@TURN_PORT@", &ports.turn.to_string())
        .replace("@TLS_PORT@", &ports.tls.to_string())
        .replace("@ADMIN_PORT@", &ports.admin.to_string());
    let env = |name: &str| (name == "FIRST_TRY_PASSWORD").then(|| password.to_owned());
    let around = Surroundings {
        base_dir: Path::new(""),
        env: &env,
        machine,
    };
    let mut loaded = parse(&text, "first-try.toml", &around)?;
    // Nobody can change the embedded file: only what concerns the machine is worth a line.
    loaded.warnings.retain(|warning| warning.file.is_none());
    Ok(loaded)
}

/// A duration as a file would write it; the error says what is accepted.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    values::parse_duration(text).map_err(|wrong| wrong.label)
}

/// A host name in lower case; the error says what is accepted.
pub fn parse_host(text: &str) -> Result<String, String> {
    hosts::parse_host(text).map_err(|wrong| wrong.label)
}

fn read_file(path: &Path, name: &str) -> Result<String, Report> {
    let refuse = |message: String, label: String, help: &str| {
        Err(Report::of_file(name, message, label, help))
    };
    let start = "`relayd default-config > relay.toml` writes one to start from";
    let unreadable = |error: std::io::Error| {
        refuse(
            format!("cannot read {name}"),
            secrets::reason(&error),
            start,
        )
    };
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return unreadable(error),
    };
    if metadata.is_dir() {
        let label = "it is a directory".to_owned();
        return refuse(format!("cannot read {name}"), label, "name a file");
    }
    if metadata.len() > FILE_BYTES_MAX {
        let label = format!("accepted: {} at most", show_size(FILE_BYTES_MAX));
        return refuse(
            format!("{name} is too large"),
            label,
            "name a configuration file",
        );
    }
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return unreadable(error),
    };
    String::from_utf8(bytes).or_else(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..valid).unwrap_or_default();
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        refuse(
            format!("{name} is not UTF-8 text"),
            format!("the first other byte is in line {line}"),
            "save the file as UTF-8",
        )
    })
}

/// Also tells whether the text itself holds secrets.
fn resolve(text: &str, file: &str, around: &Surroundings<'_>) -> Result<(Loaded, bool), Report> {
    let source = Source::new(text);
    let repaired = syntax::Repaired::new(text);
    let (document, _) = DeTable::parse_recoverable(&repaired.text);
    let reader = Reader::default();
    let parts = Parts::read(&Table::root(&reader, document.get_ref()), around);
    if repaired.is_sound() {
        cross::check(&reader, &parts);
        warn::about_file(&reader, &parts, around.machine);
        if !reader.has_errors() {
            warn::about_certificate(&reader, &parts, around.machine);
        }
    } else {
        repaired.note(&reader, &source);
    }
    let failed = reader.has_errors();
    let has_secrets = reader.has_masks();
    let shown = shown::of(file, document.get_ref(), &reader.known(), &reader.masks());
    let mut problems = reader.problems(file, &source);
    if failed {
        return Err(Report { problems });
    }
    let mut config = parts.into_config(around.machine);
    config.shown = shown;
    problems.extend(warn::about_machine(&config, around.machine));
    let loaded = Loaded {
        config,
        warnings: problems,
    };
    Ok((loaded, has_secrets))
}

/// Every table of the file as it was read, with the places that checks across tables need.
struct Parts {
    server: read::server::Server,
    listen: read::listen::Listen,
    tls: read::tls::Tls,
    turn: read::turn::Turn,
    proxy: read::proxy::Proxy,
    credentials: read::credentials::Credentials,
    admin: read::admin::Admin,
    log: telemetry::Settings,
}

impl Parts {
    fn read(root: &Table<'_>, around: &Surroundings<'_>) -> Self {
        let server = read::server::read(&root.table("server"), around);
        let tls = read::tls::read(&root.table("tls"), &server.domain, around);
        Self {
            server,
            listen: read::listen::read(&root.table("listen")),
            tls,
            turn: read::turn::read(&root.table("turn"), around),
            proxy: read::proxy::read(&root.table("proxy"), around),
            credentials: read::credentials::read(&root.table("credentials"), around),
            admin: read::admin::read(&root.table("admin"), around),
            log: read::log::read(&root.table("log"), around),
        }
    }

    /// TCP and TLS listeners.
    fn stream_listeners(&self) -> impl Iterator<Item = SocketAddr> {
        let (tcp, tls) = (&self.listen.settings.tcp, &self.listen.settings.tls);
        tcp.iter().chain(tls).copied()
    }

    fn into_config(self, machine: &Machine) -> Config {
        let udp = read::listen::plain(&self.listen.udp);
        let domain = self.server.domain.value.clone();
        let listeners: Vec<SocketAddr> =
            udp.iter().copied().chain(self.stream_listeners()).collect();
        let mut proxy = self.proxy.settings.clone();
        if proxy.public_names.is_empty() {
            proxy.public_names =
                read::proxy::default_public_names(&domain, self.stream_listeners());
        }
        let turn = self.turn;
        let settings = turn::Settings {
            realm: turn
                .realm
                .map_or_else(|| domain.clone(), |realm| realm.value),
            software: turn.software,
            users: turn.users,
            auth_secrets: turn.auth_secrets,
            default_lifetime_s: turn.default_lifetime_s.value,
            max_lifetime_s: turn.max_lifetime_s.value,
            nonce_lifetime_s: turn.nonce_lifetime_s,
            relay_addresses: turn::RelayAddresses {
                fixed: turn.relay_ips.iter().map(|ip| ip.value).collect(),
                fallback: machine.relay_fallback(),
            },
            external_ips: self.server.external_ips,
            peers: turn.peers,
            listeners,
            limits: turn.limits,
            call_quality: turn.call_quality,
        };
        Config {
            domain,
            drain_timeout: self.server.drain_timeout,
            upgrade_timeout: self.server.upgrade_timeout,
            upgrade_drain_timeout: self.server.upgrade_drain_timeout,
            external_ip_stun: self.server.external_ip_stun,
            test_page: self.proxy.test_page,
            vendors: self.proxy.vendors,
            tls: self.tls.settings,
            acme: self.tls.acme.settings,
            turn: settings,
            io: io::Settings {
                workers: self.server.workers,
                udp,
                relay_ports: turn.relay_ports.value,
                listener_buffer_bytes: self.listen.listener_buffer_bytes,
                relay_buffer_bytes: turn.relay_buffer_bytes,
                stream_queue_bytes_max: turn.stream_queue_bytes_max,
                stream_idle_s: self.listen.stream_idle_s,
                // Completed by `app`, which knows the open-files limit.
                ..io::Settings::default()
            },
            listen: self.listen.settings,
            proxy,
            credentials: self.credentials.settings,
            admin: admin::Settings {
                listen: self.admin.listen.map(|addr| addr.value),
                token: self.admin.token,
                coturn_metrics: self.admin.coturn_metrics,
            },
            log: self.log,
            shown: Shown::default(),
        }
    }
}
