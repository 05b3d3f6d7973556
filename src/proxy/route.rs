//! Routes: which upstream a request target means, decided on the raw target.
//!
//! `/<host>[:port]/<path>?<query>` is a host route, judged by the allow-list; `/<prefix>/<rest>` has a fixed upstream;
//! Agora's paths and TRTC's unified proxy name a host in their query (`query`), judged by a list of its own each.
//! Before any of them, a configured path prefix and relayd's own authority are stripped from the front: Azure's SDK
//! rewrites some URLs twice. Nothing is decoded and nothing normalised: what follows the host or the prefix reaches
//! the upstream byte for byte, but that several slashes right there are one. No I/O, no DNS.
//!
//! Invariant: a route's upstream is on the list of its kind or configured as an upstream, and not on the deny-list.

use super::allowlist::{Authority, HTTPS_PORT, HostList, split_port};
use super::query::{self, Named};
use super::{HostRule, PrefixRoute, Settings};
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};
use std::fmt::{self, Write};

/// What a target means to the upstream and what the client must see of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Lower case. SNI.
    pub host: String,
    pub port: u16,
    /// As it goes upstream; begins with a slash.
    pub path_and_query: String,
    /// Goes before the Path of a Set-Cookie, so that one vendor's cookie never reaches another: `/<host>`, with path
    /// prefix and port as the client wrote them. `None`: Set-Cookie and Cookie are dropped.
    pub cookie_path: Option<String>,
    /// The path prefix under which this route was reached: empty or `/azure`.
    pub base: String,
    /// The client's path that stands for `upstream_base`: `/azure/edge.skype.com`, `/ws`.
    pub mount: String,
    /// The upstream's path without its last slash: empty, or `/v2` for a prefix whose upstream ends in `/v2/`.
    pub upstream_base: String,
    pub kind: RouteKind,
    /// Whether the upstream wants the client's address in X-User-Address.
    pub user_address: bool,
}

impl Route {
    /// The Host header: the name, with `:port` if that is not 443.
    pub fn authority(&self) -> String {
        self.to_authority().to_string()
    }

    pub fn to_authority(&self) -> Authority {
        Authority {
            host: self.host.clone(),
            port: self.port,
        }
    }

    /// The path and query by which a client of relayd asks for this route; `None` if no target means it.
    pub fn client_path(&self) -> Option<String> {
        let rest = below(&self.path_and_query, &self.upstream_base)?;
        Some(format!("{}{rest}", self.mount))
    }
}

/// How the upstream was found. Metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// The target names the host.
    Host,
    /// A prefix with a fixed upstream.
    Prefix,
    /// One of Agora's paths: the query names host, port and path.
    Query,
    /// TRTC's unified proxy: the query names the host.
    Unified,
}

impl RouteKind {
    pub fn label(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Prefix => "prefix",
            Self::Query => "query",
            Self::Unified => "unified",
        }
    }
}

impl EncodeLabelValue for RouteKind {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.label())
    }
}

/// Why a request has no upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    #[error("the target's host is not on the allow-list")]
    HostNotAllowed,
    #[error("the target names neither a host nor a configured prefix")]
    NoRoute,
    #[error("the request target is malformed")]
    BadTarget,
    #[error("the request target is too long")]
    TargetTooLong,
    #[error("the Host header is missing, repeated or malformed")]
    BadHost,
    #[error("the message length is given twice or in two ways")]
    BadLength,
    #[error("this method is not proxied")]
    MethodNotAllowed,
}

/// A setting that no router can be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouterError {
    #[error("route prefix `{0}` does not begin and end with a slash")]
    Prefix(String),
    #[error("route upstream `{0}` is not `https://host[:port]/path/`")]
    Upstream(String),
}

/// The settings, compiled for one lookup per request.
#[derive(Clone, Debug)]
pub struct Router {
    allow: HostList,
    deny: HostList,
    /// `None`: Agora's paths are not served.
    agora: Option<HostList>,
    /// `None`: TRTC's unified proxy is not served.
    trtc_signal: Option<HostList>,
    /// Longest prefix first.
    fixed: Vec<Fixed>,
    /// Without slashes at the ends, longest first.
    prefixes: Vec<String>,
    public_names: Vec<String>,
    target_bytes_max: usize,
    pub(super) redirects_max: u8,
}

impl Router {
    pub fn new(settings: &Settings) -> Result<Self, RouterError> {
        let mut fixed = settings
            .routes
            .iter()
            .map(Fixed::new)
            .collect::<Result<Vec<_>, _>>()?;
        fixed.sort_by_key(|route| std::cmp::Reverse(route.prefix.len()));
        let mut prefixes: Vec<String> = settings
            .prefixes
            .iter()
            .map(|prefix| prefix.trim_matches('/').to_owned())
            .filter(|prefix| !prefix.is_empty())
            .collect();
        prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
        Ok(Self {
            allow: HostList::new(&settings.allow),
            deny: HostList::new(&settings.deny),
            agora: list_if_any(&settings.agora_hosts),
            trtc_signal: list_if_any(&settings.trtc_signal_hosts),
            fixed,
            prefixes,
            public_names: settings.public_names.clone(),
            target_bytes_max: settings.limits.target_bytes,
            redirects_max: settings.limits.redirects,
        })
    }

    /// Finds the upstream of `target`, the raw path and query, for a client that used `authority` (Host or `:authority`).
    pub fn route(&self, authority: &str, target: &str) -> Result<Route, Refusal> {
        if target.len() > self.target_bytes_max {
            return Err(Refusal::TargetTooLong);
        }
        let illegal = |b: u8| b <= b' ' || b == 0x7f || b == b'#';
        if !target.starts_with('/') || target.bytes().any(illegal) {
            return Err(Refusal::BadTarget);
        }
        let (path, query) = split_query(target);
        let (base, rest) = self.strip_own(authority, skip_slashes(path));
        let route = self.find(&base, rest, query)?;
        match self.deny.holds(&route.to_authority()) {
            true => Err(Refusal::HostNotAllowed),
            false => Ok(route),
        }
    }

    /// TRTC's `/ws/` and Agora's are one path: which is meant is told by the query, so that is asked first.
    fn find(&self, base: &str, rest: &str, query: &str) -> Result<Route, Refusal> {
        if let Some(found) = self.agora_route(base, rest, query) {
            return found;
        }
        if let Some(found) = self.unified_route(base, rest, query) {
            return found;
        }
        if let Some(route) = self.fixed_route(base, rest, query) {
            return Ok(route);
        }
        let found = self.host_route(base, rest, query);
        found.or_else(|refusal| self.root_route(base, rest, query).ok_or(refusal))
    }

    /// Whether `authority` is relayd's own: the one this client used, or a configured public name.
    ///
    /// A public name without a port is relayd's own at every port (NAT and load balancers change it), except where
    /// the allow-list names that very host and port as an upstream.
    pub fn is_own(&self, authority: &str, client_authority: &str) -> bool {
        if authority.is_empty() {
            return false;
        }
        let (host, port) = split_port(authority);
        let upstream = Authority::parse_any(authority);
        same_authority(authority, client_authority)
            || self.public_names.iter().any(|name| match split_port(name) {
                (name, None) => {
                    name.eq_ignore_ascii_case(host)
                        && port.is_none_or(|p| p.bytes().all(|b| b.is_ascii_digit()))
                        && !upstream
                            .as_ref()
                            .is_some_and(|a| self.allow.names_exactly(a))
                }
                (_, Some(_)) => same_authority(authority, name),
            })
    }

    /// The route to `authority`, found in an upstream's Location rather than in a target, for the client of `from`.
    ///
    /// The upstream of `from` itself is always allowed; any other host must be on the list of its kind, or the allow-list.
    pub fn route_beside(
        &self,
        from: &Route,
        authority: &Authority,
        path_and_query: &str,
    ) -> Option<Route> {
        let same = from.host == authority.host && from.port == authority.port;
        let inside = below(path_and_query, &from.upstream_base).is_some();
        if same && inside {
            return Some(Route {
                path_and_query: path_and_query.to_owned(),
                ..from.clone()
            });
        }
        if self.deny.holds(authority) {
            return None;
        }
        let may = |list: &Option<HostList>| list.as_ref().is_some_and(|list| list.holds(authority));
        let to = |kind: RouteKind, mount: String| {
            let path_and_query = path_and_query.to_owned();
            Some(open_route(
                kind,
                authority.clone(),
                &from.base,
                mount,
                path_and_query,
            ))
        };
        match from.kind {
            RouteKind::Query if may(&self.agora) => {
                let mount = query::agora_mount(authority, from.user_address);
                return to(RouteKind::Query, format!("{}{mount}", from.base)).map(|route| Route {
                    user_address: from.user_address,
                    ..route
                });
            }
            RouteKind::Unified if may(&self.trtc_signal) => {
                return to(RouteKind::Unified, from.base.clone());
            }
            RouteKind::Query | RouteKind::Unified | RouteKind::Host | RouteKind::Prefix => {}
        }
        if self.allow.holds(authority) {
            return to(RouteKind::Host, format!("{}/{authority}", from.base));
        }
        same.then(|| Route {
            path_and_query: path_and_query.to_owned(),
            cookie_path: None,
            ..from.clone()
        })
    }

    /// Strips a path prefix, then relayd's own authority with its path prefix as often as it stands there.
    fn strip_own<'a>(&self, authority: &str, path: &'a str) -> (String, &'a str) {
        let (mut base, mut rest) = self.strip_prefix(path);
        loop {
            let (segment, after) = split_segment(rest);
            if !self.is_own(segment, authority) {
                break;
            }
            let (again, after) = self.strip_prefix(skip_slashes(after));
            base = base.or(again);
            rest = after;
        }
        (
            base.map(|prefix| format!("/{prefix}")).unwrap_or_default(),
            rest,
        )
    }

    fn strip_prefix<'a>(&self, rest: &'a str) -> (Option<&str>, &'a str) {
        let found = self.prefixes.iter().find_map(|prefix| {
            let after = below(rest, prefix)?;
            Some((Some(prefix.as_str()), skip_slashes(after)))
        });
        found.unwrap_or((None, rest))
    }

    fn agora_route(&self, base: &str, rest: &str, query: &str) -> Option<Result<Route, Refusal>> {
        let hosts = self.agora.as_ref()?;
        let named = query::agora(rest, query)?;
        let user_address = named.user_address;
        let mount = |authority: &Authority| {
            let mount = query::agora_mount(authority, user_address);
            format!("{base}{mount}")
        };
        Some(named_route(RouteKind::Query, base, named, hosts, mount))
    }

    fn unified_route(&self, base: &str, rest: &str, query: &str) -> Option<Result<Route, Refusal>> {
        let hosts = self.trtc_signal.as_ref()?;
        let named = query::trtc_unified(rest, query)?;
        let mount = |_: &Authority| base.to_owned();
        Some(named_route(RouteKind::Unified, base, named, hosts, mount))
    }

    fn fixed_route(&self, base: &str, rest: &str, query: &str) -> Option<Route> {
        self.fixed
            .iter()
            .filter(|fixed| !fixed.prefix.is_empty())
            .find_map(|fixed| {
                let after = below(rest, &fixed.prefix)?;
                let mount = format!("{base}/{}", fixed.prefix);
                Some(fixed.route(base, mount.clone(), Some(mount), skip_slashes(after), query))
            })
    }

    /// The route of prefix `/`. Its cookies would reach every other route, so it has none.
    fn root_route(&self, base: &str, rest: &str, query: &str) -> Option<Route> {
        let fixed = self.fixed.iter().find(|fixed| fixed.prefix.is_empty())?;
        Some(fixed.route(base, base.to_owned(), None, rest, query))
    }

    fn host_route(&self, base: &str, rest: &str, query: &str) -> Result<Route, Refusal> {
        let (segment, after) = split_segment(rest);
        let Some(authority) = Authority::parse(segment) else {
            // What was meant as a host is refused as one; anything else is just no route.
            let like_a_host = segment
                .bytes()
                .any(|b| matches!(b, b'.' | b':' | b'@' | b'%' | b'['));
            return Err(match like_a_host {
                true => Refusal::HostNotAllowed,
                false => Refusal::NoRoute,
            });
        };
        if !self.allow.holds(&authority) {
            return Err(Refusal::HostNotAllowed);
        }
        let path_and_query = format!("/{}{query}", skip_slashes(after));
        // As the client wrote it: a cookie's Path is compared byte for byte.
        let mount = format!("{base}/{segment}");
        let kind = RouteKind::Host;
        Ok(open_route(kind, authority, base, mount, path_and_query))
    }
}

fn list_if_any(rules: &[HostRule]) -> Option<HostList> {
    (!rules.is_empty()).then(|| HostList::new(rules))
}

/// The route to what a query names, if `hosts` has it.
fn named_route(
    kind: RouteKind,
    base: &str,
    named: Named,
    hosts: &HostList,
    mount: impl Fn(&Authority) -> String,
) -> Result<Route, Refusal> {
    let authority = named.authority.filter(|authority| hosts.holds(authority));
    let authority = authority.ok_or(Refusal::HostNotAllowed)?;
    let mount = mount(&authority);
    Ok(Route {
        user_address: named.user_address,
        ..open_route(kind, authority, base, mount, named.path_and_query)
    })
}

/// A route whose request names the upstream. A query names none that a cookie's Path could tell apart.
fn open_route(
    kind: RouteKind,
    authority: Authority,
    base: &str,
    mount: String,
    path_and_query: String,
) -> Route {
    Route {
        host: authority.host,
        port: authority.port,
        path_and_query,
        cookie_path: (kind == RouteKind::Host).then(|| mount.clone()),
        base: base.to_owned(),
        mount,
        upstream_base: String::new(),
        kind,
        user_address: false,
    }
}

/// A [`PrefixRoute`], taken apart.
#[derive(Clone, Debug)]
struct Fixed {
    /// Without slashes at the ends; empty for `/`.
    prefix: String,
    upstream: Authority,
    /// Begins with a slash unless empty; ends without one.
    upstream_base: String,
}

impl Fixed {
    fn new(route: &PrefixRoute) -> Result<Self, RouterError> {
        let PrefixRoute { prefix, upstream } = route;
        if !prefix.starts_with('/') || !prefix.ends_with('/') {
            return Err(RouterError::Prefix(prefix.clone()));
        }
        let (upstream, upstream_base) =
            parse_upstream(upstream).ok_or_else(|| RouterError::Upstream(upstream.clone()))?;
        Ok(Self {
            prefix: prefix.trim_matches('/').to_owned(),
            upstream,
            upstream_base,
        })
    }

    fn route(
        &self,
        base: &str,
        mount: String,
        cookie_path: Option<String>,
        rest: &str,
        query: &str,
    ) -> Route {
        Route {
            host: self.upstream.host.clone(),
            port: self.upstream.port,
            path_and_query: format!("{}/{rest}{query}", self.upstream_base),
            cookie_path,
            base: base.to_owned(),
            mount,
            upstream_base: self.upstream_base.clone(),
            kind: RouteKind::Prefix,
            user_address: false,
        }
    }
}

/// Reads `https://host[:port]/path/` into the authority and the path without its last slash.
pub fn parse_upstream(url: &str) -> Option<(Authority, String)> {
    let rest = url.strip_prefix("https://")?;
    let (authority, path) = split_segment(rest);
    let base = path.strip_suffix('/')?;
    let plain = base
        .bytes()
        .all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'\\'));
    plain.then_some((Authority::parse_any(authority)?, base.to_owned()))
}

/// Splits before the first `?`.
pub(super) fn split_query(target: &str) -> (&str, &str) {
    target.split_at(target.find('?').unwrap_or(target.len()))
}

/// Splits before the first slash.
fn split_segment(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find('/').unwrap_or(rest.len()))
}

fn skip_slashes(path: &str) -> &str {
    path.trim_start_matches('/')
}

/// What of `path` lies below `parent`: empty, or from a slash or question mark on; `None` outside of it.
pub(super) fn below<'a>(path: &'a str, parent: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(parent)?;
    (rest.is_empty() || rest.starts_with(['/', '?'])).then_some(rest)
}

/// Equal but for case and for a port 443 that only one of them writes.
fn same_authority(a: &str, b: &str) -> bool {
    let ((a_host, a_port), (b_host, b_port)) = (split_port(a), split_port(b));
    let default = HTTPS_PORT.to_string();
    a_host.eq_ignore_ascii_case(b_host) && a_port.unwrap_or(&default) == b_port.unwrap_or(&default)
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
