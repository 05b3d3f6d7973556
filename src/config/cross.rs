//! Errors that need several keys together: listeners, ports, certificate, credentials, lifetimes.

use super::section::{At, Draft, Reader};
use super::{Parts, show_duration};
use std::net::SocketAddr;
use std::time::Duration;

pub(super) fn check(reader: &Reader, parts: &Parts) {
    duplicate_listeners(reader, parts);
    relay_ports_and_listeners(reader, parts);
    no_listener(reader, parts);
    tls_without_certificate(reader, parts);
    no_credentials(reader, parts);
    lifetimes(reader, parts);
    credentials_endpoint(reader, parts);
    credentials_lifetimes(reader, parts);
}

/// True if both cannot be bound, or one would take the other's packets. IPv6 wildcards serve IPv6 only.
pub(super) fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let same_port = a.port() == b.port() && a.port() != 0;
    let (a, b) = (a.ip(), b.ip());
    let wildcard = a.is_unspecified() || b.is_unspecified();
    same_port && a.is_ipv4() == b.is_ipv4() && (a == b || wildcard)
}

fn duplicate_listeners(reader: &Reader, parts: &Parts) {
    let named =
        |key: &'static str, list: &[At<SocketAddr>]| -> Vec<(&'static str, At<SocketAddr>)> {
            list.iter().map(|addr| (key, addr.clone())).collect()
        };
    let listen = &parts.listen;
    let udp = named("listen.udp", &listen.udp);
    let mut streams = named("listen.tcp", &listen.tcp);
    streams.extend(named("listen.tls", &listen.tls));
    if let Some(admin) = &parts.admin.listen {
        streams.push(("admin.listen", admin.clone()));
    }
    for list in [udp, streams] {
        for (index, (key, addr)) in list.iter().enumerate() {
            let mut earlier = list.iter().take(index);
            let Some((other_key, other)) =
                earlier.rfind(|(_, other)| collide(other.value, addr.value))
            else {
                continue;
            };
            let (place, key, other_key, other) = if addr.span.is_some() {
                (addr.span.clone(), key, other_key, other)
            } else {
                (other.span.clone(), other_key, key, addr)
            };
            let label = if other.value == addr.value {
                format!("`{other_key}` has {} already", other.value)
            } else {
                format!(
                    "`{other_key}` has {}, and one covers the other",
                    other.value
                )
            };
            let port = addr.value.port();
            let message = if key == other_key {
                format!("`{key}` listens on port {port} twice")
            } else {
                format!("`{key}` and `{other_key}` both listen on port {port}")
            };
            reader.push(
                Draft::error(message, label)
                .at(place)
                .help("remove one of the two, or give it another port; a TLS port and a TCP port each speak TURN and HTTP alike"),
            );
        }
    }
}

fn relay_ports_and_listeners(reader: &Reader, parts: &Parts) {
    let (low, high) = parts.turn.relay_ports.value;
    let fixed = &parts.turn.relay_ips;
    for listener in &parts.listen.udp {
        let (ip, port) = (listener.value.ip(), listener.value.port());
        let may_share_address =
            ip.is_unspecified() || fixed.is_empty() || fixed.iter().any(|relay| relay.value == ip);
        if port == 0 || !(low..=high).contains(&port) || !may_share_address {
            continue;
        }
        let span = parts
            .turn
            .relay_ports
            .span
            .clone()
            .or(listener.span.clone());
        let fix = match port.checked_add(1) {
            Some(next) if next < high => {
                format!("write relay_ports = \"{next}-{high}\", or move the listener")
            }
            Some(_) | None => "choose another range, or move the listener".to_owned(),
        };
        reader.push(
            Draft::error(
                format!(
                    "`turn.relay_ports` {low}-{high} holds the port of the UDP listener {}",
                    listener.value
                ),
                "a relayed port and a listener cannot share an address and port",
            )
            .at(span)
            .help(fix),
        );
    }
}

fn no_listener(reader: &Reader, parts: &Parts) {
    if parts.listen.udp.is_empty()
        && parts.stream_listeners().next().is_none()
        && !reader.has_errors()
    {
        reader.push(
            Draft::error(
                "`listen` has no listener",
                "udp, tcp and tls are all empty, so relayd would serve nobody",
            )
            .help(
                "leave [listen] out for the defaults, or name an address: udp = [\"0.0.0.0:3478\"]",
            ),
        );
    }
}

fn tls_without_certificate(reader: &Reader, parts: &Parts) {
    let Some(first) = parts.listen.tls.first() else {
        return;
    };
    if parts.tls.settings.is_some() || parts.tls.failed {
        return;
    }
    if parts.tls.acme.unagreed {
        reader.push(
            Draft::error(
                "`tls.acme` has names, but no `terms_agreed = true`",
                "an authority gives certificates to those who agree to its terms of service",
            )
            .at(parts.tls.acme.span.clone())
            .help("read the terms that the directory names (Let's Encrypt: https://letsencrypt.org/repository/), then add terms_agreed = true to [tls.acme]"),
        );
        return;
    }
    let label = if parts.listen.tls_given {
        "this listener needs a certificate".to_owned()
    } else {
        format!(
            "relayd listens for TLS on {} and more by default",
            first.value
        )
    };
    reader.push(
        Draft::error("`listen.tls` has listeners, but there is no certificate", label)
            .at(first.span.clone().or_else(|| parts.tls.span.clone()))
            .help(
                "set cert = \"fullchain.pem\" and key = \"privkey.pem\" in [tls]; or terms_agreed = true in [tls.acme]; self_signed = true for a test; tls = [] in [listen] for none",
            ),
    );
}

/// A server without UDP listeners and without credentials is a proxy alone (`warn` says so).
fn no_credentials(reader: &Reader, parts: &Parts) {
    if parts.turn.credentials_given
        && parts.turn.users.is_empty()
        && parts.turn.auth_secrets.is_empty()
    {
        if !reader.has_errors() {
            reader.push(no_credentials_draft());
        }
        return;
    }
    if !parts.turn.credentials_given && !parts.listen.udp.is_empty() {
        reader.push(no_credentials_draft());
    }
}

fn no_credentials_draft() -> Draft {
    Draft::error(
        "`turn` has neither users nor a secret, so nobody can relay",
        "every Allocate request would be refused with 401",
    )
    .help("add users = { alice = \"a long password\" } to [turn], or auth_secret = [\"file:secret\"] for time-limited credentials; for a proxy without TURN write udp = [] in [listen]")
}

fn lifetimes(reader: &Reader, parts: &Parts) {
    let (default, max) = (&parts.turn.default_lifetime_s, &parts.turn.max_lifetime_s);
    if default.value <= max.value {
        return;
    }
    let show = |seconds: u32| show_duration(Duration::from_secs(u64::from(seconds)));
    reader.push(
        Draft::error(
            "`turn.default_lifetime` is longer than `turn.max_lifetime`",
            format!("{} is more than {}", show(default.value), show(max.value)),
        )
        .at(default.span.clone().or(max.span.clone()))
        .help(format!(
            "write default_lifetime = \"{}\", or raise max_lifetime",
            show(max.value)
        )),
    );
}

/// The endpoint makes passwords of the first shared secret, and gives them out over TLS alone.
fn credentials_endpoint(reader: &Reader, parts: &Parts) {
    let Some(place) = &parts.credentials.on else {
        return;
    };
    let error = |message: &str, label: &str, help: &str| {
        reader.push(
            Draft::error(message, label)
                .at(Some(place.clone()))
                .help(help),
        );
    };
    if parts.turn.auth_secrets.is_empty() && !reader.has_errors() {
        error(
            "`credentials` is on, but `turn` has no secret to make credentials with",
            "time-limited passwords are made of `turn.auth_secret`",
            "add auth_secret = [\"file:secret\"] to [turn]; `openssl rand -hex 32 > secret` makes one",
        );
    }
    if parts.tls.settings.is_none() && !reader.has_errors() {
        error(
            "`credentials` is on, but there is no certificate",
            "credentials are given out over HTTPS only",
            "set cert = \"fullchain.pem\" and key = \"privkey.pem\" in [tls]",
        );
    }
}

fn credentials_lifetimes(reader: &Reader, parts: &Parts) {
    let read = &parts.credentials;
    let (ttl, low, high) = (&read.ttl, &read.ttl_min, &read.ttl_max);
    let show = |seconds: u32| show_duration(Duration::from_secs(u64::from(seconds)));
    let error = |message: &str, label: String, spans: [&At<u32>; 2], help: &str| {
        let place = spans.iter().find_map(|at| at.span.clone());
        reader.push(Draft::error(message, label).at(place).help(help));
    };
    if low.value > high.value {
        error(
            "`credentials.ttl_min` is longer than `credentials.ttl_max`",
            format!("{} is more than {}", show(low.value), show(high.value)),
            [low, high],
            "lower ttl_min, or raise ttl_max",
        );
    } else if ttl.value > high.value {
        error(
            "`credentials.ttl` is longer than `credentials.ttl_max`",
            format!("{} is more than {}", show(ttl.value), show(high.value)),
            [ttl, high],
            "lower ttl, or raise ttl_max",
        );
    } else if ttl.value < low.value {
        error(
            "`credentials.ttl` is shorter than `credentials.ttl_min`",
            format!("{} is less than {}", show(ttl.value), show(low.value)),
            [ttl, low],
            "raise ttl, or lower ttl_min",
        );
    }
}
