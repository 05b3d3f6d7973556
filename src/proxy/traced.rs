//! A proxied request as spans: one for the request, one below it for each try at an upstream, one for the WebSocket.
//!
//! A client's `traceparent` decides nothing unless it comes from a trusted proxy: nobody else can have requests recorded,
//! or put them into a trace of theirs. That such a proxy does not pass on what its own clients say is for its operator to
//! see to (README). Health checks, preflights and what else relayd answers itself as meant make no spans.
//! Absent: queries, headers, bodies.

use super::forwarded;
use super::metrics::RequestKind;
use super::respond::ProxyError;
use super::route::Route;
use super::tunnel::End;
use super::{ConnectionInfo, Settings};
use crate::spans::{self, Context, Kind, Parent, Span, Times, Tracer};
use crate::sys::clock;
use crate::time::Now;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, request};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Methods that are told by their names (RFC 9110 §9.3, RFC 5789); a client may write anything there.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

/// A request under way that is told of when it has ended, or whose upstream is told of its trace.
pub(super) struct Trace {
    tracer: Arc<Tracer>,
    context: Context,
    parent: Option<Parent>,
    state: Option<String>,
    begun: Now,
    client: ConnectionInfo,
    version: Version,
    method: &'static str,
    path: String,
    server: Option<Authority>,
    tries: Cell<u64>,
}

/// What is known of a request when it has ended.
pub(super) struct Ended {
    pub(super) kind: RequestKind,
    /// `None`: the client went away before there was an answer.
    pub(super) status: Option<u16>,
    pub(super) refused: Option<ProxyError>,
    pub(super) end: &'static str,
    /// The client went away before the end.
    pub(super) gone: bool,
    /// The upstream broke off in the answer's body.
    pub(super) broken: bool,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
}

impl Trace {
    /// `None`: there is nothing to tell anybody.
    pub(super) fn begin(
        parts: &request::Parts,
        client: &ConnectionInfo,
        settings: &Settings,
    ) -> Option<Rc<Self>> {
        let tracer = spans::current()?;
        let ip = client.client.ip().to_canonical();
        let trusted = forwarded::is_trusted(ip, &settings.trusted_proxies);
        let parent = trusted.then(|| parent(&parts.headers)).flatten();
        let context = parent
            .as_ref()
            .map_or_else(|| tracer.root(), |parent| tracer.below(parent));
        if !context.sampled && !tracer.propagates() {
            return None;
        }
        let state = parent.and_then(|_| {
            let lines = parts.headers.get_all(TRACESTATE).iter();
            spans::state(lines.map(HeaderValue::as_bytes))
        });
        Some(Rc::new(Self {
            tracer,
            context,
            parent,
            state,
            begun: clock::now(),
            client: *client,
            version: parts.version,
            method: method(&parts.method),
            path: parts.uri.path().to_owned(),
            server: server(parts),
            tries: Cell::new(0),
        }))
    }

    /// A try at an upstream, which ends when its answer's head is there.
    pub(super) fn attempt(self: &Rc<Self>, route: &Route, method: &Method) -> Attempt {
        let try_before = self.tries.replace(self.tries.get() + 1);
        Attempt {
            context: self.tracer.below(&self.context.as_parent()),
            begun: clock::now(),
            method: self::method(method),
            host: route.host.clone(),
            port: route.port,
            path: without_query(&route.path_and_query).to_owned(),
            try_before,
            outcome: Outcome::Gone,
            request: Rc::clone(self),
        }
    }

    /// The WebSocket that this request has become.
    pub(super) fn tunnel(self: &Rc<Self>, route: &Route) -> Box<Tunnel> {
        Box::new(Tunnel {
            context: self.tracer.below(&self.context.as_parent()),
            begun: clock::now(),
            host: route.host.clone(),
            port: route.port,
            request: Rc::clone(self),
        })
    }

    pub(super) fn end(&self, ended: &Ended) {
        let own = match ended.kind {
            RequestKind::Host | RequestKind::Prefix | RequestKind::Query | RequestKind::Unified => {
                false
            }
            RequestKind::Preflight | RequestKind::Own => true,
            RequestKind::Refused => false,
        };
        if own || !self.context.sampled {
            return;
        }
        let times = Times::since(self.begun);
        let span = self
            .tracer
            .span(self.method, Kind::Server, &self.context, times);
        let mut span = match &self.parent {
            Some(parent) => span.below_remote(parent.span, self.state.as_deref()),
            None => span,
        };
        span.text("http.request.method", self.method);
        span.text("url.scheme", if self.client.tls { "https" } else { "http" });
        span.text("url.path", self.path.as_str());
        if let Some(server) = &self.server {
            place(&mut span, server.host(), server.port_u16());
        }
        span.text("network.protocol.version", version(self.version));
        self.tell_client(&mut span);
        span.text("relayd.request.kind", ended.kind.label());
        span.text("relayd.request.end", ended.end);
        span.whole("http.request.body.size", ended.request_bytes);
        span.whole("http.response.body.size", ended.response_bytes);
        if let Some(status) = ended.status {
            span.whole("http.response.status_code", u64::from(status));
        }
        if let Some(error) = ended.error() {
            span.text("error.type", error);
        }
        if ended.failed() {
            span.fail();
        }
        self.tracer.finish(span);
    }

    fn tell_client(&self, span: &mut Span) {
        let ip = self.client.client.ip().to_canonical();
        span.text("client.address", ip.to_string());
    }
}

impl Ended {
    /// A word of a closed list, or the status where an upstream failed.
    fn error(&self) -> Option<String> {
        if let Some(refused) = self.refused {
            return Some(refused.label().to_owned());
        }
        if self.gone {
            return Some("client_gone".to_owned());
        }
        if self.broken {
            return Some("upstream_broke_off".to_owned());
        }
        let status = self.status.filter(|status| *status >= 500)?;
        Some(status.to_string())
    }

    /// What is the client's own fault is no failure of the server (semantic conventions, HTTP server spans).
    fn failed(&self) -> bool {
        self.broken || self.status.is_some_and(|status| status >= 500)
    }
}

enum Outcome {
    /// Nobody waits for an answer any more.
    Gone,
    Answered(StatusCode),
    Failed(ProxyError),
}

/// One try at an upstream; told of when it is dropped.
pub(super) struct Attempt {
    request: Rc<Trace>,
    context: Context,
    begun: Now,
    method: &'static str,
    host: String,
    port: u16,
    path: String,
    try_before: u64,
    outcome: Outcome,
}

impl Attempt {
    /// Tells the upstream of the trace, where that is wanted: in place of what the client said.
    pub(super) fn tell_upstream(&self, headers: &mut HeaderMap) {
        if !self.request.tracer.propagates() {
            return;
        }
        headers.remove(TRACESTATE);
        let state = self.request.state.as_deref().map(HeaderValue::from_str);
        if let Some(Ok(state)) = state {
            headers.insert(TRACESTATE, state);
        }
        if let Ok(parent) = HeaderValue::try_from(self.context.to_string()) {
            headers.insert(TRACEPARENT, parent);
        }
    }

    pub(super) fn settle(&mut self, outcome: Result<StatusCode, ProxyError>) {
        self.outcome = match outcome {
            Ok(status) => Outcome::Answered(status),
            Err(error) => Outcome::Failed(error),
        };
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.context.sampled {
            return;
        }
        let Trace {
            tracer, context, ..
        } = &*self.request;
        let times = Times::since(self.begun);
        let span = tracer.span(self.method, Kind::Client, &self.context, times);
        let mut span = span.below(context.span);
        span.text("http.request.method", self.method);
        place(&mut span, &self.host, Some(self.port));
        span.url(&self.host, self.port, &self.path);
        // What upstreams are spoken to.
        span.text("network.protocol.version", version(Version::HTTP_11));
        if self.try_before > 0 {
            span.whole("http.request.resend_count", self.try_before);
        }
        let error = match &self.outcome {
            Outcome::Gone => Some("client_gone".to_owned()),
            Outcome::Failed(error) => Some(error.label().to_owned()),
            Outcome::Answered(status) => {
                span.whole("http.response.status_code", u64::from(status.as_u16()));
                let failed = status.is_client_error() || status.is_server_error();
                failed.then(|| status.as_str().to_owned())
            }
        };
        if let Some(error) = error {
            span.text("error.type", error);
            span.fail();
        }
        tracer.finish(span);
    }
}

/// A WebSocket that is open.
pub(super) struct Tunnel {
    request: Rc<Trace>,
    context: Context,
    begun: Now,
    host: String,
    port: u16,
}

impl Tunnel {
    pub(super) fn end(&self, end: End, bytes_to_upstream: u64, bytes_to_client: u64) {
        if !self.context.sampled {
            return;
        }
        let Trace {
            tracer, context, ..
        } = &*self.request;
        let times = Times::since(self.begun);
        let span = tracer.span("WebSocket", Kind::Internal, &self.context, times);
        let mut span = span.below(context.span);
        place(&mut span, &self.host, Some(self.port));
        span.text("network.protocol.name", "websocket");
        self.request.tell_client(&mut span);
        span.whole("relayd.tunnel.bytes_to_upstream", bytes_to_upstream);
        span.whole("relayd.tunnel.bytes_to_client", bytes_to_client);
        span.text("relayd.tunnel.end", end.label());
        let error = match end {
            End::ClientError => Some("client_connection_failed"),
            End::UpstreamError => Some("upstream_connection_failed"),
            End::Client | End::Upstream | End::Idle | End::Revoked | End::Stopped => None,
        };
        if let Some(error) = error {
            span.text("error.type", error);
            span.fail();
        }
        tracer.finish(span);
    }
}

/// Two of them are none (Trace Context §3.2.1).
fn parent(headers: &HeaderMap) -> Option<Parent> {
    let mut lines = headers.get_all(TRACEPARENT).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => Parent::parse(line.as_bytes()),
        (None, _) | (Some(_), Some(_)) => None,
    }
}

/// The authority that the client used, if that is what it says.
fn server(parts: &request::Parts) -> Option<Authority> {
    let host = || parts.headers.get(header::HOST)?.to_str().ok()?.parse().ok();
    parts.uri.authority().cloned().or_else(host)
}

fn place(span: &mut Span, host: &str, port: Option<u16>) {
    span.text("server.address", host);
    if let Some(port) = port {
        span.whole("server.port", u64::from(port));
    }
}

fn method(method: &Method) -> &'static str {
    METHODS
        .iter()
        .find(|known| *known == method)
        .map_or("_OTHER", Method::as_str)
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

fn without_query(target: &str) -> &str {
    target.split_once('?').map_or(target, |(path, _)| path)
}
