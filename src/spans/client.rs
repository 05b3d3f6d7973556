//! Carries batches to the collector: OTLP over HTTP/1.1, in protobuf, with or without TLS, on one connection that is kept.
//!
//! What holds: everything is bounded in time and size; an answer decides whether a batch may be sent again, as OTLP says.
//! Absent: proxies, redirects, compression.

use super::Settings;
use super::otlp::ExportTraceServiceResponse;
use crate::fetch::connect_any;
use crate::tls::{RootsError, client_config, roots};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Longest answer; a good one is empty.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Longest text of a collector that is told on.
const MESSAGE_BYTES_MAX: usize = 256;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// A longer one is not waited for: of a name with two families, one may lead nowhere.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);
/// A longer pause is not made, whatever the collector asks for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
const PROTOBUF: &str = "application/x-protobuf";
/// What OTLP appends to the base URL for spans.
const TRACES_PATH: &str = "/v1/traces";

/// Where spans go, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub tls: bool,
    /// A name, or an address without brackets.
    pub host: String,
    pub port: u16,
    /// Without a slash at its end; mostly empty.
    pub base: String,
}

impl Endpoint {
    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.base)
    }
}

/// Why a batch did not arrive.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("cannot resolve {host}")]
    Resolve { host: String, source: io::Error },
    #[error("cannot connect to {host}")]
    Connect { host: String, source: io::Error },
    #[error("TLS with {host} failed")]
    Tls { host: String, source: io::Error },
    #[error("HTTP with {host} failed")]
    Http { host: String, source: hyper::Error },
    #[error("{host} answered {status}")]
    Status {
        host: String,
        status: StatusCode,
        retry_after: Option<Duration>,
    },
    #[error("{host} did not answer within {wait:?}")]
    Timeout { host: String, wait: Duration },
}

impl Trouble {
    /// Whether the same batch would be refused again (OTLP/HTTP, failures).
    pub fn is_final(&self) -> bool {
        match self {
            Self::Status { status, .. } => !matches!(status.as_u16(), 429 | 502 | 503 | 504),
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Http { .. }
            | Self::Timeout { .. } => false,
        }
    }

    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Http { .. }
            | Self::Timeout { .. } => None,
        }
    }
}

/// What the collector said to a batch that it took.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Delivered {
    pub rejected: usize,
    pub message: String,
}

/// Where spans go, ready for use.
#[derive(Debug)]
pub(super) struct Target {
    endpoint: Endpoint,
    path: String,
    headers: HeaderMap,
    /// `None`: in the clear.
    tls: Option<Arc<ClientConfig>>,
    timeout: Duration,
}

impl Target {
    /// `None`: spans are off.
    pub fn new(settings: &Settings) -> Result<Option<Self>, RootsError> {
        let Some(endpoint) = settings.endpoint.clone() else {
            return Ok(None);
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            if let Ok(mut value) = HeaderValue::from_str(value.expose()) {
                value.set_sensitive(true);
                headers.append(name, value);
            }
        }
        let agent = concat!("relayd/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
        if let Ok(authority) = HeaderValue::from_str(&endpoint.authority()) {
            headers.insert(HOST, authority);
        }
        let tls = match endpoint.tls {
            true => Some(client_config(roots(settings.ca_file.as_deref())?)),
            false => None,
        };
        Ok(Some(Self {
            path: format!("{}{TRACES_PATH}", endpoint.base),
            endpoint,
            headers,
            tls,
            timeout: settings.timeout,
        }))
    }

    fn host(&self) -> String {
        self.endpoint.authority()
    }
}

/// The connection to a collector.
#[derive(Default)]
pub(super) struct Link(Option<Open>);

struct Open {
    endpoint: Endpoint,
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Link {
    /// One attempt; a kept connection that turns out to be closed costs a second one.
    pub async fn send(&mut self, target: &Target, body: Bytes) -> Result<Delivered, Trouble> {
        let wait = target.timeout;
        let sent = timeout(wait, self.attempt(target, body)).await;
        let sent = sent.unwrap_or_else(|_| {
            Err(Trouble::Timeout {
                host: target.host(),
                wait,
            })
        });
        if sent.is_err() {
            self.0 = None;
        }
        sent
    }

    async fn attempt(&mut self, target: &Target, body: Bytes) -> Result<Delivered, Trouble> {
        let http = |source| Trouble::Http {
            host: target.host(),
            source,
        };
        let kept = self
            .0
            .take()
            .filter(|open| open.endpoint == target.endpoint);
        if let Some(mut open) = kept
            && open.sender.ready().await.is_ok()
            && let Ok(response) = open
                .sender
                .send_request(request(target, body.clone()))
                .await
        {
            let answer = read(target, response).await;
            self.0 = Some(open);
            return answer;
        }
        let mut open = open(target).await?;
        let sent = open.sender.send_request(request(target, body)).await;
        let answer = read(target, sent.map_err(http)?).await;
        self.0 = Some(open);
        answer
    }
}

fn request(target: &Target, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.path.parse().unwrap_or_default();
    *request.headers_mut() = target.headers.clone();
    request
}

async fn read(target: &Target, response: Response<Incoming>) -> Result<Delivered, Trouble> {
    let (parts, body) = response.into_parts();
    let status = parts.status;
    if !status.is_success() {
        return Err(Trouble::Status {
            host: target.host(),
            status,
            retry_after: retry_after(&parts.headers),
        });
    }
    let is_protobuf = parts
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == PROTOBUF);
    // The batch has arrived: an answer that cannot be read changes nothing about that.
    let Ok(body) = Limited::new(body, ANSWER_BYTES_MAX).collect().await else {
        return Ok(Delivered::default());
    };
    if !is_protobuf {
        return Ok(Delivered::default());
    }
    let answer = ExportTraceServiceResponse::decode(body.to_bytes()).unwrap_or_default();
    let mut partial = answer.partial_success.unwrap_or_default();
    let end = partial.error_message.floor_char_boundary(MESSAGE_BYTES_MAX);
    partial.error_message.truncate(end);
    Ok(Delivered {
        rejected: usize::try_from(partial.rejected_spans).unwrap_or(0),
        message: partial.error_message,
    })
}

/// RFC 9110 §10.2.3, in seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn open(target: &Target) -> Result<Open, Trouble> {
    let stream = connect(target).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|source| Trouble::Http {
            host: target.host(),
            source,
        })?;
    let driver = tokio::spawn(async move {
        // What goes wrong there goes wrong with the request too.
        let _ = connection.await;
    });
    Ok(Open {
        endpoint: target.endpoint.clone(),
        sender,
        driver: driver.abort_handle(),
    })
}

async fn connect(target: &Target) -> Result<Box<dyn Stream>, Trouble> {
    let Endpoint { host, port, .. } = &target.endpoint;
    let addresses = tokio::net::lookup_host((host.as_str(), *port)).await;
    let addresses = addresses.map_err(|source| Trouble::Resolve {
        host: host.clone(),
        source,
    })?;
    let addresses: Vec<SocketAddr> = addresses.take(ADDRESSES_MAX).collect();
    let limit = connect_limit(target.timeout, addresses.len());
    let socket = connect_any(&addresses, limit).await;
    let socket = socket.map_err(|source| Trouble::Connect {
        host: target.host(),
        source,
    })?;
    let Some(config) = &target.tls else {
        return Ok(Box::new(socket));
    };
    let tls = |source| Trouble::Tls {
        host: target.host(),
        source,
    };
    let name = ServerName::try_from(host.clone())
        .map_err(|error| tls(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let connector = TlsConnector::from(Arc::clone(config));
    Ok(Box::new(
        connector.connect(name, socket).await.map_err(tls)?,
    ))
}

/// How long one of `addresses` may take: all of them together leave time for the exchange with the one that answers.
fn connect_limit(timeout: Duration, addresses: usize) -> Duration {
    let parts = u32::try_from(addresses)
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    (timeout / parts).min(CONNECT_TIME_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_addresses_leave_time_for_the_one_that_answers() {
        let s = Duration::from_secs;
        assert_eq!(connect_limit(s(10), 1), s(3));
        assert_eq!(connect_limit(s(9), 8), s(1));
        for addresses in 0..=ADDRESSES_MAX {
            let all = connect_limit(s(10), addresses) * u32::try_from(addresses).expect("few");
            assert!(all < s(10), "{addresses}");
        }
    }
}
