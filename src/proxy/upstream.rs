//! One request to an upstream: on a pooled connection or a fresh one, and what became of it.
//!
//! Each fresh connection is driven by a task of its own that ends with the connection; it ends when its sender is dropped.

use super::Compiled;
use super::body::{Counts, Progress, RequestBody, Upload};
use super::connect::{DialError, Dialer, Stream};
use super::pool::{Lease, Permit, Pool, Sender};
use super::resolve::Cache;
use super::route::Route;
use super::timer::Deadline;
use super::tunnel::Side;
use http::{Request, Response, StatusCode, response};
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

/// Why an upstream gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Dial(DialError),
    /// Too many requests to this host are under way.
    Busy,
    /// It closed, or the connection broke, before its answer began.
    Closed,
    /// It answered with something that is not HTTP/1.
    Garbage,
    /// Its answer did not begin in time.
    Timeout,
    /// It switched protocols without being asked to.
    Switched,
    /// The client's own body is at fault.
    Body(Progress),
}

/// A request that was not answered.
pub(super) struct Unanswered {
    pub(super) failure: Failure,
    /// The connection had been used before, and no byte of an answer came: it may have been closed meanwhile.
    pub(super) stale: bool,
    /// The request itself, if not a byte of it was sent.
    pub(super) unsent: Option<Box<Request<RequestBody>>>,
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
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
    /// 101: the stream belongs to the tunnel.
    Switched(response::Parts, Side<Box<Stream>>),
    /// Anything else is an ordinary answer.
    Declined(Response<Incoming>, Lease),
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
            Connect::PooledOrFresh => self.pool.take(&authority),
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
        let wait = self.compiled.settings.timeouts.response;
        let sending = sender.try_send_request(request);
        let response = match answer(sending, upload, wait).await {
            Ok(Ok(response)) => response,
            Ok(Err(mut error)) => {
                let unsent = error.take_message().map(Box::new);
                let failure = failure(error.error(), upload);
                return Err(Unanswered {
                    stale: reused && failure == Failure::Closed,
                    failure,
                    unsent,
                });
            }
            Err(failure) => return Err(failure.into()),
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Failure::Switched.into());
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
    ) -> Result<Upgraded, Failure> {
        let authority = route.authority();
        let permit = self.admit(&authority)?;
        let (mut sender, connection) = self.shake_hands(route).await?;
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
        Ok(Upgraded::Switched(response.into_parts().0, side))
    }

    fn admit(&self, authority: &str) -> Result<Permit, Failure> {
        let max = self.compiled.settings.limits.upstream_connections_per_host;
        self.pool.admit(authority, max).ok_or(Failure::Busy)
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
    async fn open(&self, route: &Route) -> Result<Sender, Failure> {
        let (sender, connection) = self.shake_hands(route).await?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::trace!(target: "relayd::proxy", %error, "upstream connection ended");
            }
        });
        Ok(sender)
    }

    async fn shake_hands(
        &self,
        route: &Route,
    ) -> Result<(Sender, Connection<TokioIo<Stream>, RequestBody>), Failure> {
        let dialer = Dialer {
            settings: &self.compiled.settings,
            tls: &self.compiled.tls,
            names: self.names,
        };
        let stream = match dialer.dial(&route.host, route.port).await {
            Ok(stream) => stream,
            Err(error) => {
                let reason = super::metrics::ReasonLabel { reason: error };
                self.counts.connect_errors.get_or_create(&reason).inc();
                return Err(Failure::Dial(error));
            }
        };
        self.counts.connects.inc();
        Builder::new()
            .max_headers(HEADERS_MAX)
            .max_header_size(HEAD_BYTES_MAX)
            .max_buf_size(BUFFER_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Failure::Closed)
    }
}

/// Waits for an answer's head, for `wait` after the last of the request body moved.
async fn answer<F: Future>(
    sending: F,
    upload: &Upload,
    wait: Duration,
) -> Result<F::Output, Failure> {
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
                return Poll::Ready(Err(Failure::Timeout));
            }
        }
    })
    .await
}

fn failure(error: &hyper::Error, upload: &Upload) -> Failure {
    tracing::debug!(target: "relayd::proxy", %error, "upstream gave no answer");
    match upload.progress() {
        at_fault @ (Progress::TooLarge | Progress::Silent | Progress::Broken) => {
            Failure::Body(at_fault)
        }
        Progress::Untouched | Progress::UnderWay | Progress::Complete => {
            if error.is_parse() {
                Failure::Garbage
            } else {
                Failure::Closed
            }
        }
    }
}
