//! One HTTP/1.1 request over a stream that is there already.

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

/// Of an answer's body; the answers of relayd itself are far smaller, and of others it is not read.
const BODY_BYTES_MAX: usize = 64 << 10;
pub(super) const USER_AGENT: &str = concat!("relayd-check/", env!("CARGO_PKG_VERSION"));

#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("no answer in time")]
    TimedOut,
    #[error("the connection ended without an answer")]
    Closed,
    #[error("the answer is not HTTP/1.1")]
    NotHttp,
}

/// Whether the body of the answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Head,
    Body,
}

/// Asks; any status is an answer. The connection ends with it.
pub(super) async fn ask<S>(
    stream: S,
    request: Request<Empty<Bytes>>,
    want: Want,
    wait: Duration,
) -> Result<Answer, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let exchange = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| judge(&error))?;
        let connection = tokio::task::spawn_local(connection);
        let answered = answer(sender.send_request(request), want).await;
        connection.abort();
        answered
    };
    timeout(wait, exchange)
        .await
        .unwrap_or(Err(HttpError::TimedOut))
}

async fn answer(
    response: impl Future<Output = hyper::Result<http::Response<hyper::body::Incoming>>>,
    want: Want,
) -> Result<Answer, HttpError> {
    let (parts, body) = response.await.map_err(|error| judge(&error))?.into_parts();
    let body = match want {
        Want::Head => Bytes::new(),
        Want::Body => Limited::new(body, BODY_BYTES_MAX)
            .collect()
            .await
            .map_or_else(|_| Bytes::new(), |body| body.to_bytes()),
    };
    Ok(Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    })
}

fn judge(error: &hyper::Error) -> HttpError {
    match error.is_parse() {
        true => HttpError::NotHttp,
        false => HttpError::Closed,
    }
}

/// The Date header (RFC 9110 §6.6.1), in seconds since 1970.
pub(super) fn date(headers: &HeaderMap) -> Option<i64> {
    let text = headers.get(http::header::DATE)?.to_str().ok()?;
    let time: SystemTime = httpdate::parse_http_date(text).ok()?;
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}
