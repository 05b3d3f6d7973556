//! Browsers between the operator and the listener: requests that a foreign page made them send.
//!
//! A page can send requests to loopback, and with DNS rebinding read the answers, too. So without a token the Host must be a
//! loopback name or address, and a change is refused if `Origin` or `Sec-Fetch-Site` say that another site asks. There is no
//! CORS: no page but one of this listener can read an answer.

use super::answer::Fault;
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Method, Uri};
use std::net::IpAddr;

/// Refuses a request whose Host, or whose target's authority, is none of this machine's own names.
pub(super) fn check_host(uri: &Uri, headers: &HeaderMap) -> Result<(), Fault> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    let (Some(host), None) = (host, hosts.next()) else {
        return Err(Fault::ForeignHost);
    };
    let target = uri.authority().map(|authority| authority.as_str());
    let own = is_loopback(host) && target.is_none_or(is_loopback);
    own.then_some(()).ok_or(Fault::ForeignHost)
}

/// Refuses a change that a page of another origin asks for.
pub(super) fn check_origin(method: &Method, headers: &HeaderMap) -> Result<(), Fault> {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let same_origin = |origin: &str| {
        let authority = origin.strip_prefix("http://");
        let authority = authority.or_else(|| origin.strip_prefix("https://"));
        // A proxy with TLS before this listener changes the scheme, never the name.
        authority
            .is_some_and(|authority| host.is_some_and(|host| host.eq_ignore_ascii_case(authority)))
    };
    let origins_are_own = headers
        .get_all(ORIGIN)
        .iter()
        .all(|origin| origin.to_str().is_ok_and(same_origin));
    // Fetch Metadata: "none" is a request that no page made.
    let sites_are_own = headers
        .get_all("sec-fetch-site")
        .iter()
        .all(|site| site == "same-origin" || site == "none");
    let own = origins_are_own && sites_are_own;
    own.then_some(()).ok_or(Fault::ForeignOrigin)
}

/// `localhost`, a name below it (RFC 6761 §6.3), or a loopback address; with any port or none.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map(|(host, _)| host),
        None => authority.split(':').next(),
    };
    let Some(host) = host else {
        return false;
    };
    if let Ok(ip) = host.parse::<IpAddr>() {
        return ip.to_canonical().is_loopback();
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn only_loopback_names_and_addresses_are_own_hosts() {
        let uri = Uri::from_static("/");
        let check = |host: &str| check_host(&uri, &headers(&[("host", host)])).is_ok();
        for own in [
            "localhost",
            "LOCALHOST:9641",
            "localhost.:1",
            "relay.localhost",
            "127.0.0.1:9641",
            "127.9.9.9",
            "[::1]:9641",
            "[::1]",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(check(own), "{own}");
        }
        for foreign in [
            "",
            "evil.example",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example",
            "192.0.2.1",
            "[::2]",
            "[::1",
            "0.0.0.0",
            "user@localhost",
        ] {
            assert!(!check(foreign), "{foreign}");
        }
        assert!(check_host(&uri, &HeaderMap::new()).is_err());
        let two = headers(&[("host", "localhost"), ("host", "evil.example")]);
        assert!(check_host(&uri, &two).is_err());
        let absolute = Uri::from_static("http://evil.example/metrics");
        assert!(check_host(&absolute, &headers(&[("host", "localhost")])).is_err());
    }

    #[test]
    fn a_change_that_a_foreign_page_asks_for_is_refused_and_reading_is_not() {
        let host = ("host", "localhost:9641");
        let check = |method: Method, more: &[(&'static str, &str)]| {
            let all: Vec<_> = [host].iter().chain(more).copied().collect();
            check_origin(&method, &headers(&all)).is_ok()
        };
        assert!(check(Method::POST, &[]));
        assert!(check(Method::POST, &[("origin", "http://localhost:9641")]));
        assert!(check(Method::DELETE, &[("sec-fetch-site", "same-origin")]));
        assert!(check(Method::PUT, &[("sec-fetch-site", "none")]));
        assert!(check(Method::GET, &[("origin", "https://evil.example")]));
        for foreign in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("origin", "http://localhost:8080"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
                assert!(!check(method, &[foreign]), "{foreign:?}");
            }
        }
    }
}
