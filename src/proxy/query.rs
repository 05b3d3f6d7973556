//! Upstreams that a request names in its query: Agora's paths, and the `signalDomain` of TRTC's unified proxy.
//!
//! The SDKs write these values as they are, so nothing is decoded: a value with an escape names no host. This module
//! says what is meant; whether that may be reached is for `route` to judge. No I/O.

use super::allowlist::{Authority, parse_port};

/// What a query names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// `None`: what stands there is no host name, or its port is none.
    pub authority: Option<Authority>,
    /// As it goes upstream; begins with a slash.
    pub path_and_query: String,
    /// Agora's access points choose the edge by the client's address, and are told it.
    pub user_address: bool,
}

/// Agora's SDK: `ap/?url=<host>[:port]/path`, and `rs/`, `ls/`, `cs/`, `ws/` with `?h=<host>&p=<port>[&d=<path>]`.
///
/// `None` if the path is another one or the query lacks a name. `rest` has no leading slash, `query` its `?`.
pub(super) fn agora(rest: &str, query: &str) -> Option<Named> {
    match rest.strip_suffix('/').unwrap_or(rest) {
        "ap" => by_url(query),
        "rs" | "ls" | "cs" | "ws" => by_parts(query),
        _ => None,
    }
}

/// The target by which Agora's SDK would name this upstream, up to the path.
pub(super) fn agora_mount(authority: &Authority, user_address: bool) -> String {
    let Authority { host, port } = authority;
    match user_address {
        true => format!("/ap/?url={authority}"),
        false => format!("/rs/?h={host}&p={port}&d="),
    }
}

/// TRTC's unified proxy: `v2/ws` and, of its older SDK, the root, with `signalDomain=<host>` somewhere in the query.
///
/// Path and query go on as they are. `None` if the path is another one or the query names no domain.
pub(super) fn trtc_unified(rest: &str, query: &str) -> Option<Named> {
    if !matches!(rest, "" | "v2/ws") {
        return None;
    }
    let domain = value(query, "signalDomain")?;
    Some(Named {
        authority: Authority::parse(domain),
        path_and_query: format!("/{rest}{query}"),
        user_address: false,
    })
}

/// The value is the rest of the query, for it may hold a query itself.
fn by_url(query: &str) -> Option<Named> {
    let (_, url) = split_at_pair(query, "url")?;
    let (authority, rest) = url.split_at(url.find(['/', '?', '&']).unwrap_or(url.len()));
    Some(Named {
        authority: Authority::parse(authority),
        path_and_query: target(rest),
        user_address: true,
    })
}

/// The path is the rest of the query behind `d=`; host and port stand before it.
fn by_parts(query: &str) -> Option<Named> {
    let (names, path) = split_at_pair(query, "d").unwrap_or((query, ""));
    let (host, port) = (value(names, "h")?, value(names, "p")?);
    let authority = parse_port(port).and_then(|port| {
        let Authority { host, .. } = Authority::parse(host).filter(|_| !host.contains(':'))?;
        Some(Authority { host, port })
    });
    Some(Named {
        authority,
        path_and_query: target(path),
        user_address: false,
    })
}

/// Path and query inside of a query: exactly one slash in front, and where there is no `?`, the first `&` is one.
fn target(raw: &str) -> String {
    let separators: &[char] = if raw.contains('?') { &['?'] } else { &['&'] };
    let (path, query) = raw
        .split_once(separators)
        .map_or((raw, None), |(p, q)| (p, Some(q)));
    let path = path.trim_start_matches('/');
    match query {
        Some(query) => format!("/{path}?{query}"),
        None => format!("/{path}"),
    }
}

/// The value of the first pair with this name.
fn value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = split_at_pair(query, name)?;
    rest.split('&').next()
}

/// Splits around the first `name=` that begins a pair: what stands before it, and all that follows.
fn split_at_pair<'a>(query: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let mut begin = query.strip_prefix('?').map(|_| 1)?;
    loop {
        let (before, rest) = query.split_at_checked(begin)?;
        let value = rest
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('='));
        if let Some(value) = value {
            return Some((before, value));
        }
        begin += rest.find('&')? + 1;
    }
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
