//! Carries the requests of the ACME client: HTTPS only, by `fetch`.
//!
//! The crate that speaks ACME is given this in place of a client of its own, so that relayd has one TLS stack and one set
//! of roots, and sees what the crate drops: the status of an answer that is no problem document, and `Retry-After`.
//!
//! Absent: proxies, redirects (RFC 8555 knows none), cookies, keep-alive.

use super::schedule::RETRY_AFTER_MAX_S;
use crate::fetch::{self, Bounds, Fetcher, Target};
use crate::tls::{RootsError, roots};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

const BOUNDS: Bounds = Bounds {
    connect: Duration::from_secs(10),
    request: Duration::from_secs(60),
    // A chain of four certificates has about 10 000 bytes.
    answer_bytes_max: 1 << 20,
};

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("{uri} is no https address")]
    NotHttps { uri: String },
    #[error(transparent)]
    Exchange(#[from] fetch::FetchError),
    #[error("{host} answered {status}")]
    Status { host: String, status: StatusCode },
}

/// Shared by all requests of an attempt.
#[derive(Clone)]
pub struct Client {
    fetcher: Fetcher,
    retry_after: Arc<Mutex<Option<Duration>>>,
}

impl Client {
    /// Trusts the public authorities and those of `ca_file`.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, RootsError> {
        Ok(Self {
            fetcher: Fetcher::new(roots(ca_file)?, BOUNDS),
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
        let (parts, body) = request.into_parts();
        let Ok(body) = body.collect().await;
        let get = matches!(parts.method, Method::GET | Method::HEAD);
        let answer = self.fetcher.fetch(&target, parts, body.to_bytes()).await?;
        let (mut parts, body) = answer.into_parts();
        bound_wish(&mut parts.headers);
        let failed = !parts.status.is_success();
        *self.wish() = failed.then(|| wish_of(&parts.headers)).flatten();
        // Only to signed requests a problem document is an answer that the crate understands.
        if failed && (get || !is_problem(&parts.headers)) {
            return Err(FetchError::Status {
                host: target.host,
                status: parts.status,
            });
        }
        Ok(BytesResponse {
            parts,
            body: Box::new(body),
        })
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
            let target = https(request.uri()).map_err(other)?;
            client.fetch(request, target).await.map_err(other)
        })
    }
}

fn https(uri: &Uri) -> Result<Target, FetchError> {
    let target = Target::of(uri).filter(|target| target.tls);
    target.ok_or_else(|| FetchError::NotHttps {
        uri: uri.to_string(),
    })
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
        let target = |uri: &str| https(&uri.parse().expect("a URI"));
        assert!(target("https://ca.example:14000/dir?x=1").is_ok());
        for uri in [
            "http://ca.example/dir",
            "/dir",
            "https://user@ca.example/dir",
        ] {
            assert!(target(uri).is_err(), "{uri}");
        }
    }
}
