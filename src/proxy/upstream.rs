//! One request to an upstream: on a pooled connection or a fresh one, and what became of it.
//!
//! Each fresh connection is driven by a task of its own that ends with the connection; it ends when its sender is dropped.

use super::Compiled;
use super::body::{Counts, Progress, RequestBody, Upload};
use super::connect::{Dialer, Stream};
use super::pool::{Lease, Permit, Pool, Sender, Socket};
use super::resolve::Cache;
use super::respond::ProxyError;
use super::route::Route;
use super::timer::Deadline;
use super::tunnel::Side;
use http::{Method, Request, Response, StatusCode, response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection};
use hyper_util::rt::TokioIo;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// Headers of an answer.
const HEADERS_MAX: usize = 256;
/// Head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Read and write buffer of a connection, in bytes.
const BUFFER_BYTES_MAX: usize = 128 << 10;

/// A request that was not answered.
pub(super) struct Unanswered {
    pub(super) error: ProxyError,
    /// The connection had been used before, and no byte of an answer came: it may have been closed meanwhile.
    pub(super) stale: bool,
    /// The request itself, if not a byte of it was sent.
    pub(super) unsent: Option<Box<Request<RequestBody>>>,
}

impl From<ProxyError> for Unanswered {
    fn from(error: ProxyError) -> Self {
        Self {
            error,
            stale: false,
            unsent: None,
        }
    }
}

/// Which connections may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connect {
    PooledOrFresh,
    Fresh,
}

pub(super) enum Upgraded {
    /// 101: the stream and its place belong to the tunnel.
    Switched(response::Parts, Side<Box<Stream>>, Socket),
    /// Anything else is an ordinary answer.
    Declined(Response<Incoming>, Lease),
}

impl Upgraded {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Switched(head, _, _) => head.status,
            Self::Declined(response, _) => response.status(),
        }
    }
}

/// What a request to an upstream needs.
pub(super) struct Upstream<'a> {
    pub(super) compiled: &'a Compiled,
    pub(super) pool: &'a Rc<Pool>,
    pub(super) names: &'a Cache,
    pub(super) counts: &'a Counts,
}

impl Upstream<'_> {
    pub(super) async fn send(
        &self,
        route: &Route,
        request: Request<RequestBody>,
        upload: &Upload,
        connect: Connect,
    ) -> Result<(Response<Incoming>, Lease), Unanswered> {
        let authority = route.authority();
        let permit = self.admit(&authority)?;
        let pooled = match connect {
            Connect::PooledOrFresh => self.pooled(&authority, request.method()).await,
            Connect::Fresh => None,
        };
        let reused = pooled.is_some();
        let mut sender = match pooled {
            Some(sender) => {
                self.counts.reuses.inc();
                sender
            }
            None => self.open(route).await?,
        };
        upload.reach();
        let wait = self.compiled.settings.timeouts.response;
        let sending = sender.try_send_request(request);
        let response = match answer(sending, upload, wait).await {
            Ok(Ok(response)) => response,
            Ok(Err(mut error)) => {
                let unsent = error.take_message().map(Box::new);
                let error = failure(error.error(), upload);
                return Err(Unanswered {
                    stale: reused && error == ProxyError::UpstreamClosed,
                    error,
                    unsent,
                });
            }
            Err(error) => return Err(error.into()),
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(ProxyError::UpstreamInvalid.into());
        }
        let lease = self.lease(authority, sender, permit);
        Ok((response, lease))
    }

    /// Sends a WebSocket's opening handshake on a connection of its own.
    pub(super) async fn upgrade(
        &self,
        route: &Route,
        request: Request<RequestBody>,
        upload: &Upload,
    ) -> Result<Upgraded, ProxyError> {
        let authority = route.authority();
        let permit = self.admit(&authority)?;
        let (mut sender, connection, socket) = self.shake_hands(route).await?;
        upload.reach();
        let mut connection = Box::pin(connection.without_shutdown());
        let mut ended = None;
        let wait = self.compiled.settings.timeouts.response;
        let response = {
            let mut sending = pin!(sender.send_request(request));
            let both = poll_fn(|cx| {
                if ended.is_none()
                    && let Poll::Ready(parts) = connection.as_mut().poll(cx)
                {
                    ended = Some(parts);
                }
                sending.as_mut().poll(cx)
            });
            answer(both, upload, wait)
                .await?
                .map_err(|error| failure(&error, upload))?
        };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            if ended.is_none() {
                tokio::task::spawn_local(async move {
                    // What broke is told to whoever reads the body.
                    let _ = connection.await;
                    drop(socket);
                });
            }
            return Ok(Upgraded::Declined(
                response,
                self.lease(authority, sender, permit),
            ));
        }
        let parts = match ended {
            Some(parts) => parts,
            None => connection.await,
        };
        let parts = parts.map_err(|error| failure(&error, upload))?;
        let side = Side {
            stream: Box::new(parts.io.into_inner()),
            early: parts.read_buf.to_vec(),
        };
        Ok(Upgraded::Switched(response.into_parts().0, side, socket))
    }

    /// An idle connection. What cannot be sent twice gets one that has been seen to be open at this very moment.
    async fn pooled(&self, authority: &str, method: &Method) -> Option<Sender> {
        loop {
            let sender = self.pool.take(authority)?;
            if method.is_idempotent() {
                return Some(sender);
            }
            // Lets the runtime look at its sockets, and the connection's task at what was found.
            tokio::task::yield_now().await;
            if sender.is_ready() {
                return Some(sender);
            }
        }
    }

    fn admit(&self, authority: &str) -> Result<Permit, ProxyError> {
        let max = self.compiled.settings.limits.upstream_connections_per_host;
        self.pool
            .admit(authority, max)
            .ok_or(ProxyError::UpstreamBusy)
    }

    fn lease(&self, authority: String, sender: Sender, permit: Permit) -> Lease {
        Lease {
            pool: Rc::clone(self.pool),
            authority: authority.into(),
            sender,
            generation: self.compiled.generation,
            permit,
        }
    }

    /// A fresh connection, driven by its own task.
    async fn open(&self, route: &Route) -> Result<Sender, ProxyError> {
        let (sender, connection, socket) = self.shake_hands(route).await?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::trace!(target: "relayd::proxy", %error, "upstream connection ended");
            }
            drop(socket);
        });
        Ok(sender)
    }

    async fn shake_hands(
        &self,
        route: &Route,
    ) -> Result<(Sender, Connection<TokioIo<Stream>, RequestBody>, Socket), ProxyError> {
        let max = self.compiled.settings.limits.upstream_connections;
        let socket = self.pool.open(max).ok_or(ProxyError::UpstreamBusy)?;
        let dialer = Dialer {
            settings: &self.compiled.settings,
            tls: &self.compiled.tls,
            names: self.names,
        };
        let stream = dialer.dial(&route.host, route.port).await?;
        self.counts.connects.inc();
        let (sender, connection) = Builder::new()
            .max_headers(HEADERS_MAX)
            .max_header_size(HEAD_BYTES_MAX)
            .max_buf_size(BUFFER_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| ProxyError::UpstreamClosed)?;
        Ok((sender, connection, socket))
    }
}

/// Waits for an answer's head, for `wait` after the last of the request body moved.
async fn answer<F: Future>(
    sending: F,
    upload: &Upload,
    wait: Duration,
) -> Result<F::Output, ProxyError> {
    let mut sending = pin!(sending);
    let mut deadline = Deadline::after(wait);
    let started = tokio::time::Instant::now();
    poll_fn(|cx| {
        if let Poll::Ready(answer) = sending.as_mut().poll(cx) {
            return Poll::Ready(Ok(answer));
        }
        loop {
            deadline.set_from(upload.moved().max(started), wait);
            if deadline.poll(cx).is_pending() {
                return Poll::Pending;
            }
            // The body's progress does not wake this future.
            if upload.moved().max(started).elapsed() >= wait {
                return Poll::Ready(Err(ProxyError::ResponseTimeout));
            }
        }
    })
    .await
}

fn failure(error: &hyper::Error, upload: &Upload) -> ProxyError {
    tracing::debug!(target: "relayd::proxy", %error, "upstream gave no answer");
    match upload.progress() {
        Progress::TooLarge => ProxyError::BodyTooLarge,
        Progress::Silent => ProxyError::RequestTimeout,
        Progress::Broken => ProxyError::BadRequest,
        Progress::Untouched | Progress::UnderWay | Progress::Complete => {
            if error.is_parse() {
                ProxyError::UpstreamInvalid
            } else {
                ProxyError::UpstreamClosed
            }
        }
    }
}
