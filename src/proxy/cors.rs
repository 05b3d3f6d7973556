//! CORS (Fetch standard §3.2): the SDK's page and relayd have different origins, and the upstream knows neither.
//!
//! Every `Access-Control-*` of an upstream is replaced, never added to. The request's Origin is reflected rather than
//! answered with `*`, because a `*` covers neither credentialed requests nor Authorization.

use super::respond::{ProxyError, respond};
use super::route::{Refusal, Route};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request};

/// Chromium's ceiling on how long a preflight is remembered, in seconds.
const MAX_AGE_S: &str = "7200";
const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");
const PREFLIGHT_VARY: &str =
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

/// `cors_origins`, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsPolicy {
    any: bool,
    origins: Vec<String>,
}

/// What the policy says of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// No Origin header: no browser, or a request of relayd's own page.
    Absent,
    Allowed(HeaderValue),
    /// Not on the list, or several at once.
    Denied,
}

impl CorsPolicy {
    pub fn new(origins: &[String]) -> Self {
        Self {
            any: origins.iter().any(|origin| origin == "*"),
            origins: origins.to_vec(),
        }
    }

    pub fn judge(&self, headers: &HeaderMap) -> Origin {
        let mut given = headers.get_all(header::ORIGIN).iter();
        match (given.next(), given.next()) {
            (None, _) => Origin::Absent,
            (Some(origin), None) if self.allows(origin) => Origin::Allowed(origin.clone()),
            (Some(_), None | Some(_)) => Origin::Denied,
        }
    }

    /// Scheme and host compare without case (RFC 6454 §4); browsers send both in lower case.
    fn allows(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        self.any
            || self
                .origins
                .iter()
                .any(|allowed| allowed.eq_ignore_ascii_case(origin))
    }
}

/// Gives an answer its CORS headers, last of all: Expose-Headers names what is there.
pub fn decorate(headers: &mut HeaderMap, origin: &Origin) {
    let theirs: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("access-control-"))
        .cloned()
        .collect();
    for name in theirs {
        headers.remove(name);
    }
    merge_vary(headers);
    let exposed = exposed(headers);
    match origin {
        Origin::Absent => {
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_ORIGIN,
                HeaderValue::from_static("*"),
            );
        }
        Origin::Allowed(origin) => {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
        Origin::Denied => return,
    }
    if let Some(exposed) = exposed {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

/// The names of the headers there are, once each, in order. A page never sees Set-Cookie.
fn exposed(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut names: Vec<&str> = headers
        .keys()
        .filter(|name| **name != header::SET_COOKIE)
        .map(HeaderName::as_str)
        .collect();
    names.sort_unstable();
    HeaderValue::from_str(&names.join(", "))
        .ok()
        .filter(|names| !names.is_empty())
}

/// Adds Origin to Vary, unless it or `*` is there.
fn merge_vary(headers: &mut HeaderMap) {
    let given = headers.get_all(header::VARY).iter();
    let mut fields = given.flat_map(|v| v.as_bytes().split(|b| *b == b','));
    let covered = |field: &[u8]| {
        let field = field.trim_ascii();
        field == b"*" || field.eq_ignore_ascii_case(b"origin")
    };
    if !fields.any(covered) {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}

/// Answers a CORS preflight: 204 for an allowed target, 403 otherwise; `None` if the request is none.
///
/// It is never forwarded, so it costs no connection and cannot be answered wrongly by an upstream.
pub fn preflight(
    parts: &request::Parts,
    target: Result<&Route, &Refusal>,
    origin: &Origin,
) -> Option<Response<Bytes>> {
    judged_preflight(parts, target.map(drop), origin)
}

/// The same for a path that relayd serves itself, and so allows.
pub fn own_preflight(parts: &request::Parts, origin: &Origin) -> Option<Response<Bytes>> {
    judged_preflight(parts, Ok(()), origin)
}

fn judged_preflight(
    parts: &request::Parts,
    target: Result<(), &Refusal>,
    origin: &Origin,
) -> Option<Response<Bytes>> {
    let method = parts.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    if parts.method != Method::OPTIONS || *origin == Origin::Absent {
        return None;
    }
    let refused = |error| Some(respond(error, origin));
    let Origin::Allowed(allowed) = origin else {
        return refused(ProxyError::OriginNotAllowed);
    };
    match target {
        Ok(()) => {}
        Err(Refusal::HostNotAllowed | Refusal::NoRoute) => {
            return refused(ProxyError::HostNotAllowed);
        }
        Err(refusal) => return refused(ProxyError::from(*refusal)),
    }
    match Method::from_bytes(method.as_bytes()) {
        Ok(Method::TRACE | Method::CONNECT) => return refused(ProxyError::MethodNotAllowed),
        Ok(_) => {}
        Err(_) => return refused(ProxyError::BadRequest),
    }
    Some(allowed_preflight(&parts.headers, method, allowed))
}

fn allowed_preflight(
    request: &HeaderMap,
    method: &HeaderValue,
    origin: &HeaderValue,
) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        HeaderValue::from_static("true"),
    );
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, method.clone());
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static(MAX_AGE_S),
    );
    headers.insert(header::VARY, HeaderValue::from_static(PREFLIGHT_VARY));
    for asked in request.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.append(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    if request
        .get(REQUEST_PRIVATE_NETWORK)
        .is_some_and(|asked| asked == "true")
    {
        headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
    response
}

#[cfg(test)]
#[path = "cors_tests.rs"]
mod tests;
