//! `[server]`: names, external addresses, workers, drain.

use crate::addr::Family;
use crate::config::section::{At, Draft, Item, Table, Wrong};
use crate::config::{Surroundings, hosts, values};
use crate::turn::ExternalIps;
use std::net::IpAddr;
use std::time::Duration;

const WORKERS_MAX: u32 = 1024;
const EXTERNAL_IP: &str =
    "\"203.0.113.7\", a \"public/private\" pair such as \"203.0.113.7/10.0.0.4\", or \"auto\"";
/// Asked for `external_ip = "auto"` unless the file names others.
const STUN_SERVERS: [&str; 2] = ["stun.cloudflare.com:3478", "stun.l.google.com:19302"];

pub(in crate::config) struct Server {
    pub domain: At<String>,
    pub external_ips: ExternalIps,
    pub external_span: Option<std::ops::Range<usize>>,
    /// STUN servers to ask at start; empty unless `external_ip` has "auto".
    pub external_ip_stun: Vec<String>,
    pub workers: usize,
    pub drain_timeout: Duration,
    pub upgrade_timeout: Duration,
    pub upgrade_drain_timeout: Duration,
}

enum External {
    Auto,
    Plain(IpAddr),
    Pair(IpAddr, IpAddr),
}

pub(in crate::config) fn read(table: &Table<'_>, around: &Surroundings<'_>) -> Server {
    let domain = table.read("domain", domain);
    let external = table.list("external_ip", |item| external(item.text(EXTERNAL_IP)?));
    let external_span = external.as_ref().and_then(|list| list.span.clone());
    let external = external.map_or_else(Vec::new, |list| list.value);
    let (external_ips, auto) = collect(table, &external);
    let stun = table
        .list("external_ip_stun", |item| {
            stun_server(item.text("\"host:port\" of a STUN server")?)
        })
        .map(|list| list.value.into_iter().map(|server| server.value).collect())
        .unwrap_or_else(|| STUN_SERVERS.map(str::to_owned).to_vec());
    let workers = table
        .read("workers", workers)
        .and_then(|workers| workers.value)
        .unwrap_or(around.machine.cpus.max(1));
    let drain_timeout = table
        .read(
            "drain_timeout",
            values::duration(Duration::ZERO..=Duration::from_secs(86_400)),
        )
        .map_or(Duration::from_secs(60), |timeout| timeout.value);
    let timeout = |name, from_s, to_s, default_s| {
        let range = Duration::from_secs(from_s)..=Duration::from_secs(to_s);
        let read = table.read(name, values::duration(range));
        read.map_or(Duration::from_secs(default_s), |timeout| timeout.value)
    };
    let upgrade_timeout = timeout("upgrade_timeout", 1, 600, 30);
    let upgrade_drain_timeout = timeout("upgrade_drain_timeout", 0, 7 * 86_400, 4 * 3600);
    Server {
        domain: domain.unwrap_or_else(|| At::absent(default_domain(&external_ips, around))),
        external_ips,
        external_span,
        external_ip_stun: if auto { stun } else { Vec::new() },
        workers,
        drain_timeout,
        upgrade_timeout,
        upgrade_drain_timeout,
    }
}

fn domain(item: &Item<'_>) -> Result<String, Wrong> {
    let text = item.text("a host name, or an IP address")?;
    match text.parse::<IpAddr>() {
        Ok(ip) => Ok(ip.to_canonical().to_string()),
        Err(_) => hosts::parse_host(text),
    }
}

/// The host name if it is a full one, else the public address, else what there is.
fn default_domain(external: &ExternalIps, around: &Surroundings<'_>) -> String {
    let hostname = around.machine.hostname.clone();
    let full = hostname.clone().filter(|name| name.contains('.'));
    let public = external.plain.first().map(IpAddr::to_string);
    full.or(public)
        .or(hostname)
        .unwrap_or_else(|| "localhost".to_owned())
}

fn external(text: &str) -> Result<External, Wrong> {
    if text == "auto" {
        return Ok(External::Auto);
    }
    let accepted = |wrong: Wrong| Wrong {
        label: format!("accepted: {EXTERNAL_IP}"),
        ..wrong
    };
    let specific = |ip: IpAddr| {
        if ip.is_unspecified() || ip.is_multicast() {
            return Err(Wrong::new(
                "is not the address of a machine",
                format!("accepted: {EXTERNAL_IP}"),
            ));
        }
        Ok(ip)
    };
    let Some((public, private)) = text.split_once('/') else {
        return Ok(External::Plain(specific(
            values::parse_ip(text).map_err(accepted)?,
        )?));
    };
    let public = specific(values::parse_ip(public).map_err(accepted)?)?;
    let private = specific(values::parse_ip(private).map_err(accepted)?)?;
    if Family::of(public) != Family::of(private) {
        return Err(Wrong::new(
            "pairs an IPv4 with an IPv6 address",
            "both addresses of a pair are of one family",
        ));
    }
    Ok(External::Pair(public, private))
}

fn collect(table: &Table<'_>, list: &[At<External>]) -> (ExternalIps, bool) {
    let mut ips = ExternalIps::default();
    let mut auto = false;
    for entry in list {
        let error = |message: String, label: &str, help: &str| {
            let draft = Draft::error(message, label)
                .at(entry.span.clone())
                .help(help);
            table.reader().push(draft);
        };
        match entry.value {
            External::Auto => auto = true,
            External::Plain(ip) => {
                let same = |other: &&IpAddr| Family::of(**other) == Family::of(ip);
                if let Some(other) = ips.plain.iter().find(same) {
                    error(
                        format!(
                            "`server.external_ip` has two addresses of one family, {other} and {ip}"
                        ),
                        "one address can stand for all own addresses of its family",
                        "write pairs: \"public/private\" for each private address",
                    );
                }
                ips.plain.push(ip);
            }
            External::Pair(public, private) => {
                if ips.pairs.iter().any(|(_, other)| *other == private) {
                    error(
                        format!("`server.external_ip` maps {private} twice"),
                        "a private address has one public address",
                        "remove one of the two pairs",
                    );
                }
                ips.pairs.push((public, private));
            }
        }
    }
    (ips, auto)
}

fn stun_server(text: &str) -> Result<String, Wrong> {
    let (_, port) = hosts::split_port(text)?;
    match (text.parse::<std::net::SocketAddr>(), port) {
        (Ok(addr), _) => Ok(addr.to_string()),
        (Err(_), Some(_)) => hosts::parse_authority(text),
        (Err(_), None) => Err(Wrong::new(
            "is not a STUN server",
            "accepted: \"host:port\", such as \"stun.example.com:3478\"",
        )
        .help(format!("write \"{text}:3478\""))),
    }
}

fn workers(item: &Item<'_>) -> Result<Option<usize>, Wrong> {
    match item.maybe_text() {
        Some("auto") => Ok(None),
        Some(_) => Err(Wrong::new(
            "is not a number of workers",
            format!("accepted: \"auto\", or a whole number, 1 to {WORKERS_MAX}"),
        )),
        None => {
            let workers = values::integer(1..=WORKERS_MAX)(item)?;
            Ok(Some(usize::try_from(workers).unwrap_or(1)))
        }
    }
}
