//! The Location of an upstream's redirect, read the way a browser reads it (RFC 3986 §5, WHATWG URL).
//!
//! The result is a host by name and a path without dot segments, `%2e` included: a browser removes those too, and a
//! path that kept them could climb out of `/<host>/` on its way back. An address, a userinfo or a foreign scheme gives none.

use super::allowlist::{Authority, HTTPS_PORT, split_port};
use super::route::{Route, Router, split_query};

/// Where a redirect points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub place: Place,
    /// Begins with a slash.
    pub path_and_query: String,
    /// With its `#`, or empty.
    pub fragment: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The upstream that sent it, by a relative reference.
    Same,
    Upstream(Authority),
    /// relayd itself: the upstream believed X-Forwarded-Host, or its link went through the proxy.
    Own,
}

impl Location {
    /// Resolves `location` against the URL of `route`.
    pub fn resolve(
        location: &[u8],
        route: &Route,
        router: &Router,
        client_authority: &str,
    ) -> Option<Self> {
        let text = escape(location)?;
        let (reference, fragment) = text.split_at(text.find('#').unwrap_or(text.len()));
        let (place, rest) = match split_scheme(reference) {
            Some((scheme, rest)) => {
                let http = ["http", "ws"]
                    .iter()
                    .any(|s| scheme.eq_ignore_ascii_case(s));
                let https = ["https", "wss"]
                    .iter()
                    .any(|s| scheme.eq_ignore_ascii_case(s));
                if !http && !https {
                    return None;
                }
                split_place(rest.strip_prefix("//")?, http, router, client_authority)?
            }
            None => match reference.strip_prefix("//") {
                Some(rest) => split_place(rest, false, router, client_authority)?,
                None => (Place::Same, reference),
            },
        };
        let path_and_query = match place {
            Place::Same => merge(&route.path_and_query, rest),
            Place::Upstream(_) | Place::Own => rest.to_owned(),
        };
        Some(Self {
            place,
            path_and_query: remove_dot_segments(&path_and_query),
            fragment: fragment.to_owned(),
        })
    }
}

/// Percent-encodes what a URL cannot hold and servers send all the same; `None` for control characters.
fn escape(location: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(location.len());
    for b in location.trim_ascii() {
        match b {
            0..=0x1f | 0x7f => return None,
            b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80.. => {
                out.push_str(&format!("%{b:02X}"));
            }
            _ => out.push(char::from(*b)),
        }
    }
    Some(out)
}

fn split_scheme(reference: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = reference.split_once(':')?;
    let good = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    good.then_some((scheme, rest))
}

/// Splits `authority[/path][?query]`. A plain-http URL means the same host's TLS port.
fn split_place<'a>(
    rest: &'a str,
    http: bool,
    router: &Router,
    client_authority: &str,
) -> Option<(Place, &'a str)> {
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if router.is_own(authority, client_authority) {
        return Some((Place::Own, rest));
    }
    let authority = authority.strip_suffix(':').unwrap_or(authority);
    let explicit = split_port(authority).1.is_some();
    let mut authority = Authority::parse(authority)?;
    if http && (!explicit || authority.port == 80) {
        authority.port = HTTPS_PORT;
    }
    Some((Place::Upstream(authority), rest))
}

/// RFC 3986 §5.2.2, §5.2.3 for a reference without scheme and authority.
fn merge(base: &str, reference: &str) -> String {
    let (base_path, _) = split_query(base);
    if reference.is_empty() {
        return base.to_owned();
    }
    if reference.starts_with('/') {
        return reference.to_owned();
    }
    if reference.starts_with('?') {
        return format!("{base_path}{reference}");
    }
    let directory = base_path
        .get(..=base_path.rfind('/').unwrap_or(0))
        .unwrap_or("/");
    format!("{directory}{reference}")
}

/// RFC 3986 §5.2.4; a dot may be written `%2e` (WHATWG URL §4.1).
fn remove_dot_segments(path_and_query: &str) -> String {
    let (path, query) = split_query(path_and_query);
    let mut out: Vec<&str> = Vec::new();
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match dots(segment) {
            0 => out.push(segment),
            dots => {
                if dots == 2 {
                    out.pop();
                }
                if last {
                    out.push("");
                }
            }
        }
    }
    format!("/{}{query}", out.join("/"))
}

/// 1 for `.`, 2 for `..`, 0 for any other segment.
fn dots(segment: &str) -> usize {
    let plain = segment.to_ascii_lowercase().replace("%2e", ".");
    match plain.as_str() {
        "." => 1,
        ".." => 2,
        _ => 0,
    }
}
