//! Names on the web: host rules, origins, route prefixes and upstreams. Pure; each error says how to write it.
//!
//! A host is letters, digits and hyphens in dotted labels (PROXY.md): no IP literal, empty label or trailing dot.

use super::section::Wrong;
use crate::proxy::HostRule;
use crate::proxy::allowlist::{is_host_name, parse_ports};
use std::net::IpAddr;
use std::ops::RangeInclusive;

pub(super) const HTTPS_PORT: u16 = 443;
const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
const HOST: &str = "a host name such as \"api.example.com\"";
const HOST_RULE: &str = "\"api.example.com\", \"*.example.net\", each with its ports if they are not 443: \"host.example.org:8443\", \"*.example.org:443,4700-5000\"";
/// The ports of an entry that names none: where hosts are opened, and where they are closed.
pub(super) const HTTPS_ALONE: RangeInclusive<u16> = HTTPS_PORT..=HTTPS_PORT;
pub(super) const EVERY_PORT: RangeInclusive<u16> = 1..=u16::MAX;

/// Checks a host name and makes it lower case.
pub(super) fn parse_host(text: &str) -> Result<String, Wrong> {
    let bad = |label: &str| Wrong::new("is not a host name", label);
    if text.is_empty() {
        return Err(bad(&format!("accepted: {HOST}")));
    }
    if !text.is_ascii() {
        return Err(bad("the name has letters beyond ASCII")
            .help("write it in its ASCII form, which begins with \"xn--\""));
    }
    if text.len() > HOST_BYTES_MAX {
        return Err(bad("a host name has 253 characters at most"));
    }
    if let Some(name) = text.strip_suffix('.') {
        return Err(bad("it ends in a dot").help(format!("write \"{name}\"")));
    }
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_BYTES_MAX
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if !text.split('.').all(label_ok) {
        return Err(bad(&format!("accepted: {HOST}")));
    }
    // What is left of it: a last label that is a number, in any notation.
    if !is_host_name(text) {
        return Err(bad("this is an IP address").help("write the name of the host"));
    }
    Ok(text.to_ascii_lowercase())
}

/// Splits `host:port`; without a port there is none.
pub(super) fn split_port(text: &str) -> Result<(&str, Option<u16>), Wrong> {
    let Some((host, port)) = text.rsplit_once(':') else {
        return Ok((text, None));
    };
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok((host, Some(port))),
        Ok(_) | Err(_) => Err(Wrong::new(
            "has a bad port",
            "accepted: a port from 1 to 65535 after the colon",
        )),
    }
}

/// One entry of `proxy.allow` and its like: a name or suffix, with several ports one rule for each range.
pub(super) fn parse_host_rules(
    text: &str,
    default_ports: RangeInclusive<u16>,
) -> Result<Vec<HostRule>, Wrong> {
    let bad = |label: String| Wrong::new("is not a host rule", label);
    if text == "*" || text == "*.*" {
        return Err(
            bad("this would make relayd an open proxy".to_owned()).help(format!(
                "list the hosts that clients need: {HOST_RULE}; or name vendors in `proxy.vendors`"
            )),
        );
    }
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let host = host.rsplit('@').next().unwrap_or(host);
        return Err(bad("an entry is a host, without a scheme".to_owned())
            .help(format!("write \"{host}\"")));
    }
    if let Some((host, _)) = text.split_once('/') {
        return Err(
            bad("an entry is a host, without a path".to_owned()).help(format!("write \"{host}\""))
        );
    }
    let (name, ports) = split_ports(text, default_ports)?;
    let (name, subdomains) = match name.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (name, false),
    };
    if name.contains('*') {
        return Err(bad(format!("accepted: {HOST_RULE}"))
            .help("a `*` may only stand for everything before a name: \"*.example.net\""));
    }
    if name.starts_with('.') {
        return Err(bad(format!("accepted: {HOST_RULE}")).help(format!("write \"*{text}\"")));
    }
    let name = parse_host(name)?;
    if subdomains && !name.contains('.') {
        return Err(bad("this would open a whole top-level domain".to_owned())
            .help(format!("name the domain too: \"*.example.{name}\"")));
    }
    let rule = |ports| HostRule {
        name: name.clone(),
        subdomains,
        ports,
    };
    Ok(ports.into_iter().map(rule).collect())
}

/// Splits `host:443,4700-5000`.
fn split_ports(
    text: &str,
    default_ports: RangeInclusive<u16>,
) -> Result<(&str, Vec<RangeInclusive<u16>>), Wrong> {
    let Some((host, ports)) = text.split_once(':') else {
        return Ok((text, vec![default_ports]));
    };
    let ports = ports.split(',').map(|ports| parse_ports(ports.trim()));
    match ports.collect() {
        Some(ports) => Ok((host, ports)),
        None => Err(Wrong::new(
            "has a bad port",
            "accepted: ports from 1 to 65535 after the colon: \"443\", \"443,4700-5000\"",
        )),
    }
}

/// `host` or `host:port` as relayd itself is called; addresses are accepted.
pub(super) fn parse_authority(text: &str) -> Result<String, Wrong> {
    if text.parse::<IpAddr>().is_ok() || text.parse::<std::net::SocketAddr>().is_ok() {
        return Ok(text.to_ascii_lowercase());
    }
    if let Some((_, rest)) = text.split_once("://") {
        return Err(
            Wrong::new("has a scheme", "accepted: \"host\" or \"host:port\"")
                .help(format!("write \"{}\"", rest.trim_end_matches('/'))),
        );
    }
    let (host, port) = split_port(text)?;
    let host = parse_host(host)?;
    Ok(match port {
        Some(port) => format!("{host}:{port}"),
        None => host,
    })
}

/// One entry of `proxy.cors_origins`: `*` or `https://host[:port]`.
pub(super) fn parse_origin(text: &str) -> Result<String, Wrong> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let bad = |label: &str| Wrong::new("is not an origin", label);
    let Some((scheme, authority)) = text.split_once("://") else {
        return Err(
            bad("accepted: \"*\", or scheme and host such as \"https://app.example.com\"")
                .help(format!("write \"https://{text}\"")),
        );
    };
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "https" && scheme != "http" {
        return Err(bad("an origin begins with https:// or http://"));
    }
    if let Some((authority, _)) = authority.split_once(['/', '?', '#']) {
        return Err(bad("browsers send an origin without a path")
            .help(format!("write \"{scheme}://{authority}\"")));
    }
    if authority.contains('*') {
        return Err(bad("wildcards are not accepted inside an origin")
            .help("list each origin, or write \"*\" for any"));
    }
    let authority = parse_authority(authority)?;
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    let authority = authority.strip_suffix(default_port).unwrap_or(&authority);
    Ok(format!("{scheme}://{authority}"))
}

/// A path prefix with a slash at both ends.
pub(super) fn parse_prefix(text: &str) -> Result<String, Wrong> {
    let bad = |label: &str| Wrong::new("is not a path prefix", label);
    let Some(inside) = text.strip_prefix('/') else {
        return Err(bad("a prefix begins with a slash").help(format!("write \"/{text}\"")));
    };
    let inside = inside.strip_suffix('/').unwrap_or(inside);
    if inside.is_empty() {
        return Err(bad("this would take every request").help("name a prefix such as \"/ws/\""));
    }
    let byte_ok = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&b);
    let segment_ok = |segment: &str| {
        !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(byte_ok)
    };
    if !inside.split('/').all(segment_ok) {
        return Err(bad(
            "accepted: letters, digits and -._~ between single slashes, such as \"/ws/\"",
        ));
    }
    Ok(format!("/{inside}/"))
}

/// A prefix route's upstream; it gets a slash at its end.
pub(super) fn parse_upstream(text: &str) -> Result<String, Wrong> {
    let bad = |label: &str| Wrong::new("is not an upstream", label);
    let example = "such as \"https://signaling.example.com/\"";
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(bad(&format!("accepted: an https URL, {example}"))
            .help(format!("write \"https://{text}\"")));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "https" => {}
        "wss" => {
            return Err(bad("the scheme is https, for WebSockets too")
                .help(format!("write \"https://{rest}\"")));
        }
        "http" | "ws" => {
            return Err(bad("upstreams are reached over verified TLS only")
                .help(format!("write \"https://{rest}\"")));
        }
        _ => return Err(bad(&format!("accepted: an https URL, {example}"))),
    }
    if rest.contains(['?', '#']) {
        return Err(bad(
            "an upstream has no query and no fragment: the client's query is kept",
        ));
    }
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, path),
        None => (rest, ""),
    };
    let (host, port) = split_port(authority)?;
    let host = parse_host(host)?;
    let path_ok = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b);
    if !path.bytes().all(path_ok) {
        return Err(bad("the path has characters that a URL cannot have")
            .help("write them percent-encoded"));
    }
    let port = match port {
        Some(port) if port != HTTPS_PORT => format!(":{port}"),
        Some(_) | None => String::new(),
    };
    let slash = if path.is_empty() || path.ends_with('/') {
        ""
    } else {
        "/"
    };
    Ok(format!("https://{host}{port}/{path}{slash}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, subdomains: bool, port: u16) -> HostRule {
        HostRule {
            name: name.to_owned(),
            subdomains,
            ports: port..=port,
        }
    }

    fn parse_rules(text: &str) -> Result<Vec<HostRule>, Wrong> {
        parse_host_rules(text, HTTPS_ALONE)
    }

    #[test]
    fn host_rules_are_names_suffixes_and_ports() {
        for (text, expected) in [
            ("api.example.com", rule("api.example.com", false, 443)),
            ("API.Example.com", rule("api.example.com", false, 443)),
            ("*.example.net", rule("example.net", true, 443)),
            (
                "host.example.org:8443",
                rule("host.example.org", false, 8443),
            ),
            ("*.example.org:8443", rule("example.org", true, 8443)),
            (
                "xn--bcher-kva.example",
                rule("xn--bcher-kva.example", false, 443),
            ),
            ("localhost:8443", rule("localhost", false, 8443)),
        ] {
            assert_eq!(parse_rules(text).expect(text), [expected]);
        }
    }

    #[test]
    fn a_host_rule_may_have_several_ports_and_ranges_or_the_default_ones() {
        let ports = |text: &str| -> Vec<RangeInclusive<u16>> {
            let rules = parse_rules(text).expect(text);
            rules.into_iter().map(|rule| rule.ports).collect()
        };
        assert_eq!(
            ports("*.a.com:443,4700-5000, 80"),
            [443..=443, 4700..=5000, 80..=80]
        );
        let denied = parse_host_rules("a.com", EVERY_PORT).expect("a rule");
        assert_eq!(denied[0].ports, 1..=65535);
        for text in [
            "a.com:443,",
            "a.com:,",
            "a.com:5-1",
            "a.com:0-9",
            "a.com:1-65536",
            "a.com:1:2",
        ] {
            assert!(parse_rules(text).is_err(), "{text}");
        }
    }

    /// The router reads hosts by `allowlist`: what it would refuse must not pass here.
    #[test]
    fn a_name_that_ends_in_a_number_is_an_address_in_every_notation() {
        for host in [
            "10.0.0.1", "a.0x1f", "a.0X1F", "a.0x", "a.1", "0x7f.1", "127.1",
        ] {
            for wrong in [
                parse_host(host).err(),
                parse_rules(host).err(),
                parse_upstream(&format!("https://{host}/")).err(),
            ] {
                assert!(wrong.is_some(), "{host}");
            }
        }
        for host in ["a.x1f", "a.0xg", "a.1b", "gateway"] {
            assert!(parse_host(host).is_ok(), "{host}");
        }
    }

    #[test]
    fn a_host_rule_that_opens_too_much_or_is_no_host_is_refused() {
        for text in [
            "",
            "*",
            "*.*",
            "*.com",
            "*example.com",
            "a.*.com",
            "10.0.0.1",
            "[::1]",
            "::1",
            "127.0.0.1:8443",
            "a..b",
            "a.com.",
            "-a.com",
            "a_b.com",
            "a b.com",
            "a.com:0",
            "a.com:99999",
            "a.com:",
            "user@a.com",
            "a%2e.com",
            "bücher.example",
            ".example.com",
            "https://a.com",
            "a.com/path",
        ] {
            assert!(parse_rules(text).is_err(), "{text}");
        }
        for (text, help) in [
            ("https://api.example.com/v1", "write \"api.example.com\""),
            (
                "https://me:hunter2@api.example.com/v1",
                "write \"api.example.com\"",
            ),
            ("api.example.com/v1", "write \"api.example.com\""),
            (".example.com", "write \"*.example.com\""),
        ] {
            let wrong = parse_rules(text).expect_err(text);
            assert_eq!(wrong.help.as_deref(), Some(help));
        }
    }

    #[test]
    fn origins_are_scheme_and_authority_without_a_path() {
        for (text, expected) in [
            ("*", "*"),
            ("https://App.example.com", "https://app.example.com"),
            ("https://app.example.com:443", "https://app.example.com"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("https://192.0.2.1:8443", "https://192.0.2.1:8443"),
        ] {
            assert_eq!(parse_origin(text).expect(text), expected);
        }
        for (text, help) in [
            ("app.example.com", Some("write \"https://app.example.com\"")),
            (
                "https://app.example.com/",
                Some("write \"https://app.example.com\""),
            ),
            (
                "https://*.example.com",
                Some("list each origin, or write \"*\" for any"),
            ),
            ("ftp://a.example", None),
        ] {
            let wrong = parse_origin(text).expect_err(text);
            assert_eq!(wrong.help.as_deref(), help, "{text}");
        }
    }

    #[test]
    fn prefixes_get_slashes_at_both_ends() {
        for (text, expected) in [
            ("/ws/", "/ws/"),
            ("/ws", "/ws/"),
            ("/a/b-c.d/", "/a/b-c.d/"),
        ] {
            assert_eq!(parse_prefix(text).expect(text), expected);
        }
        for text in [
            "", "/", "ws", "ws/", "//", "/a//b/", "/../", "/a?b/", "/a%20b/", "/a b/",
        ] {
            assert!(parse_prefix(text).is_err(), "{text}");
        }
        let help = parse_prefix("ws/").expect_err("no slash").help;
        assert_eq!(help.as_deref(), Some("write \"/ws/\""));
    }

    #[test]
    fn upstreams_are_https_names_with_a_path_that_ends_in_a_slash() {
        for (text, expected) in [
            (
                "https://signaling.rtc.qq.com/",
                "https://signaling.rtc.qq.com/",
            ),
            (
                "https://Signaling.rtc.qq.com",
                "https://signaling.rtc.qq.com/",
            ),
            (
                "https://a.example:8443/base",
                "https://a.example:8443/base/",
            ),
            ("https://a.example:443/base/", "https://a.example/base/"),
        ] {
            assert_eq!(parse_upstream(text).expect(text), expected);
        }
        for (text, help) in [
            ("http://a.example/", Some("write \"https://a.example/\"")),
            ("wss://a.example/", Some("write \"https://a.example/\"")),
            ("a.example/x", Some("write \"https://a.example/x\"")),
            ("https://a.example/?x=1", None),
            ("https://me:pw@a.example/", None),
            ("https://", None),
            ("ftp://a.example", None),
        ] {
            let wrong = parse_upstream(text).expect_err(text);
            assert_eq!(wrong.help.as_deref(), help, "{text}");
        }
        assert!(parse_upstream("https://10.0.0.1/").is_err());
    }
}
