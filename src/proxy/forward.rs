//! One request, from its parsed head to the head of its answer.
//!
//! In order: is it well formed, is there room for it, is it for relayd itself, which route does it mean, is it a preflight;
//! only then is an upstream asked. Every answer that is made here carries CORS, and each is counted and logged once, when the
//! last of it is gone.

use super::body::{Progress, RequestBody, ResponseBody, Upload, UploadBounds};
use super::cors::{self, Origin};
use super::guard::{Activity, UnderWay};
use super::headers::{self, ClientInfo};
use super::metrics::{ErrorLabel, RequestKind, StatusClass};
use super::own::{self, Endpoint, Step};
use super::pool::Lease;
use super::record::Record;
use super::redirect::{self, Answer, Decision, Follow};
use super::respond::{ProxyError, respond};
use super::route::Route;
use super::server::{Connection, PendingTunnel, TunnelPermit};
use super::traced::{Attempt, Trace};
use super::upstream::{Connect, Upgraded, Upstream};
use super::upstreams::Came;
use super::{Compiled, Local, cookies};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
};
use http::{header, request};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// What of a followed redirect's body is read so that its connection can be used again.
const REDIRECT_BODY_BYTES_MAX: usize = 16 << 10;
const REDIRECT_BODY_TIME_MAX: Duration = Duration::from_secs(1);

/// Answers one request; never fails, because every failure is an answer.
pub(super) async fn answer(
    local: Rc<Local>,
    connection: Rc<Connection>,
    under_way: UnderWay,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let compiled = local.proxy.current();
    let (parts, body) = request.into_parts();
    let mut record = Box::new(Record::new(
        parts.method.clone(),
        connection.info.client.ip(),
        &local.proxy.counts,
        under_way,
    ));
    let trace = Trace::begin(&parts, &connection.info, &compiled.settings);
    record.trace.clone_from(&trace);
    let exchange = Exchange {
        trace,
        local: &local,
        compiled: &compiled,
        connection: &connection,
        origin: compiled.cors.judge(&parts.headers),
        parts: &parts,
    };
    let answered = exchange.run(body, &mut record).await;
    record.refused = answered.as_ref().err().copied();
    let mut response = answered.unwrap_or_else(|error| exchange.refuse(error));
    record.status = response.status().as_u16();
    exchange.settle_connection(&mut response);
    if response.body().is_end_stream() {
        record.complete();
    }
    response.map(|body| body.recorded(record))
}

struct Exchange<'a> {
    local: &'a Local,
    compiled: &'a Compiled,
    connection: &'a Connection,
    parts: &'a request::Parts,
    origin: Origin,
    trace: Option<Rc<Trace>>,
}

impl Exchange<'_> {
    async fn run(
        &self,
        body: Incoming,
        record: &mut Record,
    ) -> Result<Response<ResponseBody>, ProxyError> {
        let parts = self.parts;
        record.path = parts.uri.path().to_owned();
        let authority = headers::check(parts)?;
        record.host.clone_from(&authority);
        self.admit(record)?;
        if let Some(response) = self.own() {
            record.kind = RequestKind::Own;
            return Ok(self.own_body(response));
        }
        if let Some(endpoint) = self.local.proxy.endpoint(parts.uri.path()) {
            return self.serve(&**endpoint, body, record).await;
        }
        let target = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
        let route = self.compiled.router.route(&authority, target);
        if let Some(response) = cors::preflight(parts, route.as_ref(), &self.origin) {
            record.kind = RequestKind::Preflight;
            return Ok(self.own_body(response));
        }
        let route = route?;
        record.kind = RequestKind::from(route.kind);
        record.host = route.authority();
        record.path = without_query(&route.path_and_query).to_owned();
        let client = ClientInfo {
            ip: self.connection.info.client.ip(),
            tls: self.connection.info.tls,
            authority,
        };
        self.forward(route, &client, body, record).await
    }

    fn admit(&self, record: &Record) -> Result<(), ProxyError> {
        let limits = &self.compiled.settings.limits;
        let too_large = head_bytes(self.parts) > limits.header_bytes;
        if too_large || self.parts.headers.len() > limits.headers {
            return Err(ProxyError::HeadersTooLarge);
        }
        let rates = &self.local.proxy.rates;
        let per_s = limits.requests_per_s_per_address;
        if !rates.admit(record.client, per_s, Instant::now()) {
            return Err(ProxyError::TooManyRequests);
        }
        Ok(())
    }

    /// What relayd serves itself: probes for load balancers, and the built-in page where it is switched on.
    fn own(&self) -> Option<Response<Bytes>> {
        if self.parts.method != Method::GET && self.parts.method != Method::HEAD {
            return None;
        }
        match self.parts.uri.path() {
            "/healthcheck" => Some(self.plain("ok\n")),
            "/readyz" if self.connection.draining() => {
                Some(respond(ProxyError::Draining, &self.origin))
            }
            "/readyz" => Some(self.plain("ready\n")),
            // TRTC's older SDK opens its WebSocket at the root, where the page is.
            _ if headers::is_websocket(self.parts) => None,
            // The page of a first try holds a TURN credential: it is not for whoever listens on the way.
            _ if self.connection.info.tls => self.local.proxy.page(self.parts),
            _ => None,
        }
    }

    /// A path that takes bodies and is served here.
    async fn serve(
        &self,
        endpoint: &dyn Endpoint,
        body: Incoming,
        record: &mut Record,
    ) -> Result<Response<ResponseBody>, ProxyError> {
        if let Some(response) = cors::own_preflight(self.parts, &self.origin) {
            record.kind = RequestKind::Preflight;
            return Ok(self.own_body(response));
        }
        if self.origin == Origin::Denied {
            return Err(ProxyError::OriginNotAllowed);
        }
        record.kind = RequestKind::Own;
        let mut response = match endpoint.begin(self.parts, &self.connection.info) {
            Step::Answer(response) => response,
            Step::Body { bytes_max, then } => {
                then(own::read(body, bytes_max, &self.connection.activity).await)
            }
        };
        cors::decorate(response.headers_mut(), &self.origin);
        Ok(self.own_body(response))
    }

    fn plain(&self, text: &'static str) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from_static(text.as_bytes()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        cors::decorate(headers, &self.origin);
        response
    }

    fn refuse(&self, error: ProxyError) -> Response<ResponseBody> {
        let reason = ErrorLabel { reason: error };
        self.local.proxy.counts.errors.get_or_create(&reason).inc();
        tracing::debug!(target: "relayd::proxy", client = %self.connection.info.client, %error, "refused");
        let mut response = self.own_body(respond(error, &self.origin));
        // RFC 9112 §3.2, §6.3: what comes behind such a request cannot be told from its body.
        let ambiguous = matches!(
            error,
            ProxyError::BadHost | ProxyError::BadLength | ProxyError::BadRequest
        );
        if ambiguous && self.parts.version < Version::HTTP_2 {
            close(response.headers_mut());
        }
        response
    }

    fn own_body(&self, response: Response<Bytes>) -> Response<ResponseBody> {
        let head = self.parts.method == Method::HEAD;
        response.map(|bytes| ResponseBody::own(if head { Bytes::new() } else { bytes }))
    }

    /// A connection that asked for another protocol serves no further request: the guard no longer reads along.
    fn settle_connection(&self, response: &mut Response<ResponseBody>) {
        let upgrade = self.parts.version < Version::HTTP_2
            && self.parts.headers.contains_key(header::UPGRADE);
        if upgrade && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            close(response.headers_mut());
        }
    }

    async fn forward(
        &self,
        route: Route,
        client: &ClientInfo,
        body: Incoming,
        record: &mut Record,
    ) -> Result<Response<ResponseBody>, ProxyError> {
        let settings = &self.compiled.settings;
        let limit = settings.limits.body_bytes;
        if limit > 0 && body.size_hint().lower() > limit {
            return Err(ProxyError::BodyTooLarge);
        }
        let websocket = headers::is_websocket(self.parts);
        // RFC 6455 §10.2: a page may open one anywhere and read all of it; no other check of its origin comes.
        if websocket && self.origin == Origin::Denied {
            return Err(ProxyError::OriginNotAllowed);
        }
        if websocket && !body.is_end_stream() {
            return Err(ProxyError::BadRequest);
        }
        let permit = match websocket {
            true => Some(self.tunnel_permit()?),
            false => None,
        };
        let bounds = UploadBounds {
            bytes_max: limit,
            keep_bytes_max: settings.limits.replay_bytes,
            silence_max: settings.timeouts.body_idle,
        };
        let (body, upload) = RequestBody::new(body, bounds, &self.connection.activity);
        record.upload = Some(Rc::clone(&upload));
        let journey = Journey {
            exchange: self,
            first: route,
            client,
            upload,
            follows: Vec::new(),
            cookies: Vec::new(),
        };
        journey.run(body, permit, record).await
    }

    fn tunnel_permit(&self) -> Result<TunnelPermit, ProxyError> {
        let max = self.compiled.settings.limits.tunnels;
        TunnelPermit::take(&self.local.proxy, max).ok_or(ProxyError::TooManyTunnels)
    }

    fn upstream(&self) -> Upstream<'_> {
        Upstream {
            compiled: self.compiled,
            pool: self.local.pool(self.compiled),
            names: &self.local.names,
            counts: &self.local.proxy.counts,
        }
    }
}

/// A request on its way, over as many redirects as it takes.
struct Journey<'a> {
    exchange: &'a Exchange<'a>,
    first: Route,
    client: &'a ClientInfo,
    upload: Rc<Upload>,
    follows: Vec<Follow>,
    /// Set by answers that the client never sees.
    cookies: Vec<HeaderValue>,
}

/// A request to one upstream, counted once: by what came of it, or when the client gives up and its future is dropped.
struct Asked<'a> {
    local: &'a Local,
    authority: String,
    upload: Rc<Upload>,
    activity: Rc<Activity>,
    begin: Instant,
    is_counted: bool,
}

impl Asked<'_> {
    fn count(mut self, arrived: &Result<Arrived, ProxyError>) {
        self.is_counted = true;
        let came = match arrived {
            Ok(Arrived::Answer(response, _)) => answered(response.status()),
            Ok(Arrived::Tunnel(response)) => answered(response.status()),
            Err(error) => Came::Nothing(*error),
        };
        self.tell(came, Instant::now());
    }

    /// The time of the upload is the client's: what an upstream takes begins with the last that it was sent.
    fn tell(&self, came: Came, now: Instant) {
        let sent = self.begin.max(self.upload.moved().into_std());
        let took = now.saturating_duration_since(sent);
        self.local.upstreams.count(&self.authority, now, took, came);
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if self.is_counted {
            return;
        }
        let came = Came::Abandoned {
            reached: self.upload.has_reached(),
            upstreams_turn: self.upload.progress() != Progress::UnderWay,
        };
        // A client that closes its connection is given a while before its request is dropped; that is nobody's wait.
        let left = self.activity.half_closed().map(|at| at.into_std());
        self.tell(came, left.unwrap_or_else(Instant::now));
    }
}

enum Arrived {
    Answer(Response<Incoming>, Lease),
    Tunnel(Response<ResponseBody>),
}

impl<'a> Journey<'a> {
    async fn run(
        mut self,
        mut body: RequestBody,
        mut permit: Option<TunnelPermit>,
        record: &mut Record,
    ) -> Result<Response<ResponseBody>, ProxyError> {
        loop {
            let asked = self.asked(record);
            let arrived = match permit.take() {
                Some(given) => self.upgrade(body, given, &mut permit).await,
                None => {
                    let answer = self.send(body).await;
                    answer.map(|(response, lease)| Arrived::Answer(response, lease))
                }
            };
            asked.count(&arrived);
            let arrived = arrived?;
            record.upstream = Some(record.started().elapsed());
            let (response, lease) = match arrived {
                Arrived::Answer(response, lease) => (response, lease),
                Arrived::Tunnel(response) => return Ok(response),
            };
            match self.decide(&response) {
                Decision::Follow(follow) => {
                    body = self.follow(*follow, response, lease).await?;
                }
                settled @ (Decision::Rewrite(_) | Decision::Strip | Decision::Pass) => {
                    return self.finish(response, lease, &settled);
                }
            }
        }
    }

    fn route(&self) -> &Route {
        self.follows
            .last()
            .map_or(&self.first, |follow| &follow.route)
    }

    fn method(&self) -> &Method {
        self.follows
            .last()
            .map_or(&self.exchange.parts.method, |follow| &follow.method)
    }

    /// The request to the route that is next, to be counted for it.
    fn asked(&self, record: &Record) -> Asked<'a> {
        self.upload.begin_hop();
        Asked {
            local: self.exchange.local,
            authority: match self.follows.last() {
                None => record.host.clone(),
                Some(follow) => follow.route.authority(),
            },
            upload: Rc::clone(&self.upload),
            activity: Rc::clone(&self.exchange.connection.activity),
            begin: Instant::now(),
            is_counted: false,
        }
    }

    /// The body once more; a redirect may have taken it away for good.
    fn body_again(&self) -> Option<RequestBody> {
        if self.follows.iter().all(|follow| follow.keep_body) {
            self.upload.again()
        } else {
            Some(RequestBody::Empty)
        }
    }

    fn decide(&self, response: &Response<Incoming>) -> Decision {
        if !response.status().is_redirection() {
            return Decision::Pass;
        }
        let answer = Answer {
            status: response.status(),
            location: response.headers().get(header::LOCATION),
            method: self.method(),
            route: self.route(),
            client_authority: &self.client.authority,
            hops: u8::try_from(self.follows.len()).unwrap_or(u8::MAX),
            body_replayable: self.body_again().is_some(),
        };
        redirect::decide(&answer, &self.exchange.compiled.router)
    }

    async fn follow(
        &mut self,
        follow: Follow,
        response: Response<Incoming>,
        lease: Lease,
    ) -> Result<RequestBody, ProxyError> {
        self.exchange.local.proxy.counts.redirects.inc();
        self.cookies
            .extend(cookies::scoped(response.headers(), self.route()));
        discard(response.into_body(), lease).await;
        self.follows.push(follow);
        self.body_again().ok_or(ProxyError::Internal)
    }

    /// Sends the request; once more on a fresh connection when a pooled one turned out to be closed.
    async fn send(&self, mut body: RequestBody) -> Result<(Response<Incoming>, Lease), ProxyError> {
        let upstream = self.exchange.upstream();
        let mut connect = Connect::PooledOrFresh;
        loop {
            let mut attempt = self.attempt();
            let request = self.request(body, attempt.as_ref())?;
            let sent = upstream
                .send(self.route(), request, &self.upload, connect)
                .await;
            if let Some(attempt) = &mut attempt {
                let status = sent.as_ref().map(|(answer, _)| answer.status());
                attempt.settle(status.map_err(|unanswered| unanswered.error));
            }
            let unanswered = match sent {
                Ok(answer) => return Ok(answer),
                Err(unanswered) => unanswered,
            };
            if connect == Connect::Fresh || !unanswered.stale {
                return Err(unanswered.error);
            }
            connect = Connect::Fresh;
            body = match unanswered.unsent {
                Some(request) => request.into_body(),
                // RFC 9110 §9.2.2: what may have been acted upon is not repeated, unless that does no harm.
                None if self.method().is_idempotent() => {
                    self.body_again().ok_or(unanswered.error)?
                }
                None => return Err(unanswered.error),
            };
            self.exchange.local.proxy.counts.retries.inc();
        }
    }

    async fn upgrade(
        &self,
        body: RequestBody,
        permit: TunnelPermit,
        unused: &mut Option<TunnelPermit>,
    ) -> Result<Arrived, ProxyError> {
        let exchange = self.exchange;
        let mut attempt = self.attempt();
        let request = self.request(body, attempt.as_ref())?;
        let route = self.route();
        let upgraded = exchange
            .upstream()
            .upgrade(route, request, &self.upload)
            .await;
        if let Some(attempt) = &mut attempt {
            let status = upgraded.as_ref().map(Upgraded::status);
            attempt.settle(status.map_err(|error| *error));
        }
        drop(attempt);
        let upgraded = upgraded?;
        let (head, upstream, socket) = match upgraded {
            Upgraded::Switched(head, upstream, socket) => (head, upstream, socket),
            Upgraded::Declined(response, lease) => {
                *unused = Some(permit);
                return Ok(Arrived::Answer(response, lease));
            }
        };
        if !headers::has_token(&head.headers, header::UPGRADE, "websocket") {
            return Err(ProxyError::UpstreamInvalid);
        }
        exchange.connection.tunnel.replace(Some(PendingTunnel {
            upstream,
            socket,
            permit,
            host: route.authority(),
            path: without_query(&route.path_and_query).to_owned(),
            idle: exchange.compiled.settings.timeouts.tunnel_idle,
            trace: exchange.trace.as_ref().map(|trace| trace.tunnel(route)),
        }));
        let mut response = Response::new(ResponseBody::own(Bytes::new()));
        *response.status_mut() = head.status;
        *response.headers_mut() = self.to_client(head.headers);
        headers::set_upgrade(response.headers_mut());
        Ok(Arrived::Tunnel(response))
    }

    fn attempt(&self) -> Option<Attempt> {
        let trace = self.exchange.trace.as_ref()?;
        Some(trace.attempt(self.route(), self.method()))
    }

    /// The request as it goes to the route that is next.
    fn request(
        &self,
        body: RequestBody,
        attempt: Option<&Attempt>,
    ) -> Result<Request<RequestBody>, ProxyError> {
        let Exchange {
            parts, compiled, ..
        } = self.exchange;
        let mut to_upstream =
            headers::to_upstream(parts, &self.first, self.client, &compiled.settings)?;
        for follow in &self.follows {
            follow.adjust(&mut to_upstream);
        }
        if let Some(attempt) = attempt {
            attempt.tell_upstream(&mut to_upstream);
        }
        frame(&mut to_upstream, &parts.headers, &body);
        let path_and_query = PathAndQuery::try_from(self.route().path_and_query.as_str())
            .map_err(|_| ProxyError::BadTarget)?;
        let mut request = Request::new(body);
        *request.method_mut() = self.method().clone();
        *request.uri_mut() = Uri::from(path_and_query);
        *request.headers_mut() = to_upstream;
        Ok(request)
    }

    fn to_client(&self, upstream: HeaderMap) -> HeaderMap {
        let mut headers = headers::to_client(upstream, self.route(), &self.exchange.origin);
        for cookie in &self.cookies {
            headers.append(header::SET_COOKIE, cookie.clone());
        }
        headers
    }

    /// Hands an upstream's answer over to the client.
    fn finish(
        &self,
        response: Response<Incoming>,
        lease: Lease,
        settled: &Decision,
    ) -> Result<Response<ResponseBody>, ProxyError> {
        let (mut head, body) = response.into_parts();
        // hyper has decoded `chunked`; any other coding would reach the client undeclared.
        if let Some(coding) = head.headers.get(header::TRANSFER_ENCODING) {
            if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err(ProxyError::UpstreamInvalid);
            }
            // RFC 9112 §6.3: it overrides a length.
            head.headers.remove(header::CONTENT_LENGTH);
        }
        settled.settle(&mut head.headers);
        let trailer = head.headers.remove(header::TRAILER);
        let silence_max = self.exchange.compiled.settings.timeouts.body_idle;
        let mut response = Response::new(ResponseBody::upstream(body, Some(lease), silence_max));
        *response.status_mut() = head.status;
        *response.headers_mut() = self.to_client(head.headers);
        if let Some(trailer) = trailer {
            response.headers_mut().insert(header::TRAILER, trailer);
        }
        if let Some(reason) = head.extensions.remove::<hyper::ext::ReasonPhrase>() {
            response.extensions_mut().insert(reason);
        }
        Ok(response)
    }
}

/// The request's head as HTTP/1.1 writes it, in bytes.
fn head_bytes(parts: &request::Parts) -> usize {
    let target = parts.uri.path_and_query().map_or(0, |pq| pq.as_str().len());
    let first = parts.method.as_str().len() + target + "  HTTP/1.1\r\n\r\n".len();
    let field = |(name, value): (&HeaderName, &HeaderValue)| {
        name.as_str().len() + value.len() + ": \r\n".len()
    };
    first + parts.headers.iter().map(field).sum::<usize>()
}

/// Declares how the body is framed and that trailers are welcome, anew for this hop.
fn frame(to_upstream: &mut HeaderMap, from_client: &HeaderMap, body: &RequestBody) {
    match body.size_hint().exact() {
        Some(0) => {}
        // A kept body has a length even where the client's had none.
        Some(bytes) => drop(to_upstream.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes))),
        None => {
            to_upstream.remove(header::CONTENT_LENGTH);
            to_upstream.insert(
                header::TRANSFER_ENCODING,
                HeaderValue::from_static("chunked"),
            );
            if let Some(trailer) = from_client.get(header::TRAILER) {
                to_upstream.insert(header::TRAILER, trailer.clone());
            }
        }
    }
    if headers::has_token(from_client, header::TE, "trailers")
        && !to_upstream.contains_key(header::CONNECTION)
    {
        to_upstream.insert(header::TE, HeaderValue::from_static("trailers"));
        to_upstream.insert(header::CONNECTION, HeaderValue::from_static("TE"));
    }
}

/// Reads the rest of an answer that nobody wants, so that its connection can be used again; gives up if that takes long.
async fn discard(body: Incoming, lease: Lease) {
    let mut body = ResponseBody::upstream(body, Some(lease), REDIRECT_BODY_TIME_MAX);
    let reading = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > REDIRECT_BODY_BYTES_MAX {
                return;
            }
        }
    };
    // Too slow is as good as too long: the connection is dropped with its body.
    let _ = timeout(REDIRECT_BODY_TIME_MAX, reading).await;
}

fn answered(status: StatusCode) -> Came {
    Came::Answer(StatusClass::of(status.as_u16()))
}

fn close(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
}

fn without_query(target: &str) -> &str {
    target.split_once('?').map_or(target, |(path, _)| path)
}
