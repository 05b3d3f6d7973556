//! Header rules in both directions: what is end to end passes as it is, what belongs to one hop never does.
//!
//! `check` refuses requests whose meaning two servers could read in two ways; `to_upstream` and `to_client` make the
//! header block for the other side (RFC 9110 §7.6.1). A body's length is never touched here. No I/O.

use super::cors::{self, Origin};
use super::route::{Refusal, Route};
use super::{Settings, cookies, forwarded};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header, request};
use std::net::IpAddr;

/// What relayd knows of the client of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientInfo {
    pub ip: IpAddr,
    /// Whether the client's connection to relayd is TLS.
    pub tls: bool,
    /// The authority the client used, as [`check`] returned it.
    pub authority: String,
}

/// Belong to one hop, whatever Connection says. `Proxy` is no header at all but becomes `HTTP_PROXY` in CGI programs.
/// `Expect` is answered here: the client's body is asked for when the upstream takes it.
const HOP_BY_HOP: [HeaderName; 12] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("proxy"),
    header::EXPECT,
];

/// By it Agora's access points choose the nearest edge; a client's own is replaced.
const X_USER_ADDRESS: HeaderName = HeaderName::from_static("x-user-address");

/// Would bind relayd's own origin, which serves every vendor.
const ORIGIN_WIDE: [HeaderName; 7] = [
    header::ALT_SVC,
    header::STRICT_TRANSPORT_SECURITY,
    HeaderName::from_static("nel"),
    HeaderName::from_static("report-to"),
    HeaderName::from_static("reporting-endpoints"),
    HeaderName::from_static("clear-site-data"),
    // A worker with the scope `/` would see the requests to every vendor.
    HeaderName::from_static("service-worker-allowed"),
];

/// Judges a request before anything is done for it and returns the authority that the client used.
///
/// The raw byte checks (bare LF, obs-fold, both lengths at once) come before the parser: a parsed header block no
/// longer shows them. What is left of them is refused here.
pub fn check(parts: &request::Parts) -> Result<String, Refusal> {
    if parts.method == Method::TRACE || parts.method == Method::CONNECT {
        return Err(Refusal::MethodNotAllowed);
    }
    let headers = &parts.headers;
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let several = lengths
        .next()
        .is_some_and(|first| lengths.any(|other| other != first));
    let both = headers.contains_key(header::CONTENT_LENGTH)
        && headers.contains_key(header::TRANSFER_ENCODING);
    if several || both {
        return Err(Refusal::BadLength);
    }
    authority(parts)
}

/// RFC 9112 §3.2: exactly one Host, and an absolute-form target's authority beats it. RFC 9113 §8.3.1: `:authority`
/// and Host, if both are there, are the same.
fn authority(parts: &request::Parts) -> Result<String, Refusal> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::BadHost);
    }
    let host = host.map(|host| host.to_str()).transpose();
    let host = host.map_err(|_| Refusal::BadHost)?;
    let uri = parts.uri.authority().map(|authority| authority.as_str());
    let used = match (uri, host) {
        (Some(uri), None) if parts.version >= Version::HTTP_2 => uri,
        (Some(uri), Some(host))
            if parts.version >= Version::HTTP_2 && !uri.eq_ignore_ascii_case(host) =>
        {
            return Err(Refusal::BadHost);
        }
        (Some(uri), Some(_)) => uri,
        (None, Some(host)) => host,
        (Some(_), None) | (None, None) => return Err(Refusal::BadHost),
    };
    let good = !used.contains(['@', '/', '?', '#']) && used.parse::<http::uri::Authority>().is_ok();
    good.then(|| used.to_owned()).ok_or(Refusal::BadHost)
}

/// Whether the request asks for a WebSocket (RFC 6455 §4.2.1): the only upgrade that passes.
pub fn is_websocket(parts: &request::Parts) -> bool {
    parts.method == Method::GET
        && parts.version == Version::HTTP_11
        && has_token(&parts.headers, header::CONNECTION, "upgrade")
        && has_token(&parts.headers, header::UPGRADE, "websocket")
}

/// Whether a comma-separated list header has `token`, in any case.
pub fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let tokens = headers.get_all(name).into_iter().flat_map(tokens);
    tokens
        .into_iter()
        .any(|t| t.eq_ignore_ascii_case(token.as_bytes()))
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value
        .as_bytes()
        .split(|b| *b == b',')
        .map(<[u8]>::trim_ascii)
}

/// The header block of a request for its upstream.
pub fn to_upstream(
    parts: &request::Parts,
    route: &Route,
    client: &ClientInfo,
    settings: &Settings,
) -> Result<HeaderMap, Refusal> {
    let mut headers = parts.headers.clone();
    drop_hop_by_hop(&mut headers);
    if is_websocket(parts) {
        set_upgrade(&mut headers);
    }
    let host = HeaderValue::from_str(&route.authority()).map_err(|_| Refusal::BadTarget)?;
    headers.insert(header::HOST, host);
    match route.cookie_path {
        Some(_) => merge_cookies(&mut headers),
        None => drop(headers.remove(header::COOKIE)),
    }
    if route.user_address {
        let ip = forwarded::client_ip(&headers, client, &settings.trusted_proxies);
        let ip = HeaderValue::from_str(&ip.to_string()).map_err(|_| Refusal::BadTarget)?;
        headers.insert(X_USER_ADDRESS, ip);
    }
    forwarded::set(&mut headers, client, &settings.trusted_proxies);
    Ok(headers)
}

/// The header block of an upstream's answer for the client. A Location is settled by `redirect` before.
pub fn to_client(upstream: HeaderMap, route: &Route, origin: &Origin) -> HeaderMap {
    let mut headers = upstream;
    drop_hop_by_hop(&mut headers);
    for name in ORIGIN_WIDE {
        headers.remove(name);
    }
    cookies::scope(&mut headers, route);
    cors::decorate(&mut headers, origin);
    headers
}

/// Marks a request, or a 101, as the WebSocket upgrade that it is.
pub fn set_upgrade(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .into_iter()
        .flat_map(tokens)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        // RFC 9110 §7.6.1 forbids to name what is meant for the recipient; without it a body would have no end.
        .filter(|name| *name != header::CONTENT_LENGTH && *name != header::HOST)
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// RFC 9113 §8.2.3: cookies that HTTP/2 split into several lines are one line to HTTP/1.1.
fn merge_cookies(headers: &mut HeaderMap) {
    let lines: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if lines.len() < 2 {
        return;
    }
    if let Ok(line) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        headers.insert(header::COOKIE, line);
    }
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
