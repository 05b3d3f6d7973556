//! A configuration as a list of keys and values, to tell two of them apart: what a reload reports.
//!
//! Secrets are compared and never shown: a user or a secret was added, changed or removed, nothing more.

use super::{Config, show_duration, show_size};
use crate::acme;
use crate::credentials::JwtKey;
use crate::proxy::allowlist::lines;
use crate::secret::Secret;
use crate::telemetry::Format;
use crate::tls::CertificateSource;
use crate::turn::UserKey;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Names in one change; the others are counted.
const NAMES_SHOWN_MAX: usize = 16;

/// A key whose value is another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyChange {
    /// As in the file: `turn.users`.
    pub key: &'static str,
    /// `info → debug`, `alice added, bob changed`. No secret is in it.
    pub change: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Value {
    Text(String),
    List(Vec<String>),
    /// Names may be shown, values not.
    Named(BTreeMap<String, Secret>),
    Hidden(Vec<Secret>),
}

/// What `new` has different from `old`, in the order of the reference.
pub fn changes(old: &Config, new: &Config) -> Vec<KeyChange> {
    let pairs = entries(old).into_iter().zip(entries(new));
    pairs
        .filter(|((_, old), (_, new))| old != new)
        .map(|((key, old), (_, new))| KeyChange {
            key,
            change: old.change_to(&new),
        })
        .collect()
}

/// Puts `running`'s values of what only a restart can change into `new`.
///
/// Sockets of the media workers take their buffers and their ports when they are made; "auto" asks its STUN servers before
/// anything is bound.
pub fn keep_restart_only(running: &Config, new: &mut Config) {
    new.io.workers = running.io.workers;
    new.io.relay_ports = running.io.relay_ports;
    new.io.relay_buffer_bytes = running.io.relay_buffer_bytes;
    new.io.listener_buffer_bytes = running.io.listener_buffer_bytes;
    new.admin.coturn_metrics = running.admin.coturn_metrics;
    // Another address may be another need for a token: they come together.
    if new.admin.listen != running.admin.listen {
        new.admin.clone_from(&running.admin);
    }
    match (
        running.external_ip_stun.is_empty(),
        new.external_ip_stun.is_empty(),
    ) {
        (false, false) => new.external_ip_stun.clone_from(&running.external_ip_stun),
        // It was not asked for at start, so nobody knows what "auto" would be.
        (true, false) => {
            new.external_ip_stun.clear();
            new.turn.external_ips.clone_from(&running.turn.external_ips);
        }
        (_, true) => {}
    }
}

fn entries(config: &Config) -> Vec<(&'static str, Value)> {
    let mut entries = server_and_listen(config);
    entries.extend(tls(config));
    entries.extend(acme(config));
    entries.extend(turn(config));
    entries.extend(proxy(config));
    entries.extend(proxy_timeouts_and_limits(config));
    entries.extend(credentials(config));
    let token = config.admin.token.iter().cloned().collect();
    entries.push(("admin.listen", optional(config.admin.listen.as_ref())));
    entries.push(("admin.token", Value::Hidden(token)));
    entries.push(("admin.coturn_metrics", text(config.admin.coturn_metrics)));
    let format = match config.log.format {
        Format::Text => "text",
        Format::Json => "json",
    };
    entries.push(("log.to", text(&config.log.to)));
    entries.push(("log.format", text(format)));
    entries.push(("log.level", text(&config.log.level)));
    entries.push(("log.privacy", text(config.log.privacy)));
    entries
}

fn server_and_listen(config: &Config) -> Vec<(&'static str, Value)> {
    let (io, listen) = (&config.io, &config.listen);
    let externals = &config.turn.external_ips;
    let pairs = externals.pairs.iter();
    let mut external: Vec<String> = externals.plain.iter().map(ToString::to_string).collect();
    external.extend(pairs.map(|(public, private)| format!("{public}/{private}")));
    if !config.external_ip_stun.is_empty() {
        external.push("auto".to_owned());
    }
    vec![
        ("server.domain", text(&config.domain)),
        ("server.external_ip", Value::List(external)),
        ("server.external_ip_stun", list(&config.external_ip_stun)),
        ("server.workers", text(io.workers)),
        ("server.drain_timeout", duration(config.drain_timeout)),
        ("server.upgrade_timeout", duration(config.upgrade_timeout)),
        (
            "server.upgrade_drain_timeout",
            duration(config.upgrade_drain_timeout),
        ),
        ("listen.udp", list(&io.udp)),
        ("listen.tcp", list(&listen.tcp)),
        ("listen.tls", list(&listen.tls)),
        (
            "listen.proxy_protocol_from",
            list(&listen.proxy_protocol_from),
        ),
        (
            "listen.timeouts.handshake",
            seconds(listen.handshake_timeout_s),
        ),
        (
            "listen.timeouts.first_byte",
            seconds(listen.first_byte_timeout_s),
        ),
        ("listen.timeouts.stream_idle", seconds(io.stream_idle_s)),
        (
            "listen.limits.connections_per_address",
            text(listen.connections_per_address),
        ),
        (
            "listen.limits.pending_per_address",
            text(listen.pending_per_address),
        ),
        (
            "listen.limits.connections_total",
            text(listen.connections_total),
        ),
        (
            "listen.limits.udp_buffer_bytes",
            size(io.listener_buffer_bytes),
        ),
    ]
}

fn tls(config: &Config) -> Vec<(&'static str, Value)> {
    let source = config.tls.as_ref().map(|tls| &tls.source);
    let (cert, key, self_signed) = match source {
        Some(CertificateSource::Files { cert, key }) => (Some(cert), Some(key), false),
        Some(CertificateSource::SelfSigned { .. }) => (None, None, true),
        Some(CertificateSource::Managed { .. }) => (None, None, false),
        None => (None, None, false),
    };
    vec![
        (
            "tls.cert",
            optional(cert.map(|path| path.display()).as_ref()),
        ),
        ("tls.key", optional(key.map(|path| path.display()).as_ref())),
        ("tls.self_signed", text(self_signed)),
    ]
}

fn acme(config: &Config) -> Vec<(&'static str, Value)> {
    let acme = config.acme.as_ref();
    let names =
        |of: fn(&acme::Settings) -> &Vec<String>| list(acme.map_or(&[][..], |acme| of(acme)));
    let external = acme.and_then(|acme| acme.external_account.as_ref());
    let external_key = external.map(|external| external.key.clone());
    vec![
        ("tls.acme.terms_agreed", text(acme.is_some())),
        ("tls.acme.names", names(|acme| &acme.names)),
        ("tls.acme.contact", names(|acme| &acme.contact)),
        (
            "tls.acme.directory",
            optional(acme.map(|acme| &acme.directory)),
        ),
        (
            "tls.acme.ca_file",
            optional(
                acme.and_then(|acme| acme.ca_file.as_ref())
                    .map(|path| path.display())
                    .as_ref(),
            ),
        ),
        (
            "tls.acme.profile",
            optional(acme.and_then(|acme| acme.profile.as_ref())),
        ),
        (
            "tls.acme.external_account_id",
            optional(external.map(|external| &external.key_id)),
        ),
        (
            "tls.acme.external_account_key",
            Value::Hidden(external_key.into_iter().collect()),
        ),
        (
            "tls.acme.state_dir",
            optional(acme.map(|acme| acme.state_dir.display()).as_ref()),
        ),
    ]
}

fn turn(config: &Config) -> Vec<(&'static str, Value)> {
    let (turn, io, limits) = (&config.turn, &config.io, &config.turn.limits);
    let users = turn.users.iter().map(|(name, key)| {
        let key = match key {
            UserKey::Password(password) => password.clone(),
            UserKey::Md5(key) => Secret::new(format!("key:{key:x?}")),
        };
        (name.clone(), key)
    });
    let (low, high) = io.relay_ports;
    vec![
        ("turn.realm", text(&turn.realm)),
        ("turn.users", Value::Named(users.collect())),
        ("turn.auth_secret", Value::Hidden(turn.auth_secrets.clone())),
        ("turn.software", optional(turn.software.as_ref())),
        ("turn.relay_ip", list(&turn.relay_addresses.fixed)),
        ("turn.relay_ports", text(format!("{low}-{high}"))),
        ("turn.default_lifetime", seconds(turn.default_lifetime_s)),
        ("turn.max_lifetime", seconds(turn.max_lifetime_s)),
        ("turn.nonce_lifetime", seconds(turn.nonce_lifetime_s)),
        ("turn.call_quality", text(turn.call_quality)),
        ("turn.peers.allow", list(&turn.peers.allow)),
        ("turn.peers.deny", list(&turn.peers.deny)),
        (
            "turn.limits.allocations_per_user",
            text(limits.allocations_per_user),
        ),
        (
            "turn.limits.allocations_total",
            text(limits.allocations_total),
        ),
        (
            "turn.limits.bytes_per_second_per_allocation",
            text(show_size(limits.bytes_per_s_per_allocation)),
        ),
        (
            "turn.limits.bytes_per_second_per_user",
            text(show_size(limits.bytes_per_s_per_user)),
        ),
        (
            "turn.limits.bytes_per_second_total",
            text(show_size(limits.bytes_per_s_total)),
        ),
        (
            "turn.limits.unauthenticated_per_second_per_address",
            text(limits.unauthenticated_per_s_per_address),
        ),
        (
            "turn.limits.relay_buffer_bytes",
            size(io.relay_buffer_bytes),
        ),
        (
            "turn.limits.stream_queue_bytes",
            size(io.stream_queue_bytes_max),
        ),
    ]
}

fn proxy(config: &Config) -> Vec<(&'static str, Value)> {
    let proxy = &config.proxy;
    let routes = proxy.routes.iter();
    let routes = routes.map(|route| format!("{} to {}", route.prefix, route.upstream));
    let resolve = proxy.resolve.iter();
    let resolve = resolve.map(|((host, port), address)| format!("{host}:{port} at {address}"));
    let mut resolve: Vec<String> = resolve.collect();
    resolve.sort();
    let ca_file = proxy.ca_file.as_ref().map(|path| path.display());
    vec![
        ("proxy.vendors", list(&config.vendors)),
        ("proxy.allow", Value::List(lines(&proxy.allow))),
        ("proxy.deny", Value::List(lines(&proxy.deny))),
        ("proxy.agora_hosts", Value::List(lines(&proxy.agora_hosts))),
        (
            "proxy.trtc_signal_hosts",
            Value::List(lines(&proxy.trtc_signal_hosts)),
        ),
        ("proxy.cors_origins", list(&proxy.cors_origins)),
        ("proxy.trusted_proxies", list(&proxy.trusted_proxies)),
        ("proxy.prefixes", list(&proxy.prefixes)),
        ("proxy.public_names", list(&proxy.public_names)),
        ("proxy.resolve", Value::List(resolve)),
        ("proxy.ca_file", optional(ca_file.as_ref())),
        ("proxy.test_page", text(config.test_page)),
        ("proxy.route", Value::List(routes.collect())),
        ("proxy.addresses.allow", list(&proxy.addresses.allow)),
        ("proxy.addresses.deny", list(&proxy.addresses.deny)),
    ]
}

fn proxy_timeouts_and_limits(config: &Config) -> Vec<(&'static str, Value)> {
    let (timeouts, limits) = (&config.proxy.timeouts, &config.proxy.limits);
    vec![
        (
            "proxy.timeouts.request_header",
            duration(timeouts.request_header),
        ),
        ("proxy.timeouts.idle", duration(timeouts.idle)),
        ("proxy.timeouts.resolve", duration(timeouts.resolve)),
        ("proxy.timeouts.connect", duration(timeouts.connect)),
        ("proxy.timeouts.response", duration(timeouts.response)),
        ("proxy.timeouts.body_idle", duration(timeouts.body_idle)),
        ("proxy.timeouts.tunnel_idle", duration(timeouts.tunnel_idle)),
        (
            "proxy.timeouts.upstream_idle",
            duration(timeouts.upstream_idle),
        ),
        ("proxy.limits.header_bytes", size(limits.header_bytes)),
        ("proxy.limits.headers", text(limits.headers)),
        ("proxy.limits.target_bytes", size(limits.target_bytes)),
        ("proxy.limits.h2_streams", text(limits.h2_streams)),
        (
            "proxy.limits.body_bytes",
            text(show_size(limits.body_bytes)),
        ),
        ("proxy.limits.replay_bytes", size(limits.replay_bytes)),
        ("proxy.limits.redirects", text(limits.redirects)),
        (
            "proxy.limits.upstream_connections_per_host",
            text(limits.upstream_connections_per_host),
        ),
        (
            "proxy.limits.upstream_idle_per_host",
            text(limits.upstream_idle_per_host),
        ),
        ("proxy.limits.tunnels", text(limits.tunnels)),
        (
            "proxy.limits.requests_per_second_per_address",
            text(limits.requests_per_s_per_address),
        ),
    ]
}

fn credentials(config: &Config) -> Vec<(&'static str, Value)> {
    let settings = &config.credentials;
    let keys = |algorithm: &str| {
        let keys = settings.keys.iter();
        let keys = keys.filter(|key| key.algorithm() == algorithm);
        let keys = keys.map(|key| match key {
            JwtKey::Hs256(secret) => secret.clone(),
            JwtKey::Rs256(key) | JwtKey::Es256(key) => Secret::new(format!("{key:?}")),
        });
        Value::Hidden(keys.collect())
    };
    vec![
        ("credentials.tokens", Value::Hidden(settings.tokens.clone())),
        ("credentials.jwt_hs256", keys("HS256")),
        ("credentials.jwt_rs256", keys("RS256")),
        ("credentials.jwt_es256", keys("ES256")),
        ("credentials.jwt_issuer", optional(settings.issuer.as_ref())),
        (
            "credentials.jwt_audience",
            optional(settings.audience.as_ref()),
        ),
        ("credentials.ttl", seconds(settings.ttl_s)),
        ("credentials.ttl_min", seconds(settings.ttl_min_s)),
        ("credentials.ttl_max", seconds(settings.ttl_max_s)),
        (
            "credentials.requests_per_second_per_address",
            text(settings.requests_per_s_per_address),
        ),
    ]
}

fn text(value: impl ToString) -> Value {
    Value::Text(value.to_string())
}

fn optional(value: Option<&impl ToString>) -> Value {
    Value::Text(value.map_or_else(|| "none".to_owned(), ToString::to_string))
}

fn list<T: ToString>(values: &[T]) -> Value {
    Value::List(values.iter().map(ToString::to_string).collect())
}

fn duration(value: Duration) -> Value {
    Value::Text(show_duration(value))
}

fn seconds(value: impl Into<u64>) -> Value {
    duration(Duration::from_secs(value.into()))
}

fn size(bytes: usize) -> Value {
    Value::Text(show_size(bytes as u64))
}

impl Value {
    fn change_to(&self, new: &Self) -> String {
        match (self, new) {
            (Self::Text(old), Self::Text(new)) => format!("{old} → {new}"),
            (Self::List(old), Self::List(new)) => {
                let (added, removed) = (beyond(new, old), beyond(old, new));
                let phrases = [phrase(&added, "added"), phrase(&removed, "removed")];
                joined(phrases.into_iter().flatten(), "in another order")
            }
            (Self::Named(old), Self::Named(new)) => {
                let added = new.keys().filter(|name| !old.contains_key(*name));
                let removed = old.keys().filter(|name| !new.contains_key(*name));
                let changed = new
                    .iter()
                    .filter_map(|(name, value)| (old.get(name)? != value).then_some(name));
                let phrases = [
                    phrase(&added.collect::<Vec<_>>(), "added"),
                    phrase(&changed.collect::<Vec<_>>(), "changed"),
                    phrase(&removed.collect::<Vec<_>>(), "removed"),
                ];
                joined(phrases.into_iter().flatten(), "unchanged")
            }
            (Self::Hidden(old), Self::Hidden(new)) => {
                let counted =
                    |count: usize, what: &str| (count > 0).then(|| format!("{count} {what}"));
                let added = counted(beyond(new, old).len(), "added");
                let removed = counted(beyond(old, new).len(), "removed");
                joined(added.into_iter().chain(removed), "in another order")
            }
            (Self::Text(_) | Self::List(_) | Self::Named(_) | Self::Hidden(_), _) => {
                debug_assert!(false, "a key has one kind of value");
                "changed".to_owned()
            }
        }
    }
}

/// What `these` has more often than `those`.
fn beyond<'v, T: PartialEq>(these: &'v [T], those: &[T]) -> Vec<&'v T> {
    let mut left: Vec<&T> = those.iter().collect();
    let mut more = Vec::new();
    for value in these {
        match left.iter().position(|other| *other == value) {
            Some(at) => drop(left.swap_remove(at)),
            None => more.push(value),
        }
    }
    more
}

/// `a added, b added, 3 more added`.
fn phrase(names: &[&String], what: &str) -> Option<String> {
    let shown = names.iter().take(NAMES_SHOWN_MAX);
    let mut words: Vec<String> = shown.map(|name| format!("{name} {what}")).collect();
    let more = names.len().saturating_sub(NAMES_SHOWN_MAX);
    if more > 0 {
        words.push(format!("{more} more {what}"));
    }
    (!words.is_empty()).then(|| words.join(", "))
}

fn joined(phrases: impl Iterator<Item = String>, otherwise: &str) -> String {
    let phrases: Vec<String> = phrases.collect();
    if phrases.is_empty() {
        return otherwise.to_owned();
    }
    phrases.join(", ")
}

/// Every key whose values are never shown.
#[cfg(test)]
pub(super) fn secret_keys(config: &Config) -> Vec<&'static str> {
    let entries = entries(config).into_iter();
    let secret = entries.filter(|(_, value)| matches!(value, Value::Hidden(_) | Value::Named(_)));
    secret.map(|(key, _)| key).collect()
}

/// Every key that a change is reported of.
#[cfg(test)]
pub(super) fn keys(config: &Config) -> Vec<&'static str> {
    entries(config).into_iter().map(|(key, _)| key).collect()
}
