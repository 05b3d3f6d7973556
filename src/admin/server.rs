//! A small HTTP/1.1 server: one request a connection, everything bounded.

use super::access::Judgement;
use super::answer::{Fault, Reply};
use super::query::Query;
use super::routes::{self, Call, Found, OPEN};
use super::{AdminState, Settings, guard, sampler};
use crate::sys::clock;
use crate::sys::inherit::{Inherited, Purpose};
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Method, Request, request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// From accept to the last byte of the answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// For the part of the server that is asked.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// Connections at once; more wait in the backlog.
const CONNECTIONS_MAX: usize = 64;
/// Of these, connections of one address that is not this machine's: so that no stranger keeps the operator out.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 16;
/// Longest request head, in bytes.
const HEADER_BYTES_MAX: usize = 8 << 10;
/// Longest request body, in bytes.
const BODY_BYTES_MAX: usize = 16 << 10;
/// What is read and thrown away of a longer one, so that its sender reads the answer before a reset.
const BODY_BYTES_SKIPPED: usize = 1 << 20;
/// Pause after an accept that failed.
const BACK_OFF: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "the admin listener {address} would be open to the network without authentication; set admin.token, or use a loopback address such as 127.0.0.1:{}",
        address.port()
    )]
    Exposed { address: SocketAddr },
    #[error("cannot listen on {address} (admin){}", held_by(holder))]
    Socket {
        address: SocketAddr,
        /// Who has the port, when that is known; for the caller to fill in when it is in use.
        holder: Option<String>,
        source: io::Error,
    },
}

fn held_by(holder: &Option<String>) -> String {
    holder
        .as_ref()
        .map(|name| format!(": {name} has it"))
        .unwrap_or_default()
}

/// The bound admin listener.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// `None`: it is off. Uses the socket that is there already, if there is one.
    pub fn bind_beside(
        settings: &Settings,
        inherited: &mut Inherited,
    ) -> Result<Option<Self>, BindError> {
        let Some(address) = settings.listen else {
            return Ok(None);
        };
        if settings.token.is_none() && !address.ip().to_canonical().is_loopback() {
            return Err(BindError::Exposed { address });
        }
        let failed = |source| BindError::Socket {
            address,
            holder: None,
            source,
        };
        let given = inherited.take(Purpose::Admin, address).into_iter().next();
        let listener = match given {
            Some(given) => given.socket.into(),
            None => TcpListener::bind(address).map_err(failed)?,
        };
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Some(Self { listener, address }))
    }

    /// The address with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers on a thread of its own until the result is dropped.
    pub fn start(self, state: Arc<AdminState>) -> io::Result<Running> {
        let listener = self.listener.try_clone()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("relayd-admin".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::spawn(sampler::run(Arc::clone(&state)));
                    let mut connections = JoinSet::new();
                    let handed_over = tokio::select! {
                        () = self.accept(state, &mut connections) => false,
                        stopped = stopped => stopped.is_ok(),
                    };
                    // Each has its deadline; whoever comes now is another process's.
                    while handed_over && connections.join_next().await.is_some() {}
                });
            })?;
        Ok(Running {
            listener,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    async fn accept(self, state: Arc<AdminState>, connections: &mut JoinSet<()>) {
        let listener = match tokio::net::TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "cannot watch the admin listener");
                return;
            }
        };
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let addresses = Arc::new(PerAddress::default());
        loop {
            let place = Arc::clone(&places)
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, client)) => {
                    // Closed without a word: it has been shown enough of them.
                    if let Some(entry) = addresses.enter(client.ip().to_canonical()) {
                        let state = Arc::clone(&state);
                        connections.spawn(async move {
                            let _held = (place, entry);
                            connection(stream, client, state).await;
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept admin connections");
                    sleep(BACK_OFF).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    }
}

/// Stops the admin listener when it is dropped.
#[derive(Debug)]
pub struct Running {
    listener: TcpListener,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Running {
    /// The listener, for another process.
    pub fn offer(&self) -> io::Result<(OwnedFd, SocketAddr)> {
        let socket = self.listener.as_fd().try_clone_to_owned()?;
        Ok((socket, self.listener.local_addr()?))
    }

    /// Accepts no more, and lets answers that are under way finish.
    pub fn hand_over(mut self) {
        if let Some(stop) = self.stop.take() {
            // A thread that has ended has nothing to finish.
            let _ = stop.send(());
        }
        // It is not waited for: the calls of this process go on.
        drop(self.thread.take());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The thread ends when the sender is gone.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

/// Open connections of addresses that are not loopback.
#[derive(Default)]
struct PerAddress {
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection's share; given back when it is dropped.
struct Entry(Option<(Arc<PerAddress>, IpAddr)>);

impl PerAddress {
    fn enter(self: &Arc<Self>, ip: IpAddr) -> Option<Entry> {
        if ip.is_loopback() {
            return Some(Entry(None));
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(ip).or_insert(0);
        if *count >= CONNECTIONS_PER_ADDRESS_MAX {
            return None;
        }
        *count += 1;
        Some(Entry(Some((Arc::clone(self), ip))))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some((addresses, ip)) = self.0.take() else {
            return;
        };
        let mut open = addresses
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                open.remove(&ip);
            }
        }
    }
}

async fn connection(stream: TcpStream, client: SocketAddr, state: Arc<AdminState>) {
    let service = service_fn(|request: Request<Incoming>| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(answer(request, client, state).await) }
    });
    let serving = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEADER_BYTES_MAX)
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(REQUEST_TIMEOUT, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "admin connection failed"),
        Err(_) => tracing::debug!("admin connection took too long"),
    }
}

/// Answers one request, counts it, and writes a line if it was to change something.
async fn answer(request: Request<Incoming>, client: SocketAddr, state: Arc<AdminState>) -> Reply {
    let (parts, body) = request.into_parts();
    let found = routes::find(&parts.method, parts.uri.path());
    let (route, id) = match &found {
        Found::Route(route, id) => (route.path, id.clone()),
        Found::OtherMethods { path, .. } => (*path, None),
        Found::Nothing => ("other", None),
    };
    let answered = timeout(
        ANSWER_TIMEOUT,
        carry_out(&parts, body, client, &state, found),
    );
    let answered = answered.await.unwrap_or(Err(Fault::TimedOut));
    let reply = answered.unwrap_or_else(|fault| fault.reply());
    let (method, status) = (method_label(&parts.method), reply.status().as_u16());
    state.counts.count(route, method, status);
    if parts.method != Method::GET && parts.method != Method::HEAD {
        log_change(client, method, route, id.as_deref(), status);
    }
    reply
}

/// A line for each request that was to change something. Of those that were not let in only the count is kept, unless
/// somebody looks closer: a stranger must not fill the log.
fn log_change(client: SocketAddr, method: &str, route: &str, id: Option<&str>, status: u16) {
    match status {
        401 | 403 | 429 => {
            tracing::debug!(asked_by = %client, method, route, id, status, "admin request refused");
        }
        _ => tracing::info!(asked_by = %client, method, route, id, status, "admin request"),
    }
}

async fn carry_out(
    parts: &request::Parts,
    body: Incoming,
    client: SocketAddr,
    state: &Arc<AdminState>,
    found: Found,
) -> Result<Reply, Fault> {
    admit(parts, client.ip(), state)?;
    guard::check_origin(&parts.method, &parts.headers)?;
    let (route, id) = match found {
        Found::Route(route, id) => (route, id),
        Found::OtherMethods { allow, .. } => return Err(Fault::MethodNotAllowed { allow }),
        Found::Nothing => return Err(Fault::NoSuchPath),
    };
    let body = match route.method {
        "GET" => Bytes::new(),
        _ => read(parts, body).await?,
    };
    let call = Call {
        state: Arc::clone(state),
        id,
        query: Query::parse(parts.uri.query())?,
        headers: parts.headers.clone(),
        body,
    };
    (route.handle)(call).await
}

/// Whether the request may be looked at: it brings the token or needs none.
fn admit(parts: &request::Parts, client: IpAddr, state: &AdminState) -> Result<(), Fault> {
    let Some(token) = state.token() else {
        return guard::check_host(&parts.uri, &parts.headers);
    };
    // Other methods there are a stranger's, and not worth a line each.
    let asks = matches!(parts.method, Method::GET | Method::HEAD);
    if asks && OPEN.contains(&parts.uri.path()) {
        return Ok(());
    }
    let now = clock::now().instant();
    let judgement = state.access.judge(token, &parts.headers, client, now);
    let fault = match judgement {
        Judgement::Good => return Ok(()),
        Judgement::Missing | Judgement::Wrong => Fault::Unauthorized,
        Judgement::Limited => Fault::TooManyFailures,
    };
    state.counts.count_failure(judgement);
    tracing::debug!(%client, ?judgement, "admin request without the token");
    Err(fault)
}

/// Reads a body of at most [`BODY_BYTES_MAX`].
async fn read(parts: &request::Parts, mut body: Incoming) -> Result<Bytes, Fault> {
    let announced = parts.headers.get(CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let limited = Limited::new(&mut body, BODY_BYTES_MAX);
    let read = match announced {
        Some(length) if length > BODY_BYTES_MAX as u64 => Err(Fault::BodyTooLarge),
        _ => match limited.collect().await {
            Ok(whole) => Ok(whole.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(Fault::BodyTooLarge),
            Err(_) => Err(Fault::bad("the request body broke off")),
        },
    };
    if read == Err(Fault::BodyTooLarge) {
        skip(body).await;
    }
    read
}

/// The methods that routes have; another one is the client's word and no label.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

async fn skip(mut body: Incoming) {
    let mut skipped = 0;
    while let Some(Ok(frame)) = body.frame().await {
        skipped += frame.data_ref().map_or(0, Bytes::len);
        if skipped > BODY_BYTES_SKIPPED {
            return;
        }
    }
}
