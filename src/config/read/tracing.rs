//! `[tracing]`: where spans for OpenTelemetry go, and which.

use crate::config::section::{Draft, Item, Table, Wrong};
use crate::config::{Surroundings, hosts, secrets, values};
use crate::secret::Secret;
use crate::spans::{Endpoint, Settings};
use http::{HeaderName, header};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

const ENDPOINT: &str = "\"off\", or the base URL of a collector such as \"http://127.0.0.1:4318\"";
/// What OTLP appends to a base URL; pasted often.
const TRACES_PATH: &str = "/v1/traces";
const NAME_BYTES_MAX: usize = 255;
const HEADERS_MAX: usize = 16;

/// What relayd says itself.
const OWN_HEADERS: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// `privacy` is `log.privacy`.
pub(in crate::config) fn read(
    table: &Table<'_>,
    around: &Surroundings<'_>,
    privacy: bool,
) -> Settings {
    let defaults = Settings::default();
    let endpoint = table.read("endpoint", endpoint);
    let span = endpoint.as_ref().and_then(|endpoint| endpoint.span.clone());
    let endpoint = endpoint.and_then(|endpoint| endpoint.value);
    let service_name = table.read("service_name", |item| {
        values::plain_text(item, NAME_BYTES_MAX)
    });
    let ratio = table.read("sample_ratio", values::ratio);
    let propagate = table.read("propagate", Item::boolean);
    let headers = headers(table, around);
    let ca_file = table.read("ca_file", |item| secrets::certificates_file(item, around));
    let second = Duration::from_secs(1);
    let timeout = table.read("timeout", values::duration(second..=second * 60));
    let queue = table.read("queue_spans", values::integer(512..=1 << 20));
    if let Some(endpoint) = &endpoint
        && !endpoint.tls
        && !headers.is_empty()
        && !is_here(&endpoint.host)
    {
        table.reader().push(
            Draft::warning(
                "`tracing.headers` are sent without TLS",
                "who can listen on the way to the collector can read them",
            )
            .at(span)
            .help("give the collector TLS and write https, or run one on this machine"),
        );
    }
    Settings {
        endpoint,
        service_name: service_name.map_or(defaults.service_name, |name| name.value),
        sample_ratio: ratio.map_or(defaults.sample_ratio, |ratio| ratio.value),
        propagate: propagate.map_or(defaults.propagate, |at| at.value),
        headers,
        ca_file: ca_file.map(|path| path.value),
        timeout: timeout.map_or(defaults.timeout, |at| at.value),
        queue_spans: queue.map_or(defaults.queue_spans, |at| at.value as usize),
        privacy,
    }
}

fn is_here(host: &str) -> bool {
    let loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
    host == "localhost" || host.parse().is_ok_and(loopback)
}

/// `None`: off.
fn endpoint(item: &Item<'_>) -> Result<Option<Endpoint>, Wrong> {
    let text = item.text(ENDPOINT)?;
    if text == "off" {
        return Ok(None);
    }
    let bad = |label: &str| Wrong::new("is not the URL of a collector", label);
    let accepted = format!("accepted: {ENDPOINT}");
    let (scheme, rest) = text.split_once("://").ok_or_else(|| bad(&accepted))?;
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return Err(bad(&accepted)),
    };
    if rest.contains(['?', '#', '@']) {
        return Err(
            bad("a base URL has no user, no query and no fragment").help("put keys in `headers`")
        );
    }
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    let base = path.trim_end_matches('/');
    if base.ends_with(TRACES_PATH) {
        return Err(bad("relayd appends /v1/traces itself").help(format!(
            "write \"{}\"",
            text.trim_end_matches('/').trim_end_matches(TRACES_PATH)
        )));
    }
    let path_ok = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b);
    if !base.bytes().all(path_ok) {
        return Err(bad("the path has characters that a URL cannot have"));
    }
    let (host, port) = place(authority)?;
    Ok(Some(Endpoint {
        tls,
        host,
        port: port.unwrap_or(if tls { 443 } else { 80 }),
        base: base.to_owned(),
    }))
}

/// A name or an address, which for IPv6 stands in brackets, perhaps with a port.
fn place(authority: &str) -> Result<(String, Option<u16>), Wrong> {
    let Some(rest) = authority.strip_prefix('[') else {
        let (host, port) = hosts::split_port(authority)?;
        if host.parse::<IpAddr>().is_ok() || is_here(host) {
            return Ok((host.to_owned(), port));
        }
        // One label is a name here: in a cluster a collector has no other.
        let dotless = !host.is_empty()
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !host.bytes().all(|b| b.is_ascii_digit());
        return match dotless {
            true => Ok((host.to_ascii_lowercase(), port)),
            false => Ok((hosts::parse_host(host)?, port)),
        };
    };
    let bad = || {
        Wrong::new(
            "is not the URL of a collector",
            "an IPv6 address stands in brackets: \"http://[::1]:4318\"",
        )
    };
    let (ip, port) = rest.split_once(']').ok_or_else(bad)?;
    let ip: Ipv6Addr = ip.parse().map_err(|_| bad())?;
    let port = match port.strip_prefix(':') {
        Some(port) => Some(
            port.parse::<u16>()
                .ok()
                .filter(|p| *p > 0)
                .ok_or_else(bad)?,
        ),
        None if port.is_empty() => None,
        None => return Err(bad()),
    };
    Ok((ip.to_string(), port))
}

/// Every value is a secret: mostly it is the key to the collector.
fn headers(table: &Table<'_>, around: &Surroundings<'_>) -> Vec<(HeaderName, Secret)> {
    if let Some(item) = table.item("headers") {
        item.mask_all(true);
    }
    let entries = table.map("headers");
    if let Some(item) = table
        .item("headers")
        .filter(|_| entries.len() > HEADERS_MAX)
    {
        item.report(Wrong::new(
            "has too many headers",
            format!("accepted: {HEADERS_MAX} at most"),
        ));
    }
    let read = |(key, item): (crate::config::section::At<String>, Item<'_>)| {
        let value = item.parsed(|item| header_value(item, around));
        let name = match header_name(&key.value) {
            Ok(name) => name,
            Err(wrong) => {
                item.report(wrong);
                return None;
            }
        };
        Some((name, value?.value))
    };
    entries.into_iter().filter_map(read).collect()
}

fn header_name(name: &str) -> Result<HeaderName, Wrong> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
        Wrong::new(
            "is not the name of a header",
            "accepted: letters, digits and dashes, such as authorization",
        )
    })?;
    if OWN_HEADERS.contains(&name) {
        return Err(Wrong::new(
            "is a header that relayd sets itself",
            "accepted: others, such as authorization",
        ));
    }
    Ok(name)
}

fn header_value(item: &Item<'_>, around: &Surroundings<'_>) -> Result<Secret, Wrong> {
    let value = secrets::secret(item, around)?;
    let sendable = |b: u8| b == b' ' || b.is_ascii_graphic();
    if !value.expose().bytes().all(sendable) {
        return Err(Wrong::new(
            "has characters that a header cannot have",
            "accepted: printable ASCII",
        ));
    }
    Ok(value)
}
