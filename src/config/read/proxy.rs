//! `[proxy]`: what may be reached through the proxy, who may ask, how long and how much.

use super::turn::{networks, plain};
use crate::config::section::{At, Draft, Item, Table, Wrong};
use crate::config::values::{self, Zero};
use crate::config::{Surroundings, hosts, nearest, secrets};
use crate::ip_rules::IpRules;
use crate::proxy::{HostRule, Limits, PrefixRoute, Settings, Timeouts, vendors};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// Paths that relayd answers itself.
const OWN_PREFIXES: [&str; 5] = [
    "/healthcheck/",
    "/healthz/",
    "/readyz/",
    "/metrics/",
    "/credentials/",
];

pub(in crate::config) struct Proxy {
    /// `public_names` is empty where the file has none: the default follows from domain and listeners.
    pub settings: Settings,
    pub test_page: bool,
    pub vendors: Vec<String>,
}

pub(in crate::config) fn read(table: &Table<'_>, around: &Surroundings<'_>) -> Proxy {
    let vendors: Vec<At<&'static vendors::Preset>> = table
        .list("vendors", vendor)
        .map(|list| list.value)
        .unwrap_or_default();
    let preset_rules = |of: fn(&vendors::Preset) -> &'static [vendors::Hosts]| -> Vec<HostRule> {
        let presets = vendors.iter().map(|vendor| of(vendor.value));
        presets.flat_map(vendors::rules).collect()
    };
    let allow = rules(table, "allow", hosts::HTTPS_ALONE);
    let agora_hosts = rules(table, "agora_hosts", hosts::HTTPS_ALONE);
    let trtc_signal_hosts = rules(table, "trtc_signal_hosts", hosts::HTTPS_ALONE);
    let own_routes = table.tables("route", route);
    let addresses = table.table("addresses");
    let address_rules = IpRules::new(
        plain(&networks(&addresses, "allow")),
        plain(&networks(&addresses, "deny")),
    );
    let settings = Settings {
        public_names: table
            .list("public_names", |item| {
                hosts::parse_authority(item.text("\"host\" or \"host:port\"")?)
            })
            .map(|list| list.value.into_iter().map(|name| name.value).collect())
            .unwrap_or_default(),
        allow: joined(allow, preset_rules(|preset| preset.hosts)),
        deny: rules(table, "deny", hosts::EVERY_PORT),
        routes: routes(table, own_routes, &vendors),
        agora_hosts: joined(agora_hosts, preset_rules(|preset| preset.agora_hosts)),
        trtc_signal_hosts: joined(
            trtc_signal_hosts,
            preset_rules(|preset| preset.trtc_signal_hosts),
        ),
        cors_origins: origins(table),
        trusted_proxies: plain(&networks(table, "trusted_proxies")),
        prefixes: table
            .list("prefixes", |item| {
                hosts::parse_prefix(item.text("a path prefix such as \"/azure\"")?)
                    .map(|prefix| prefix.trim_end_matches('/').to_owned())
            })
            .map(|list| unique(list.value.into_iter().map(|prefix| prefix.value)))
            .unwrap_or_default(),
        resolve: resolve(table),
        ca_file: table
            .read("ca_file", |item| secrets::certificates_file(item, around))
            .map(|path| path.value),
        addresses: address_rules,
        timeouts: timeouts(&table.table("timeouts")),
        limits: limits(&table.table("limits")),
    };
    Proxy {
        settings,
        test_page: table
            .read("test_page", |item| item.boolean())
            .is_some_and(|on| on.value),
        vendors: unique(vendors.iter().map(|vendor| vendor.value.name.to_owned())),
    }
}

fn unique<T: Clone + Eq + std::hash::Hash>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = HashSet::new();
    values.filter(|value| seen.insert(value.clone())).collect()
}

fn vendor(item: &Item<'_>) -> Result<&'static vendors::Preset, Wrong> {
    let name = item.text("the name of a vendor")?;
    vendors::preset(name).ok_or_else(|| {
        let wrong = Wrong::new(
            "names an unknown vendor",
            format!("accepted: {}", vendors::NAMES.join(", ")),
        );
        match nearest::nearest(name, vendors::NAMES) {
            Some(meant) => wrong.help(format!("did you mean \"{meant}\"?")),
            None => wrong.help("list the hosts of other services in `proxy.allow`"),
        }
    })
}

fn rules(table: &Table<'_>, key: &str, default_ports: RangeInclusive<u16>) -> Vec<HostRule> {
    let list = table.list(key, |item| {
        let text = item.text("a host such as \"api.example.com\"")?;
        hosts::parse_host_rules(text, default_ports.clone())
    });
    let rules = list.into_iter().flat_map(|list| list.value);
    unique(rules.flat_map(|rules| rules.value))
}

fn joined(own: Vec<HostRule>, presets: Vec<HostRule>) -> Vec<HostRule> {
    unique(own.into_iter().chain(presets))
}

/// The operator's routes and the presets'. The operator's beats a preset's of the same prefix.
fn routes(
    table: &Table<'_>,
    own: Vec<At<PrefixRoute>>,
    vendors: &[At<&'static vendors::Preset>],
) -> Vec<PrefixRoute> {
    let mut routes: Vec<PrefixRoute> = Vec::new();
    for route in own {
        if routes
            .iter()
            .any(|other| other.prefix == route.value.prefix)
        {
            table.reader().push(
                Draft::error(
                    format!("`proxy.route` has the prefix {} twice", route.value.prefix),
                    "a prefix has one upstream",
                )
                .at(route.span)
                .help("remove one of the two routes"),
            );
            continue;
        }
        routes.push(route.value);
    }
    let mut owner: HashMap<String, &str> = HashMap::new();
    for vendor in vendors {
        let clash = |prefix: &str, other: &str| {
            table.reader().push(
                Draft::error(
                    format!(
                        "`proxy.vendors` has two vendors for the prefix {prefix}: {other} and {}",
                        vendor.value.name
                    ),
                    "a prefix has one upstream",
                )
                .at(vendor.span.clone())
                .help(format!(
                    "name one of the two, and write [[proxy.route]] entries with other prefixes for the other ({})",
                    vendor.value.name
                )),
            );
        };
        for route in vendor.value.routes() {
            match owner.get(&route.prefix) {
                Some(other) if *other != vendor.value.name => clash(&route.prefix, other),
                Some(_) => {}
                None if routes.iter().any(|own| own.prefix == route.prefix) => {}
                None => {
                    owner.insert(route.prefix.clone(), vendor.value.name);
                    routes.push(route);
                }
            }
        }
    }
    routes
}

fn route(table: &Table<'_>) -> Option<At<PrefixRoute>> {
    let prefix = table.read("prefix", |item| {
        let prefix = hosts::parse_prefix(item.text("a path prefix such as \"/ws/\"")?)?;
        if OWN_PREFIXES.contains(&prefix.as_str()) {
            return Err(Wrong::new(
                "is a path that relayd answers itself",
                format!("not for routes: {}", OWN_PREFIXES.join(", ")),
            ));
        }
        Ok(prefix)
    });
    let upstream = table.read("upstream", |item| {
        hosts::parse_upstream(item.text("an https URL")?)
    });
    for key in ["prefix", "upstream"] {
        if table.span().is_some() && table.item(key).is_none() {
            table.reader().push(
                Draft::error(
                    format!("a `[[proxy.route]]` has no `{key}`"),
                    "accepted: prefix = \"/ws/\" and upstream = \"https://signaling.example.com/\"",
                )
                .at(table.span())
                .help(format!("add `{key}` to this route")),
            );
        }
    }
    let (prefix, upstream) = (prefix?, upstream?);
    Some(At {
        value: PrefixRoute {
            prefix: prefix.value,
            upstream: upstream.value,
        },
        span: prefix.span,
    })
}

fn origins(table: &Table<'_>) -> Vec<String> {
    let Some(list) = table.list("cors_origins", |item| {
        hosts::parse_origin(item.text("\"*\" or an origin such as \"https://app.example.com\"")?)
    }) else {
        return Settings::default().cors_origins;
    };
    let origins = unique(list.value.into_iter().map(|origin| origin.value));
    if origins.len() > 1 && origins.iter().any(|origin| origin == "*") {
        table.reader().push(
            Draft::warning(
                "`proxy.cors_origins` has \"*\" beside other origins",
                "\"*\" allows every origin",
            )
            .at(list.span)
            .help("remove \"*\" to allow the listed origins only"),
        );
    }
    origins
}

/// `{ "api.example.com:443" = "127.0.0.1:9443" }`; a port that is left out is 443, or the same.
fn resolve(table: &Table<'_>) -> HashMap<(String, u16), SocketAddr> {
    let mut resolve: HashMap<(String, u16), SocketAddr> = HashMap::new();
    for (name, item) in table.map("resolve") {
        let target = match resolve_target(&name.value) {
            Ok(target) => target,
            Err(wrong) => {
                let message = format!("`proxy.resolve` has a name that {}", wrong.what);
                let mut draft = Draft::error(message, wrong.label).at(name.span);
                if let Some(help) = wrong.help {
                    draft = draft.help(help);
                }
                table.reader().push(draft);
                continue;
            }
        };
        let Some(addr) = item.parsed(|item| resolve_address(item, target.1)) else {
            continue;
        };
        let text = format!("{}:{}", target.0, target.1);
        if resolve.insert(target, addr.value).is_some() {
            table.reader().push(
                Draft::error(
                    format!("`proxy.resolve` has {text} twice"),
                    "a name and port has one address",
                )
                .at(name.span)
                .help("remove one of the two"),
            );
        }
    }
    resolve
}

fn resolve_target(text: &str) -> Result<(String, u16), Wrong> {
    let (host, port) = hosts::split_port(text)?;
    Ok((hosts::parse_host(host)?, port.unwrap_or(hosts::HTTPS_PORT)))
}

fn resolve_address(item: &Item<'_>, port: u16) -> Result<SocketAddr, Wrong> {
    let text = item.text("an address such as \"127.0.0.1:9443\"")?;
    let addr = match text.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port),
        Err(_) => values::parse_socket_addr(text)?,
    };
    if addr.ip().is_unspecified() || addr.port() == 0 {
        return Err(Wrong::new(
            "is not an address to connect to",
            "accepted: an address of a machine, with a port from 1 to 65535",
        ));
    }
    Ok(addr)
}

fn timeouts(table: &Table<'_>) -> Timeouts {
    let defaults = Timeouts::default();
    let read = |key: &str, default: Duration| {
        table
            .read(key, values::duration(Duration::from_millis(1)..=DAY))
            .map_or(default, |timeout| timeout.value)
    };
    Timeouts {
        request_header: read("request_header", defaults.request_header),
        idle: read("idle", defaults.idle),
        resolve: read("resolve", defaults.resolve),
        connect: read("connect", defaults.connect),
        response: read("response", defaults.response),
        body_idle: read("body_idle", defaults.body_idle),
        tunnel_idle: read("tunnel_idle", defaults.tunnel_idle),
        upstream_idle: read("upstream_idle", defaults.upstream_idle),
    }
}

fn limits(table: &Table<'_>) -> Limits {
    let defaults = Limits::default();
    let count = |key: &str, low: u32, default: usize| {
        table
            .read(key, values::integer(low..=u32::MAX))
            .map_or(default, |n| usize::try_from(n.value).unwrap_or(usize::MAX))
    };
    let size = |key: &str, low: u64, high: u64, default: usize| {
        table
            .read(key, values::size_usize(low..=high, Zero::Refused))
            .map_or(default, |bytes| bytes.value)
    };
    let small = |key: &str, range, default: u32| {
        table
            .read(key, values::integer(range))
            .map_or(default, |n| n.value)
    };
    Limits {
        header_bytes: size("header_bytes", 8 << 10, 1 << 20, defaults.header_bytes),
        headers: count("headers", 16, defaults.headers),
        target_bytes: size("target_bytes", 256, 1 << 20, defaults.target_bytes),
        h2_streams: small("h2_streams", 1..=65_536, defaults.h2_streams),
        body_bytes: table
            .read("body_bytes", values::size(1..=1 << 50, Zero::Accepted))
            .map_or(defaults.body_bytes, |bytes| bytes.value),
        replay_bytes: table
            .read(
                "replay_bytes",
                values::size_usize(0..=64 << 20, Zero::Accepted),
            )
            .map_or(defaults.replay_bytes, |bytes| bytes.value),
        redirects: u8::try_from(small("redirects", 0..=20, u32::from(defaults.redirects)))
            .unwrap_or(defaults.redirects),
        upstream_connections_per_host: count(
            "upstream_connections_per_host",
            0,
            defaults.upstream_connections_per_host,
        ),
        // No key: app works it out.
        upstream_connections: defaults.upstream_connections,
        upstream_idle_per_host: count("upstream_idle_per_host", 0, defaults.upstream_idle_per_host),
        tunnels: count("tunnels", 0, defaults.tunnels),
        requests_per_s_per_address: small(
            "requests_per_second_per_address",
            0..=u32::MAX,
            defaults.requests_per_s_per_address,
        ),
    }
}

/// relayd's own authorities when the file names none: the domain, alone and with every port that is not 443.
pub(in crate::config) fn default_public_names(
    domain: &str,
    listeners: impl Iterator<Item = SocketAddr>,
) -> Vec<String> {
    let host = match domain.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => format!("[{v6}]"),
        Ok(IpAddr::V4(_)) | Err(_) => domain.to_owned(),
    };
    let ports = listeners
        .map(|addr| addr.port())
        .filter(|port| *port != 0 && *port != hosts::HTTPS_PORT);
    let with_ports = ports.map(|port| format!("{host}:{port}"));
    unique(std::iter::once(host.clone()).chain(with_ports))
}
