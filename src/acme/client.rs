//! Carries the requests of the ACME client: HTTPS only, one connection a request, everything bounded.
//!
//! The crate that speaks ACME is given this in place of a client of its own, so that relayd has one TLS stack and one set
//! of roots, and sees what the crate drops: the status of an answer that is no problem document, and `Retry-After`.
//!
//! Absent: proxies, redirects (RFC 8555 knows none), cookies, keep-alive.

use super::schedule::RETRY_AFTER_MAX_S;
use crate::tls::{RootsError, client_config};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// One address, until it is connected.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A whole request, from the name's resolution to the answer's last byte.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// Longest answer; a chain of four certificates has about 10 000 bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("{uri} is no https address")]
    NotHttps { uri: String },
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
    #[error("{host} answered {status}")]
    Status { host: String, status: StatusCode },
    #[error("{host} did not send a whole answer of {ANSWER_BYTES_MAX} bytes at most")]
    Answer {
        host: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{host} did not answer within {} s", REQUEST_TIMEOUT.as_secs())]
    Timeout { host: String },
}

/// Shared by all requests of an attempt.
#[derive(Clone)]
pub struct Client {
    tls: Arc<ClientConfig>,
    retry_after: Arc<Mutex<Option<Duration>>>,
}

impl Client {
    /// Trusts the public authorities and those of `ca_file`.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, RootsError> {
        Ok(Self {
            tls: client_config(ca_file)?,
            retry_after: Arc::default(),
        })
    }

    /// How long the last answer, if it was an error, asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        *self.wish()
    }

    fn wish(&self) -> std::sync::MutexGuard<'_, Option<Duration>> {
        self.retry_after
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(
        &self,
        request: Request<BodyWrapper<Bytes>>,
        target: Target,
    ) -> Result<BytesResponse, FetchError> {
        let host = &target.host;
        let (parts, body) = request.into_parts();
        let Ok(body) = body.collect().await;
        let http = |source| FetchError::Http {
            host: host.clone(),
            source,
        };
        let stream = self.connect(&target).await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
        let _connection = Running(
            tokio::spawn(async move {
                // What goes wrong there goes wrong with the request too.
                let _ = connection.await;
            })
            .abort_handle(),
        );
        let request = target.request(parts, Full::new(body.to_bytes()));
        let get = matches!(*request.method(), Method::GET | Method::HEAD);
        let (mut parts, body) = sender
            .send_request(request)
            .await
            .map_err(http)?
            .into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|source| FetchError::Answer {
            host: host.clone(),
            source,
        })?;
        bound_wish(&mut parts.headers);
        let failed = !parts.status.is_success();
        *self.wish() = failed.then(|| wish_of(&parts.headers)).flatten();
        // Only to signed requests a problem document is an answer that the crate understands.
        if failed && (get || !is_problem(&parts.headers)) {
            return Err(FetchError::Status {
                host: host.clone(),
                status: parts.status,
            });
        }
        Ok(BytesResponse {
            parts,
            body: Box::new(body.to_bytes()),
        })
    }

    async fn connect(&self, target: &Target) -> Result<TlsStream<TcpStream>, FetchError> {
        let Target { host, port, .. } = target;
        let addresses = tokio::net::lookup_host((host.as_str(), *port)).await;
        let addresses: Vec<SocketAddr> = addresses
            .map_err(|source| FetchError::Resolve {
                host: host.clone(),
                source,
            })?
            .take(ADDRESSES_MAX)
            .collect();
        let socket = connect_any(&addresses).await;
        let socket = socket.map_err(|source| FetchError::Connect {
            host: host.clone(),
            port: *port,
            source,
        })?;
        let tls = |source| FetchError::Tls {
            host: host.clone(),
            source,
        };
        let name = ServerName::try_from(host.clone())
            .map_err(|error| tls(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        connector.connect(name, socket).await.map_err(tls)
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            *client.wish() = None;
            let other = |error: FetchError| instant_acme::Error::Other(Box::new(error));
            let target = Target::of(request.uri()).map_err(other)?;
            let host = target.host.clone();
            match timeout(REQUEST_TIMEOUT, client.fetch(request, target)).await {
                Ok(answer) => answer.map_err(other),
                Err(_) => Err(other(FetchError::Timeout { host })),
            }
        })
    }
}

/// Ends a connection's task with its request.
struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Where a URL leads.
struct Target {
    host: String,
    port: u16,
    authority: HeaderValue,
    path: Uri,
}

impl Target {
    fn of(uri: &Uri) -> Result<Self, FetchError> {
        let refused = || FetchError::NotHttps {
            uri: uri.to_string(),
        };
        let authority = uri.authority().ok_or_else(refused)?;
        if uri.scheme_str() != Some("https") || authority.as_str().contains('@') {
            return Err(refused());
        }
        let host = authority.host();
        let plain = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            host: plain.unwrap_or(host).to_owned(),
            port: authority.port_u16().unwrap_or(443),
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| refused())?,
            path: path.parse().map_err(|_| refused())?,
        })
    }

    /// In origin form, with its Host header (RFC 9112 §3.2).
    fn request(&self, parts: http::request::Parts, body: Full<Bytes>) -> Request<Full<Bytes>> {
        let mut request = Request::from_parts(parts, body);
        *request.uri_mut() = self.path.clone();
        request.headers_mut().insert(HOST, self.authority.clone());
        request
    }
}

/// The first address that answers, in the order of the resolver.
async fn connect_any(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// RFC 9110 §10.2.3: seconds, or a date.
fn wish_of(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(crate::sys::clock::now().unix_s());
    date.duration_since(now).ok()
}

/// Shortens what would be waited for without end: the crate adds it to the time of day, and a sum beyond the clock's range panics.
fn bound_wish(headers: &mut HeaderMap) {
    let longest = Duration::from_secs(RETRY_AFTER_MAX_S);
    if wish_of(headers).is_some_and(|wish| wish > longest) {
        headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_MAX_S));
    }
}

/// RFC 8555 §6.7.
fn is_problem(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.starts_with("application/problem+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().expect("a header"));
        wish_of(&headers)
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date_and_else_not_at_all() {
        assert_eq!(wish("120"), Some(Duration::from_secs(120)));
        assert_eq!(wish(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(wish("Thu, 01 Jan 1970 00:00:00 GMT"), None);
        let far = wish("Thu, 31 Dec 2099 23:59:59 GMT").expect("it is ahead");
        assert!(far > Duration::from_secs(86_400));
        for broken in ["", "-1", "soon", "1.5", "99999999999999999999999"] {
            assert_eq!(wish(broken), None, "{broken}");
        }
    }

    #[test]
    fn retry_after_beyond_a_week_is_a_week_before_anybody_adds_it_to_a_clock() {
        let bounded = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().expect("a header"));
            bound_wish(&mut headers);
            headers[RETRY_AFTER].to_str().expect("text").to_owned()
        };
        for long in [
            "18446744073709551615",
            "+18446744073709551615",
            "9223372036854775807",
            " 604801 ",
            "Fri, 31 Dec 9999 23:59:59 GMT",
        ] {
            assert_eq!(bounded(long), "604800", "{long}");
        }
        // What the crate cannot read either stays as it is.
        for short in ["604800", "7", "0", "soon", "18446744073709551616"] {
            assert_eq!(bounded(short), short);
        }
    }

    #[test]
    fn only_https_without_a_user_is_followed() {
        let target = |uri: &str| Target::of(&uri.parse().expect("a URI"));
        let good = target("https://ca.example:14000/dir?x=1").expect("https");
        assert_eq!((good.host.as_str(), good.port), ("ca.example", 14000));
        assert_eq!(good.path, "/dir?x=1");
        assert_eq!(target("https://[::1]/dir").expect("https").host, "::1");
        for uri in [
            "http://ca.example/dir",
            "/dir",
            "https://user@ca.example/dir",
        ] {
            assert!(target(uri).is_err(), "{uri}");
        }
    }
}
