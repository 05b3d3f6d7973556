//! One HTTP/1.1 request to a URL, as a client: resolve, connect, TLS if the URL says https, send, read. Everything is bounded.
//!
//! Absent: proxies, redirects, cookies, keep-alive; what an answer's status means is for the caller to say.

use crate::tls::client_config;
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri, request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("cannot resolve {host}")]
    Resolve { host: String, source: io::Error },
    #[error("cannot connect to {host}:{port}")]
    Connect {
        host: String,
        port: u16,
        source: io::Error,
    },
    #[error("TLS with {host} failed")]
    Tls { host: String, source: io::Error },
    #[error("HTTP with {host} failed")]
    Http { host: String, source: hyper::Error },
    #[error("{host} did not send a whole answer of {bytes_max} bytes at most")]
    Answer {
        host: String,
        bytes_max: usize,
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("{host} did not answer within {} s", limit.as_secs_f32())]
    Timeout { host: String, limit: Duration },
}

/// What a request may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// One address, until it is connected.
    pub connect: Duration,
    /// All of it, from the name's resolution to the answer's last byte.
    pub request: Duration,
    pub answer_bytes_max: usize,
}

/// Makes requests, one connection each.
#[derive(Clone)]
pub struct Fetcher {
    tls: Arc<ClientConfig>,
    bounds: Bounds,
}

impl Fetcher {
    pub fn new(roots: RootCertStore, bounds: Bounds) -> Self {
        Self {
            tls: client_config(roots),
            bounds,
        }
    }

    /// Sends `parts` with `body` to `target`, whatever URI they have, and returns the answer whatever its status is.
    pub async fn fetch(
        &self,
        target: &Target,
        parts: request::Parts,
        body: Bytes,
    ) -> Result<Response<Bytes>, FetchError> {
        let request = target.request(parts, Full::new(body));
        match timeout(self.bounds.request, self.exchange(target, request)).await {
            Ok(answer) => answer,
            Err(_) => Err(FetchError::Timeout {
                host: target.host.clone(),
                limit: self.bounds.request,
            }),
        }
    }

    async fn exchange(
        &self,
        target: &Target,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, FetchError> {
        let socket = self.connect(target).await?;
        if !target.tls {
            return self.send(target, socket, request).await;
        }
        let host = &target.host;
        let tls = |source| FetchError::Tls {
            host: host.clone(),
            source,
        };
        let name = ServerName::try_from(host.clone())
            .map_err(|error| tls(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = connector.connect(name, socket).await.map_err(tls)?;
        self.send(target, stream, request).await
    }

    async fn send<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        target: &Target,
        stream: S,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, FetchError> {
        let host = &target.host;
        let http = |source| FetchError::Http {
            host: host.clone(),
            source,
        };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
        let _connection = Running(
            tokio::spawn(async move {
                // What goes wrong there goes wrong with the request too.
                let _ = connection.await;
            })
            .abort_handle(),
        );
        let answer = sender.send_request(request).await.map_err(http)?;
        let (parts, body) = answer.into_parts();
        let bytes_max = self.bounds.answer_bytes_max;
        let body = Limited::new(body, bytes_max).collect().await;
        let body = body.map_err(|source| FetchError::Answer {
            host: host.clone(),
            bytes_max,
            source,
        })?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }

    async fn connect(&self, target: &Target) -> Result<TcpStream, FetchError> {
        let Target { host, port, .. } = target;
        let addresses = tokio::net::lookup_host((host.as_str(), *port)).await;
        let addresses: Vec<SocketAddr> = addresses
            .map_err(|source| FetchError::Resolve {
                host: host.clone(),
                source,
            })?
            .take(ADDRESSES_MAX)
            .collect();
        let socket = connect_any(&addresses, self.bounds.connect).await;
        socket.map_err(|source| FetchError::Connect {
            host: host.clone(),
            port: *port,
            source,
        })
    }
}

/// An error and its causes as one line.
pub fn sentence(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        sentence.push_str(": ");
        sentence.push_str(&error.to_string());
        cause = error.source();
    }
    sentence
}

/// Ends a connection's task with its request.
struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Where a URL leads.
#[derive(Clone, Debug)]
pub struct Target {
    pub host: String,
    pub port: u16,
    pub tls: bool,
    authority: HeaderValue,
    path: Uri,
}

impl Target {
    /// `None` for what is neither http nor https, or names a user.
    pub fn of(uri: &Uri) -> Option<Self> {
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') {
            return None;
        }
        let host = authority.host();
        let plain = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Some(Self {
            host: plain.unwrap_or(host).to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            tls,
            authority: HeaderValue::from_str(authority.as_str()).ok()?,
            path: path.parse().ok()?,
        })
    }

    /// In origin form, with its Host header (RFC 9112 §3.2).
    fn request(&self, parts: request::Parts, body: Full<Bytes>) -> Request<Full<Bytes>> {
        let mut request = Request::from_parts(parts, body);
        *request.uri_mut() = self.path.clone();
        request.headers_mut().insert(HOST, self.authority.clone());
        request
    }
}

/// The first address that answers, in the order of the resolver; each has `limit` to do so.
pub async fn connect_any(addresses: &[SocketAddr], limit: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_http_or_https_url_without_a_user() {
        let target = |uri: &str| Target::of(&uri.parse().expect("a URI"));
        let good = target("https://ca.example:14000/dir?x=1").expect("https");
        assert_eq!((good.host.as_str(), good.port), ("ca.example", 14000));
        assert_eq!(
            (good.path.to_string().as_str(), good.tls),
            ("/dir?x=1", true)
        );
        assert_eq!(target("https://[::1]/dir").expect("https").host, "::1");
        let plain = target("http://127.0.0.1").expect("http");
        assert_eq!((plain.port, plain.tls), (80, false));
        for uri in ["ftp://ca.example/dir", "/dir", "https://user@ca.example/"] {
            assert!(target(uri).is_none(), "{uri}");
        }
    }
}
