//! A small HTTP/1.1 server: GET, HEAD and one POST, one request a connection, everything bounded.

use super::{AdminState, Reloaded, Settings};
use crate::metrics;
use crate::sys::inherit::{Inherited, Purpose};
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// From accept to the last byte of the answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at once; more wait in the backlog.
const CONNECTIONS_MAX: usize = 64;
/// Longest request head, in bytes.
const HEADER_BYTES_MAX: usize = 8 << 10;
/// Pause after an accept that failed.
const BACK_OFF: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "the admin listener {address} would be open to the network without authentication; use a loopback address such as 127.0.0.1:{}",
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
    /// `None`: it is off.
    pub fn bind(settings: &Settings) -> Result<Option<Self>, BindError> {
        Self::bind_beside(settings, &mut Inherited::default())
    }

    /// Uses the socket that is there already, if there is one.
    pub fn bind_beside(
        settings: &Settings,
        inherited: &mut Inherited,
    ) -> Result<Option<Self>, BindError> {
        let Some(address) = settings.listen else {
            return Ok(None);
        };
        if !address.ip().to_canonical().is_loopback() {
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

    /// Answers for as long as this is polled, which needs a tokio runtime with I/O and time.
    pub async fn serve(self, state: Arc<AdminState>) {
        self.accept(state, &mut JoinSet::new()).await;
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
        loop {
            let place = Arc::clone(&places)
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, _)) => {
                    let state = Arc::clone(&state);
                    connections.spawn(async move {
                        let _place = place;
                        connection(stream, state).await;
                    });
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

async fn connection(stream: TcpStream, state: Arc<AdminState>) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let state = Arc::clone(&state);
        async move {
            let (method, path) = (request.method(), request.uri().path());
            Ok::<_, Infallible>(match (method, path) {
                (&Method::POST, "/reload") => reload(&state).await,
                _ => answer(method, path, &state),
            })
        }
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

/// The report of `relayd check` with what has changed; 422: the file is not in force.
async fn reload(state: &AdminState) -> Response<Full<Bytes>> {
    match state.reload().await {
        Some(Reloaded { ok: true, report }) => json(StatusCode::OK, report),
        Some(Reloaded { ok: false, report }) => json(StatusCode::UNPROCESSABLE_ENTITY, report),
        None => {
            let body = r#"{"error":"not now: the server starts or stops"}"#;
            json(StatusCode::SERVICE_UNAVAILABLE, body.to_owned())
        }
    }
}

fn answer(method: &Method, path: &str, state: &AdminState) -> Response<Full<Bytes>> {
    if !matches!(
        path,
        "/healthz" | "/readyz" | "/metrics" | "/version" | "/reload"
    ) {
        let body = r#"{"error":"not found","paths":["/healthz","/readyz","/metrics","/version","/reload"]}"#;
        return json(StatusCode::NOT_FOUND, body.to_owned());
    }
    if path == "/reload" || *method != Method::GET && *method != Method::HEAD {
        let body = r#"{"error":"method not allowed"}"#.to_owned();
        let mut response = json(StatusCode::METHOD_NOT_ALLOWED, body);
        let allow = HeaderValue::from_static(match path {
            "/reload" => "POST",
            _ => "GET, HEAD",
        });
        response.headers_mut().insert(ALLOW, allow);
        return response;
    }
    match path {
        "/readyz" => {
            let (ready, body) = state.readiness();
            let status = match ready {
                true => StatusCode::OK,
                false => StatusCode::SERVICE_UNAVAILABLE,
            };
            json(status, body)
        }
        "/metrics" => respond(
            StatusCode::OK,
            metrics::CONTENT_TYPE,
            state.metrics().encode(),
        ),
        "/version" => {
            let version = env!("CARGO_PKG_VERSION");
            json(StatusCode::OK, format!(r#"{{"version":"{version}"}}"#))
        }
        // `/healthz`: that somebody answers is the answer.
        _ => json(StatusCode::OK, r#"{"healthy":true}"#.to_owned()),
    }
}

fn json(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    respond(status, "application/json", body)
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
