//! Names on the web: host rules, origins, route prefixes and upstreams. Pure; each error says how to write it.
//!
//! A host is letters, digits and hyphens in dotted labels (PROXY.md): no IP literal, empty label or trailing dot.

use super::section::Wrong;
use crate::proxy::HostRule;
use std::net::IpAddr;

pub(super) const HTTPS_PORT: u16 = 443;
const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
const HOST: &str = "a host name such as \"api.example.com\"";
const HOST_RULE: &str = "\"api.example.com\", \"*.example.net\", each with a port if it is not 443: \"host.example.org:8443\"";

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
    let last = text.rsplit('.').next().unwrap_or(text);
    if last.bytes().all(|b| b.is_ascii_digit()) {
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

/// One entry of `proxy.allow`.
pub(super) fn parse_host_rule(text: &str) -> Result<HostRule, Wrong> {
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
    let (name, port) = split_port(text)?;
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
    Ok(HostRule {
        name,
        subdomains,
        port: port.unwrap_or(HTTPS_PORT),
    })
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
            port,
        }
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
            assert_eq!(parse_host_rule(text).expect(text), expected);
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
            assert!(parse_host_rule(text).is_err(), "{text}");
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
            let wrong = parse_host_rule(text).expect_err(text);
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
