//! The client's side: one HTTP/1.1 or HTTP/2 connection, from its first byte to the end of its tunnel.
//!
//! The future of a connection ends when the connection does, so whoever awaits it owns everything in it: the tunnel runs in
//! the same future as the requests before it. What HTTP needed is on the heap and gone by then.

use super::body::ResponseBody;
use super::forward;
use super::guard::{Activity, Guard};
use super::metrics::{ClientFault, EndLabel, FaultLabel};
use super::open_tunnels::OpenTunnel;
use super::pool::Socket;
use super::timer::Deadline;
use super::traced;
use super::tunnel::{self, End, Side};
use super::{Compiled, ConnectionInfo, Local, Proxy, connect};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

/// Below it hyper refuses to work.
const BUFFER_BYTES_MIN: usize = 8 << 10;
/// Read and write buffer of a connection, in bytes; never less than a head may have.
const BUFFER_BYTES: usize = 64 << 10;
/// What hyper parses without an allocation.
const HEADERS_INLINE: usize = 100;
/// What a client may send of one request body, and of all of a connection, before an upstream takes it, in bytes: what
/// thousands of connections that wait for a slow upstream hold in memory.
const STREAM_WINDOW_BYTES: u32 = 128 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 256 << 10;
/// How long an HTTP/2 connection may be silent before it is asked whether it lives.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// For how long, and how much, is read and thrown away behind a request that was answered before it was complete: a socket
/// closed with unread bytes is reset, and the reset overtakes the answer.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1 << 20;

/// One client connection, as its requests see it.
pub(super) struct Connection {
    pub(super) info: ConnectionInfo,
    pub(super) activity: Rc<Activity>,
    /// What follows the 101 that has just been answered.
    pub(super) tunnel: RefCell<Option<PendingTunnel>>,
    drain: watch::Receiver<bool>,
}

impl Connection {
    pub(super) fn draining(&self) -> bool {
        *self.drain.borrow()
    }
}

/// An upstream that has switched protocols and waits for its client.
pub(super) struct PendingTunnel {
    pub(super) upstream: Side<Box<connect::Stream>>,
    pub(super) socket: Socket,
    pub(super) permit: TunnelPermit,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) idle: Duration,
    pub(super) trace: Option<Box<traced::Tunnel>>,
}

/// One of the WebSockets that may be open at once.
pub(super) struct TunnelPermit(Arc<Proxy>);

impl TunnelPermit {
    /// `max` 0: no limit.
    pub(super) fn take(proxy: &Arc<Proxy>, max: usize) -> Option<Self> {
        let open: &AtomicUsize = &proxy.tunnels;
        let permit = Self(Arc::clone(proxy));
        let before = open.fetch_add(1, Ordering::Relaxed);
        (max == 0 || before < max).then_some(permit)
    }
}

impl Drop for TunnelPermit {
    fn drop(&mut self) {
        self.0.tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Not itself `async`: so that the returned future holds the stream on the heap only, and only as long as HTTP needs it.
pub(super) fn serve<S>(
    local: Rc<Local>,
    stream: S,
    info: ConnectionInfo,
    drain: watch::Receiver<bool>,
) -> impl Future<Output = ()> + use<S>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let connection = Rc::new(Connection {
        info,
        activity: Rc::default(),
        tunnel: RefCell::default(),
        drain,
    });
    let compiled = local.proxy.current();
    let http: Pin<Box<dyn Future<Output = Option<Opened<S>>>>> = if info.h2 {
        Box::pin(http2(local, compiled, stream, connection))
    } else {
        Box::pin(http1(local, compiled, stream, connection))
    };
    async move {
        if let Some(Opened { client, tunnel }) = http.await {
            run_tunnel(client, tunnel, info).await;
        }
    }
}

/// A connection that has become a WebSocket.
struct Opened<S> {
    client: Side<Box<S>>,
    tunnel: PendingTunnel,
}

async fn run_tunnel<S>(client: Side<Box<S>>, tunnel: PendingTunnel, info: ConnectionInfo)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let PendingTunnel {
        upstream,
        socket,
        permit,
        host,
        path,
        idle,
        trace,
    } = tunnel;
    permit.0.counts.tunnels.inc();
    let mut record = TunnelRecord {
        open: permit.0.open_tunnels.open(info.client, host, path),
        end: End::Stopped,
        permit,
        trace,
    };
    record.end = tunnel::run(client, upstream, idle, &record.open).await;
    drop(socket);
}

/// A tunnel's line in the log and its place in the counters, written when it is gone.
struct TunnelRecord {
    open: Arc<OpenTunnel>,
    end: End,
    permit: TunnelPermit,
    trace: Option<Box<traced::Tunnel>>,
}

impl Drop for TunnelRecord {
    fn drop(&mut self) {
        self.permit.0.open_tunnels.close(self.open.id);
        let counts = &self.permit.0.counts;
        let (to_upstream, to_client) = (self.open.bytes_to_upstream(), self.open.bytes_to_client());
        counts.tunnels.dec();
        counts.tunnel_bytes_to_upstream.inc_by(to_upstream);
        counts.tunnel_bytes_to_client.inc_by(to_client);
        let reason = EndLabel { reason: self.end };
        counts.tunnel_ends.get_or_create(&reason).inc();
        tracing::info!(
            target: "relayd::proxy",
            client = %self.open.client.ip(),
            host = self.open.host,
            path = self.open.path,
            bytes_to_upstream = to_upstream,
            bytes_to_client = to_client,
            duration_ms = self.open.started.elapsed().as_millis() as u64,
            end = self.end.label(),
            "tunnel"
        );
        if let Some(trace) = &self.trace {
            trace.end(self.end, to_upstream, to_client);
        }
    }
}

/// Serves HTTP/1.1 until the connection ends, or gives the stream back after a 101.
async fn http1<S>(
    local: Rc<Local>,
    compiled: Arc<Compiled>,
    stream: S,
    connection: Rc<Connection>,
) -> Option<Opened<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let settings = &compiled.settings;
    let activity = Rc::clone(&connection.activity);
    let guard = Guard::new(stream, activity, &settings.timeouts, &settings.limits);
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .max_header_size(settings.limits.parsed_bytes())
        .max_buf_size(
            settings
                .limits
                .parsed_bytes()
                .max(BUFFER_BYTES)
                .max(BUFFER_BYTES_MIN),
        );
    if settings.limits.headers != HEADERS_INLINE {
        builder.max_headers(settings.limits.headers);
    }
    let proxy = Arc::clone(&local.proxy);
    let service = service(local, Rc::clone(&connection));
    let mut serving = builder.serve_connection(TokioIo::new(guard), service);
    let mut drain = Drain::new(&connection);
    let mut draining = pin!(drain.begun());
    let mut told = false;
    let served = poll_fn(|cx| {
        if !told && draining.as_mut().poll(cx).is_ready() {
            told = true;
            Pin::new(&mut serving).graceful_shutdown();
        }
        Pin::new(&mut serving).poll(cx)
    })
    .await;
    let parts = serving.into_parts();
    let guard = parts.io.into_inner();
    if let Err(error) = served {
        let fault = match guard.timed_out() {
            true => ClientFault::TimedOut,
            false if error.is_parse() => ClientFault::Malformed,
            false => ClientFault::BrokenOff,
        };
        faulty(&proxy, &connection, fault, &error);
    }
    if let Some(tunnel) = connection.tunnel.take() {
        let client = Side {
            early: parts.read_buf.to_vec(),
            stream: Box::new(guard.into_inner()),
        };
        return Some(Opened { client, tunnel });
    }
    end(guard).await;
    None
}

fn faulty(proxy: &Proxy, connection: &Connection, reason: ClientFault, error: &hyper::Error) {
    let label = FaultLabel { reason };
    proxy.counts.client_faults.get_or_create(&label).inc();
    let client = connection.info.client;
    tracing::debug!(target: "relayd::proxy", %client, %error, reason = reason.label(), "client connection ended");
}

/// Closes in a way that lets the last answer arrive.
async fn end<S: AsyncRead + AsyncWrite + Unpin>(guard: Guard<S>) {
    let unread = guard.unread();
    let mut stream = guard.into_inner();
    let closing = async {
        // The client may be gone already; then there is nothing to close.
        let _ = stream.shutdown().await;
        if !unread {
            return;
        }
        let mut scratch = vec![0; BUFFER_BYTES_MIN];
        let mut bytes = 0;
        while let Ok(read @ 1..) = stream.read(&mut scratch).await {
            bytes += read;
            if bytes > LINGER_BYTES {
                return;
            }
        }
    };
    // A client that goes on sending is reset after all.
    let _ = timeout(LINGER_TIME, closing).await;
}

/// Serves HTTP/2 until the connection ends; it never becomes a tunnel.
async fn http2<S>(
    local: Rc<Local>,
    compiled: Arc<Compiled>,
    stream: S,
    connection: Rc<Connection>,
) -> Option<Opened<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let proxy = Arc::clone(&local.proxy);
    let limits = &compiled.settings.limits;
    let serving = http2::Builder::new(Spawn)
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(limits.h2_streams)
        .max_header_list_size(u32::try_from(limits.parsed_bytes()).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service(local, Rc::clone(&connection)));
    let mut serving = pin!(serving);
    let mut drain = Drain::new(&connection);
    let mut draining = pin!(drain.begun());
    let mut patience = Patience::new(&compiled, Rc::clone(&connection.activity));
    let mut told = false;
    let served = poll_fn(|cx| {
        if !told && draining.as_mut().poll(cx).is_ready() {
            told = true;
            serving.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(served) = serving.as_mut().poll(cx) {
            return Poll::Ready(served);
        }
        while patience.poll(cx).is_ready() {
            // Told once already and still here, or its streams stand still: there is nothing to wait for.
            if told || connection.activity.under_way() > 0 {
                return Poll::Ready(Ok(()));
            }
            told = true;
            serving.as_mut().graceful_shutdown();
            if let Poll::Ready(served) = serving.as_mut().poll(cx) {
                return Poll::Ready(served);
            }
        }
        Poll::Pending
    })
    .await;
    if let Err(error) = served {
        faulty(&proxy, &connection, ClientFault::BrokenOff, &error);
    }
    None
}

/// How long an HTTP/2 connection may do nothing: `idle` without a request, and with some for as long as an upstream may take
/// to answer and then be silent. So a client that opens no window cannot hold upstream connections for ever.
struct Patience {
    activity: Rc<Activity>,
    idle: Duration,
    stalled: Duration,
    deadline: Deadline,
}

impl Patience {
    fn new(compiled: &Compiled, activity: Rc<Activity>) -> Self {
        let timeouts = &compiled.settings.timeouts;
        Self {
            activity,
            idle: timeouts.idle,
            stalled: timeouts.response.saturating_add(timeouts.body_idle),
            deadline: Deadline::after(timeouts.idle),
        }
    }

    /// Ready when patience is at an end; the next wait begins then.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let wait = if self.activity.under_way() == 0 {
            self.idle
        } else {
            self.stalled
        };
        self.deadline.set_from(self.activity.moved(), wait);
        let over = self.deadline.poll(cx);
        if over.is_ready() {
            self.activity.touch();
        }
        over
    }
}

/// The signal to finish what is under way and take nothing more.
struct Drain(watch::Receiver<bool>);

impl Drain {
    fn new(connection: &Connection) -> Self {
        Self(connection.drain.clone())
    }

    /// Never ends if the other side of the signal is gone without having given it.
    async fn begun(&mut self) {
        if self.0.wait_for(|draining| *draining).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn service(
    local: Rc<Local>,
    connection: Rc<Connection>,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Response<ResponseBody>,
    Error = Infallible,
    Future: 'static,
> {
    service_fn(move |request| {
        // Begins here and not with the first poll: hyper may look for the end of the stream in between.
        let under_way = connection.activity.begin();
        let connection = Rc::clone(&connection);
        let answering = forward::answer(Rc::clone(&local), connection, under_way, request);
        async move { Ok::<_, Infallible>(answering.await) }
    })
}

/// Runs HTTP/2 streams on the thread of their connection.
#[derive(Clone, Copy, Debug)]
struct Spawn;

impl<F> Executor<F> for Spawn
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, stream: F) {
        tokio::task::spawn_local(stream);
    }
}
