//! What is valid and will still surprise its owner, each with a fix.

use super::read::acme::is_validated_on;
use super::section::{At, Draft, Reader};
use super::{Config, Machine, Parts, Problem, show_size};
use crate::addr::Family;
use crate::ip_rules::IpRules;
use crate::proxy::allowlist::{Authority, HostList};
use crate::sys::access;
use crate::tls::{CertificateSource, Warning};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Browsers refuse TURN servers on other ports below 1024 (CLIENTS.md: libwebrtc's list).
const LOW_PORTS_OF_BROWSERS: [u16; 3] = [53, 80, 443];
/// Azure's SDK sets up every call there.
const AZURE_CALLS: &str = "api.flightproxy.skype.com";
/// Where clouds keep the metadata service that hands out a machine's credentials.
const METADATA_SERVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

/// Warnings that have a place in the file.
pub(super) fn about_file(reader: &Reader, parts: &Parts, machine: &Machine) {
    ports_that_browsers_refuse(reader, parts);
    private_relayed_address(reader, parts, machine);
    private_external_ip(reader, parts);
    relay_ips(reader, parts, machine);
    open_peers(reader, parts);
    no_ipv6_listener(reader, parts, machine);
    proxy_alone(reader, parts);
    md5_key_without_realm(reader, parts);
    what_vendors_need(reader, parts);
    what_acme_needs(reader, parts);
}

/// What keeps a certificate from coming, or from staying.
fn what_acme_needs(reader: &Reader, parts: &Parts) {
    let Some(acme) = &parts.tls.acme.settings else {
        return;
    };
    let warning = |message: String, label: &str, help: String| {
        let draft = Draft::warning(message, label).at(parts.tls.acme.span.clone());
        reader.push(draft.help(help));
    };
    let ports = parts.stream_listeners().map(|listener| listener.port());
    if !is_validated_on(ports) {
        warning(
            "no TLS listener is on port 443, where the authority validates the names".to_owned(),
            "TLS-ALPN-01 always comes to port 443",
            "add \"0.0.0.0:443\" and \"[::]:443\" to `listen.tls`; nothing is wrong if something forwards 443 to relayd as it is".to_owned(),
        );
    }
    let domain = &parts.server.domain;
    if !acme
        .names
        .iter()
        .any(|name| name.eq_ignore_ascii_case(&domain.value))
    {
        warning(
            format!("`tls.acme.names` does not have {}", domain.value),
            "clients that are told `server.domain` will refuse the certificate",
            format!(
                "add \"{}\" to names, or change `server.domain`",
                domain.value
            ),
        );
    }
    let folder = acme.folder();
    if let Err((path, error)) = access::can_create(&folder) {
        warning(
            format!(
                "{} cannot be written: {}",
                path.display(),
                super::secrets::reason(&error)
            ),
            "a certificate would be in memory only, and be asked for at every start",
            format!(
                "run this check as the user that runs relayd; the systemd unit makes /var/lib/relayd at start, elsewhere: install -d -o relayd -g relayd -m 0700 {}",
                acme.state_dir.display()
            ),
        );
    }
}

fn ports_that_browsers_refuse(reader: &Reader, parts: &Parts) {
    let listen = &parts.listen;
    for listener in listen.udp.iter().chain(&listen.tcp).chain(&listen.tls) {
        let port = listener.value.port();
        if port == 0 || port >= 1024 || LOW_PORTS_OF_BROWSERS.contains(&port) {
            continue;
        }
        reader.push(
            Draft::warning(
                format!("browsers refuse TURN on port {port}"),
                "they use the ports 53, 80, 443, and 1024 and above",
            )
            .at(listener.span.clone())
            .help("listen on 3478 (UDP, TCP), 443 or 5349 (TLS)"),
        );
    }
}

/// Own addresses that relayed addresses will have, if they can be told before a client comes.
fn relay_candidates(parts: &Parts, machine: &Machine) -> Vec<IpAddr> {
    if !parts.turn.relay_ips.is_empty() {
        return parts.turn.relay_ips.iter().map(|ip| ip.value).collect();
    }
    let mut candidates = Vec::new();
    let listeners = parts.listen.udp.iter().map(|addr| addr.value);
    for listener in listeners.chain(parts.stream_listeners()) {
        if listener.ip().is_unspecified() {
            let family = Family::of(listener.ip());
            let own = machine.relay_fallback();
            candidates.extend(own.into_iter().filter(|ip| Family::of(*ip) == family));
        } else {
            candidates.push(listener.ip());
        }
    }
    candidates.sort();
    candidates.dedup();
    candidates
}

/// One warning, for IPv4 where there is IPv4: a private IPv6 address beside it is reached from inside only.
fn private_relayed_address(reader: &Reader, parts: &Parts, machine: &Machine) {
    if !parts.server.external_ip_stun.is_empty() {
        return;
    }
    let candidates = relay_candidates(parts, machine);
    let of_family = |family: Family| -> Vec<IpAddr> {
        let own = candidates.iter().copied();
        own.filter(|ip| Family::of(*ip) == family && !ip.is_loopback())
            .collect()
    };
    let own = Some(of_family(Family::V4)).filter(|own| !own.is_empty());
    let own = own.unwrap_or_else(|| of_family(Family::V6));
    let rules = IpRules::default();
    let external = |ip: &IpAddr| parts.server.external_ips.external(*ip);
    let any_public = own.iter().any(|ip| rules.judge(external(ip)).permits());
    let Some(private) = own.first().filter(|_| !any_public) else {
        return;
    };
    if external(private) != *private {
        return;
    }
    let span = parts.turn.relay_ips.first().and_then(|ip| ip.span.clone());
    reader.push(
        Draft::warning(
            format!("clients will be told the private relayed address {private}"),
            "peers outside this network cannot reach it",
        )
        .at(span)
        .help(format!(
            "set external_ip = \"PUBLIC_ADDRESS/{private}\" in [server], or \"auto\"; nothing is wrong if all clients are inside"
        )),
    );
}

fn private_external_ip(reader: &Reader, parts: &Parts) {
    let external = &parts.server.external_ips;
    let pairs = external.pairs.iter().map(|(public, _)| public);
    let rules = IpRules::default();
    for ip in external.plain.iter().chain(pairs) {
        if ip.is_loopback() || rules.judge(*ip).permits() {
            continue;
        }
        reader.push(
            Draft::warning(
                format!("`server.external_ip` has {ip}, which is not a public address"),
                "clients and peers will be told this address",
            )
            .at(parts.server.external_span.clone())
            .help("write the public address first in a pair: \"public/private\""),
        );
    }
}

fn relay_ips(reader: &Reader, parts: &Parts, machine: &Machine) {
    let ips = &parts.turn.relay_ips;
    for (index, ip) in ips.iter().enumerate() {
        let earlier = ips.iter().take(index);
        let family = Family::of(ip.value);
        let warn = |message: String, label: &str, help: &str| {
            reader.push(
                Draft::warning(message, label)
                    .at(ip.span.clone())
                    .help(help),
            );
        };
        if earlier
            .clone()
            .any(|other| Family::of(other.value) == family)
        {
            warn(
                format!(
                    "`turn.relay_ip` has {} beside another address of its family",
                    ip.value
                ),
                "the first address of a family is used",
                "leave one address of each family",
            );
        }
        let local = ip.value.is_loopback() || machine.addresses.contains(&ip.value);
        if !local && !machine.addresses.is_empty() {
            warn(
                format!(
                    "`turn.relay_ip` {} is not an address of this machine",
                    ip.value
                ),
                "relay sockets cannot be bound to it, unless it comes up later",
                "write the private address here and the public one in `server.external_ip`",
            );
        }
    }
}

fn open_peers(reader: &Reader, parts: &Parts) {
    let holds = |net: &IpNet, ip: IpAddr| net.contains(&ip);
    for net in &parts.turn.peers_allow {
        let (what, help) = if net.value.prefix_len() == 0 {
            (
                "every address, the private ones and this machine's too",
                "name the networks that peers are in",
            )
        } else if holds(&net.value, Ipv4Addr::LOCALHOST.into())
            || holds(&net.value, std::net::Ipv6Addr::LOCALHOST.into())
        {
            (
                "loopback: services of this machine that trust local callers",
                "leave loopback out, except for tests",
            )
        } else if holds(&net.value, METADATA_SERVICE) {
            (
                "169.254.169.254, where clouds hand out this machine's credentials",
                "leave the link-local network out, or add \"169.254.169.254\" to `turn.peers.deny`",
            )
        } else {
            continue;
        };
        reader.push(
            Draft::warning(
                format!("`turn.peers.allow` opens {} to every TURN user", net.value),
                format!("it holds {what}"),
            )
            .at(net.span.clone())
            .help(help),
        );
    }
}

fn no_ipv6_listener(reader: &Reader, parts: &Parts, machine: &Machine) {
    let rules = IpRules::default();
    let mut global = machine.addresses.iter().filter(|ip| ip.is_ipv6());
    let Some(own) = global.find(|ip| rules.judge(**ip).permits()) else {
        return;
    };
    let udp = parts.listen.udp.iter().map(|addr| addr.value);
    let mut all = udp.chain(parts.stream_listeners()).peekable();
    if all.peek().is_none() || all.any(|addr| addr.is_ipv6()) {
        return;
    }
    reader.push(
        Draft::warning(
            "no listener is on IPv6",
            format!("this machine has the IPv6 address {own}"),
        )
        .at(parts.listen.udp.first().and_then(|addr| addr.span.clone()))
        .help("add \"[::]:3478\" to udp and tcp, \"[::]:443\" to tls"),
    );
}

fn proxy_alone(reader: &Reader, parts: &Parts) {
    if parts.turn.credentials_given || !parts.listen.udp.is_empty() {
        return;
    }
    reader.push(
        Draft::warning(
            "TURN is off: there are neither users nor a secret",
            "every Allocate request is refused with 401",
        )
        .help("nothing is wrong if relayd is to be a proxy alone"),
    );
}

fn md5_key_without_realm(reader: &Reader, parts: &Parts) {
    let Some(span) = &parts.turn.md5_user else {
        return;
    };
    if parts.turn.realm.is_some() || parts.server.domain.span.is_some() {
        return;
    }
    reader.push(
        Draft::warning(
            "`turn.users` has a key, and the realm is not set",
            format!(
                "a key is good for one realm; the realm is \"{}\", from the name of this machine",
                parts.server.domain.value
            ),
        )
        .at(Some(span.clone()))
        .help("set `turn.realm` to the realm that the key was made for"),
    );
}

fn what_vendors_need(reader: &Reader, parts: &Parts) {
    // By what is allowed, so also where a preset was copied.
    let proxy = &parts.proxy.settings;
    let calls = Authority::parse(AZURE_CALLS);
    let azure = calls.is_some_and(|calls| HostList::new(&proxy.allow).holds(&calls));
    let agora = !proxy.agora_hosts.is_empty();
    if agora {
        agoras_turn_ports(reader, parts);
    }
    let is_address = parts.server.domain.value.parse::<IpAddr>().is_ok();
    let message = match (azure, agora) {
        (true, true) => "Azure and Agora need a name for TURN over TLS",
        (true, false) => "Azure needs a name for TURN over TLS",
        (false, true) => "Agora needs a name for TURN over TLS",
        (false, false) => return,
    };
    if is_address && speaks_tls(parts, |_| true) {
        reader.push(
            Draft::warning(
                format!("`server.domain` is an address, and {message}"),
                "their SDKs make no usable URL from an address",
            )
            .at(parts.server.domain.span.clone())
            .help("give the server a name in DNS, and its certificate too"),
        );
    }
}

/// VENDORS.md: Agora's Web SDK 4.x ignores the ports that it is told.
fn agoras_turn_ports(reader: &Reader, parts: &Parts) {
    let on = |list: &[At<SocketAddr>], port: u16| list.iter().any(|addr| addr.value.port() == port);
    let listen = &parts.listen;
    let missing: Vec<&str> = [
        ("3478 over UDP", on(&listen.udp, 3478)),
        ("3478 over TCP", on(&listen.tcp, 3478)),
        ("443 over TLS", speaks_tls(parts, |port| port == 443)),
    ]
    .into_iter()
    .filter_map(|(what, there)| (!there).then_some(what))
    .collect();
    if missing.is_empty() {
        return;
    }
    let place = listen
        .tls
        .first()
        .or(listen.tcp.first())
        .or(listen.udp.first());
    reader.push(
        Draft::warning(
            "Agora's Web SDK will not find TURN on every transport",
            format!(
                "it uses 3478 over UDP and TCP and 443 over TLS, whatever ports it is told; not listened on: {}",
                missing.join(", ")
            ),
        )
        .at(place.and_then(|addr| addr.span.clone()))
        .help("listen on these ports, or map them to relayd's; or give the SDK a list of URLs in setTurnServer"),
    );
}

/// Whether TLS is spoken on such a port: on a TCP port too, if there is a certificate.
fn speaks_tls(parts: &Parts, is_meant: impl Fn(u16) -> bool) -> bool {
    let on = |list: &[At<SocketAddr>]| list.iter().any(|addr| is_meant(addr.value.port()));
    on(&parts.listen.tls) || (parts.tls.settings.is_some() && on(&parts.listen.tcp))
}

/// What the certificate itself says; a certificate that cannot be used is an error.
pub(super) fn about_certificate(reader: &Reader, parts: &Parts, machine: &Machine) {
    let Some(settings) = &parts.tls.settings else {
        return;
    };
    let span = parts.tls.span.clone();
    let CertificateSource::Files { cert, .. } = &settings.source else {
        return;
    };
    let domain = &parts.server.domain;
    let inspection = match crate::tls::inspect(settings, &domain.value, machine.unix_s) {
        Ok(inspection) => inspection,
        Err(error) => {
            let cause = match std::error::Error::source(&error) {
                Some(source) => source.to_string(),
                None => "the certificate and key cannot be used".to_owned(),
            };
            let message = format!("`tls`: {error}");
            reader.push(Draft::error(message, cause).at(span).help(
                "cert is a PEM file, the server's certificate first; key is its private key",
            ));
            return;
        }
    };
    for warning in &inspection.warnings {
        let help = match warning {
            Warning::Expired { .. } | Warning::ExpiresSoon { .. } => {
                "renew it; relayd reads the files again on a reload".to_owned()
            }
            Warning::NotYetValid { .. } => "set the clock, or wait".to_owned(),
            Warning::DomainNotCovered { names, .. } => match names.first() {
                Some(name) if domain.span.is_none() => {
                    format!("set domain = \"{name}\" in [server]")
                }
                Some(_) | None => {
                    format!(
                        "get a certificate that names {}, or change `server.domain`",
                        domain.value
                    )
                }
            },
            Warning::ChainIncomplete { .. } | Warning::ChainBroken { .. } => {
                "name the file with the whole chain: fullchain.pem".to_owned()
            }
            Warning::SelfSigned => {
                "get one from a public authority; browsers refuse this one".to_owned()
            }
            Warning::KeyReadableByAll { path } => format!("chmod o-rwx {}", path.display()),
        };
        reader.push(
            Draft::warning(warning.to_string(), format!("{}", cert.display()))
                .at(span.clone())
                .help(help),
        );
    }
}

/// Warnings about the machine, for a configuration that is valid.
pub fn about_machine(config: &Config, machine: &Machine) -> Vec<Problem> {
    let mut warnings = Vec::new();
    let wanted = config.io.listener_buffer_bytes as u64;
    if let Some(rmem_max) = machine.rmem_max.filter(|max| *max < wanted)
        && !config.io.udp.is_empty()
    {
        warnings.push(Problem::warning(
            format!("the system limits UDP receive buffers to {}", show_size(rmem_max)),
            format!(
                "`listen.limits.udp_buffer_bytes` asks for {}; packets are lost in bursts",
                show_size(wanted)
            ),
            format!("sysctl -w net.core.rmem_max={wanted} net.core.wmem_max={wanted}, and the same in /etc/sysctl.d/"),
        ));
    }
    warnings
}
