//! `relayd check`: what a configuration would do on this machine, as a value. Pure; `text` shows it.
//!
//! Users and secrets are counted, never named; there is no secret in any of these types.

mod text;

use crate::acme;
use crate::addr::Family;
use crate::config::{Config, Loaded, Machine, Problem, Report, show_duration, show_size};
use crate::credentials::{self, JwtKey};
use crate::proxy::allowlist::lines;
use crate::spans;
use crate::sys::limits;
use crate::tls::{self, CertificateSource, Inspection};
use crate::turn;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Everything that `relayd check` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The file as it was named, or what stands for it.
    pub source: String,
    /// True if relayd would start.
    pub ok: bool,
    pub problems: Vec<Problem>,
    /// `None` where there are errors.
    pub plan: Option<Plan>,
    pub peers: Vec<PeerVerdict>,
}

/// What the server would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    pub domain: String,
    pub listeners: Vec<Listener>,
    pub proxy_protocol_from: Vec<String>,
    pub certificate: Option<Certificate>,
    /// Whom relayd asks for certificates itself; `None`: nobody.
    pub acme: Option<Authority>,
    pub relay: Relay,
    pub credentials: Credentials,
    /// `POST /credentials`; `None`: off.
    pub endpoint: Option<Endpoint>,
    pub peers: Networks,
    pub limits: BTreeMap<&'static str, String>,
    pub proxy: Proxy,
    pub admin: Option<SocketAddr>,
    pub workers: usize,
    pub drain_timeout: String,
    /// Where spans go, if they are on.
    pub tracing: Option<Tracing>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listener {
    pub transport: &'static str,
    pub address: SocketAddr,
    pub serves: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificate {
    pub self_signed: bool,
    /// The file; `None` for one that is made at start.
    pub file: Option<String>,
    pub names: Vec<String>,
    /// In seconds since 1970.
    pub not_after: i64,
    pub expires: String,
    pub days_left: i64,
}

/// What is asked of a certificate authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Authority {
    pub directory: String,
    pub names: Vec<String>,
    pub contact: Vec<String>,
    pub external_account: bool,
    pub profile: Option<String>,
    /// Listeners that its validation can come to.
    pub validated_on: Vec<SocketAddr>,
    pub folder: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Relay {
    pub addresses: Vec<RelayAddress>,
    /// STUN servers that are asked at start for the external address.
    pub ask: Vec<String>,
    pub ports: (u16, u16),
    pub allocations: Capacity,
    pub lifetime_default_s: u32,
    pub lifetime_max_s: u32,
}

/// One own address to relay from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RelayAddress {
    pub own: IpAddr,
    /// As clients are told it.
    pub external: IpAddr,
    /// Used for clients that reach this address; else for every client of its family.
    pub if_reached: bool,
}

/// How many allocations can live at once, and what decides it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capacity {
    pub max: u64,
    pub by_ports: u64,
    /// `None` where the open-files limit is not known.
    pub by_open_files: Option<u64>,
    pub open_files: Option<u64>,
    /// `turn.limits.allocations_total`, if set.
    pub by_setting: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Credentials {
    pub realm: String,
    pub users: usize,
    pub secrets: usize,
}

/// The endpoint that gives credentials to web applications.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    pub path: &'static str,
    pub tokens: usize,
    /// One for each key.
    pub jwt_algorithms: Vec<&'static str>,
    pub ttl_s: u32,
    pub ttl_min_s: u32,
    pub ttl_max_s: u32,
    pub requests_per_s_per_address: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Networks {
    pub allow: Vec<String>,
    pub deny: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proxy {
    pub vendors: Vec<String>,
    /// Host rules with their ports: `*.example.com`, `host:8443`, `*.example.org:443,4700-5000`.
    pub hosts: Vec<String>,
    /// Never reached, whatever else is said here.
    pub denied_hosts: Vec<String>,
    /// What Agora's paths may name in their query.
    pub agora_hosts: Vec<String>,
    /// What TRTC's unified proxy may name.
    pub trtc_signal_hosts: Vec<String>,
    /// Prefix and upstream.
    pub routes: Vec<(String, String)>,
    pub prefixes: Vec<String>,
    pub cors_origins: Vec<String>,
    pub trusted_proxies: Vec<String>,
    pub public_names: Vec<String>,
    /// `name:port`, address.
    pub resolve: Vec<(String, SocketAddr)>,
    pub addresses: Networks,
    pub test_page: bool,
}

/// Spans for OpenTelemetry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tracing {
    pub endpoint: String,
    pub sample_ratio: f64,
    /// Upstreams get `traceparent`.
    pub propagate: bool,
}

/// The verdict on one `--peer`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerVerdict {
    pub peer: String,
    pub allowed: bool,
    pub rule: String,
}

impl Outcome {
    /// Judges what was read; the certificate is looked at on the way.
    pub fn new(
        source: String,
        loaded: Result<Loaded, Report>,
        machine: &Machine,
        peers: &[Peer],
    ) -> Self {
        match loaded {
            Ok(Loaded { config, warnings }) => {
                let judge = |peer: &Peer| judge_peer(&config.turn, *peer);
                Self {
                    source,
                    ok: true,
                    problems: warnings,
                    plan: Some(Plan::of(&config, machine)),
                    peers: peers.iter().map(judge).collect(),
                }
            }
            Err(Report { problems }) => Self {
                source,
                ok: false,
                problems,
                plan: None,
                peers: Vec::new(),
            },
        }
    }
}

impl Plan {
    fn of(config: &Config, machine: &Machine) -> Self {
        let inspect = |settings| tls::inspect(settings, &config.domain, machine.unix_s).ok();
        let inspection = config.tls.as_ref().and_then(inspect);
        Self::new(config, machine, inspection.as_ref())
    }

    /// `inspection` is what the certificate says, where there is one.
    pub fn new(config: &Config, machine: &Machine, inspection: Option<&Inspection>) -> Self {
        Self {
            domain: config.domain.clone(),
            listeners: listeners(config),
            proxy_protocol_from: texts(&config.listen.proxy_protocol_from),
            certificate: inspection.and_then(|i| certificate(config, i, machine.unix_s)),
            acme: config.acme.as_ref().map(|acme| authority(config, acme)),
            relay: relay(config, machine),
            credentials: Credentials {
                realm: config.turn.realm.clone(),
                users: config.turn.users.len(),
                secrets: config.turn.auth_secrets.len(),
            },
            endpoint: endpoint(&config.credentials),
            peers: Networks {
                allow: texts(&config.turn.peers.allow),
                deny: texts(&config.turn.peers.deny),
            },
            limits: rates(&config.turn.limits),
            proxy: proxy(config),
            admin: config.admin.listen,
            workers: config.io.workers,
            drain_timeout: show_duration(config.drain_timeout),
            tracing: tracing(&config.spans),
        }
    }
}

fn tracing(settings: &spans::Settings) -> Option<Tracing> {
    let endpoint = settings.endpoint.as_ref()?;
    Some(Tracing {
        endpoint: endpoint.to_string(),
        sample_ratio: settings.sample_ratio,
        propagate: settings.propagate,
    })
}

fn endpoint(settings: &credentials::Settings) -> Option<Endpoint> {
    settings.is_on().then(|| Endpoint {
        path: credentials::PATH,
        tokens: settings.tokens.len(),
        jwt_algorithms: settings.keys.iter().map(JwtKey::algorithm).collect(),
        ttl_s: settings.ttl_s,
        ttl_min_s: settings.ttl_min_s,
        ttl_max_s: settings.ttl_max_s,
        requests_per_s_per_address: settings.requests_per_s_per_address,
    })
}

/// Judges a peer given as an address, with or without a port, the way the running server would.
pub fn judge_peer(settings: &turn::Settings, peer: Peer) -> PeerVerdict {
    let is_listener = |port: u16| settings.listeners.iter().any(|addr| addr.port() == port);
    let any_port = || (49152..=u16::MAX).find(|port| !is_listener(*port));
    let port = peer.port.or_else(any_port).unwrap_or(u16::MAX);
    let (allowed, rule) = turn::policy::explain(settings, SocketAddr::new(peer.ip, port));
    PeerVerdict {
        peer: match peer.port {
            Some(port) => SocketAddr::new(peer.ip, port).to_string(),
            None => peer.ip.to_string(),
        },
        allowed,
        rule,
    }
}

/// `ADDRESS[:PORT]` as the command line has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub ip: IpAddr,
    /// `None`: the address alone is judged.
    pub port: Option<u16>,
}

impl std::str::FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return Ok(Self {
                ip: addr.ip(),
                port: Some(addr.port()),
            });
        }
        let bare = text
            .strip_prefix('[')
            .and_then(|t| t.strip_suffix(']'))
            .unwrap_or(text);
        match bare.parse() {
            Ok(ip) => Ok(Self { ip, port: None }),
            Err(_) => Err(
                "a peer is an address with or without a port: 10.0.0.1, 10.0.0.1:80, [::1]:80"
                    .to_owned(),
            ),
        }
    }
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn listeners(config: &Config) -> Vec<Listener> {
    let over_tcp = if config.tls.is_some() {
        "TURN and HTTP, and both over TLS"
    } else {
        "TURN and HTTP"
    };
    let list = |addresses: &[SocketAddr], transport, serves| -> Vec<Listener> {
        let listener = |address: &SocketAddr| Listener {
            transport,
            address: *address,
            serves,
        };
        addresses.iter().map(listener).collect()
    };
    let mut listeners = list(&config.io.udp, "udp", "TURN");
    listeners.extend(list(&config.listen.tcp, "tcp", over_tcp));
    listeners.extend(list(&config.listen.tls, "tls", "TURN, HTTPS and WSS"));
    listeners
}

fn certificate(config: &Config, inspection: &Inspection, unix_s: u64) -> Option<Certificate> {
    let file = match &config.tls.as_ref()?.source {
        CertificateSource::Files { cert, .. } => Some(cert.display().to_string()),
        CertificateSource::SelfSigned { .. } => None,
        CertificateSource::Managed { file, .. } => {
            Some(file.display().to_string()).filter(|_| !inspection.is_self_signed())
        }
    };
    let now = i64::try_from(unix_s).unwrap_or(i64::MAX);
    Some(Certificate {
        self_signed: file.is_none(),
        file,
        names: inspection.names.clone(),
        not_after: inspection.not_after,
        expires: date(inspection.not_after),
        days_left: inspection.not_after.saturating_sub(now).div_euclid(86_400),
    })
}

fn authority(config: &Config, acme: &acme::Settings) -> Authority {
    let listeners = config.listen.tls.iter().chain(&config.listen.tcp);
    Authority {
        directory: acme.directory.clone(),
        names: acme.names.clone(),
        contact: acme.contact.clone(),
        external_account: acme.external_account.is_some(),
        profile: acme.profile.clone(),
        validated_on: listeners
            .copied()
            .filter(|address| address.port() == acme::VALIDATION_PORT)
            .collect(),
        folder: acme.folder().display().to_string(),
    }
}

/// `2026-01-31`, in UTC.
pub fn date(unix_s: i64) -> String {
    match x509_parser::time::ASN1Time::from_timestamp(unix_s) {
        Ok(time) => time.to_datetime().date().to_string(),
        Err(_) => format!("{unix_s} s after 1970"),
    }
}

/// How many allocations can live at once under this open-files limit; the start-up line tells the same.
pub fn capacity(config: &Config, open_files: Option<u64>) -> Capacity {
    let (low, high) = config.io.relay_ports;
    let ports = u64::from(high - low) + 1;
    let by_ports = ports * relay_addresses(config).len().max(1) as u64;
    let listeners = config.io.udp.len() + config.listen.tcp.len() + config.listen.tls.len();
    let sockets = config.io.workers * listeners;
    let by_open_files =
        open_files.map(|files| u64::from(limits::capacity(files, sockets).allocations));
    let by_setting = Some(u64::from(config.turn.limits.allocations_total)).filter(|n| *n > 0);
    let bounds = [Some(by_ports), by_open_files, by_setting];
    Capacity {
        max: bounds.into_iter().flatten().min().unwrap_or(by_ports),
        by_ports,
        by_open_files,
        open_files,
        by_setting,
    }
}

fn relay(config: &Config, machine: &Machine) -> Relay {
    Relay {
        addresses: relay_addresses(config),
        ask: config.external_ip_stun.clone(),
        ports: config.io.relay_ports,
        allocations: capacity(config, machine.open_files_max),
        lifetime_default_s: config.turn.default_lifetime_s,
        lifetime_max_s: config.turn.max_lifetime_s,
    }
}

/// The configured addresses, else those that clients can reach by the listeners.
pub fn relay_addresses(config: &Config) -> Vec<RelayAddress> {
    let relays = &config.turn.relay_addresses;
    let address = |own: IpAddr, if_reached: bool| RelayAddress {
        own,
        external: config.turn.external_ips.external(own),
        if_reached,
    };
    if !relays.fixed.is_empty() {
        let mut chosen: Vec<RelayAddress> = Vec::new();
        for ip in &relays.fixed {
            let same = |other: &RelayAddress| Family::of(other.own) == Family::of(*ip);
            if !chosen.iter().any(same) {
                chosen.push(address(*ip, false));
            }
        }
        return chosen;
    }
    let mut own: Vec<IpAddr> = Vec::new();
    for listener in &config.turn.listeners {
        let ip = listener.ip();
        if ip.is_unspecified() {
            let family = |other: &&IpAddr| Family::of(**other) == Family::of(ip);
            own.extend(relays.fallback.iter().filter(family));
        } else {
            own.push(ip);
        }
    }
    let mut seen = std::collections::HashSet::new();
    own.retain(|ip| seen.insert(*ip));
    own.into_iter().map(|ip| address(ip, true)).collect()
}

fn rates(limits: &turn::Limits) -> BTreeMap<&'static str, String> {
    let count = |n: u32| (n > 0).then(|| n.to_string());
    let rate = |n: u64| (n > 0).then(|| format!("{}/s", show_size(n)));
    [
        ("allocations per user", count(limits.allocations_per_user)),
        (
            "bytes per allocation",
            rate(limits.bytes_per_s_per_allocation),
        ),
        ("bytes per user", rate(limits.bytes_per_s_per_user)),
        ("bytes in total", rate(limits.bytes_per_s_total)),
        (
            "unauthenticated answers per address",
            count(limits.unauthenticated_per_s_per_address).map(|n| format!("{n}/s")),
        ),
    ]
    .into_iter()
    .filter_map(|(name, limit)| Some((name, limit?)))
    .collect()
}

fn proxy(config: &Config) -> Proxy {
    let settings = &config.proxy;
    let mut resolve: Vec<(String, SocketAddr)> = settings
        .resolve
        .iter()
        .map(|((host, port), addr)| (format!("{host}:{port}"), *addr))
        .collect();
    resolve.sort();
    Proxy {
        vendors: config.vendors.clone(),
        hosts: lines(&settings.allow),
        denied_hosts: lines(&settings.deny),
        agora_hosts: lines(&settings.agora_hosts),
        trtc_signal_hosts: lines(&settings.trtc_signal_hosts),
        routes: settings
            .routes
            .iter()
            .map(|route| (route.prefix.clone(), route.upstream.clone()))
            .collect(),
        prefixes: settings.prefixes.clone(),
        cors_origins: settings.cors_origins.clone(),
        trusted_proxies: texts(&settings.trusted_proxies),
        public_names: settings.public_names.clone(),
        resolve,
        addresses: Networks {
            allow: texts(&settings.addresses.allow),
            deny: texts(&settings.addresses.deny),
        },
        test_page: config.test_page,
    }
}

/// Seconds as the configuration would write them.
fn seconds(seconds: u32) -> String {
    show_duration(Duration::from_secs(u64::from(seconds)))
}

#[cfg(test)]
mod tests;
