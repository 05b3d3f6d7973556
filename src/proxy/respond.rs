//! relayd's own answers: one closed list of what can go wrong with a proxied request, and the small JSON body that says it.
//!
//! A body holds a label and one sentence: no version, no internal address, no resolver or TLS detail beyond the label.
//! Invariant: the label of an error, its metric label and its log text are the same word.

use super::cors::{self, Origin};
use super::route::Refusal;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};
use std::fmt::{self, Write};

macro_rules! proxy_errors {
    ($($(#[$doc:meta])* $name:ident = $status:ident, $label:literal, $sentence:literal;)*) => {
        /// Why relayd answers a proxied request by itself.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ProxyError {
            $($(#[$doc])* $name,)*
        }

        impl ProxyError {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub fn status(self) -> StatusCode {
                match self {
                    $(Self::$name => StatusCode::$status,)*
                }
            }

            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }

            /// What the client is told.
            pub fn sentence(self) -> &'static str {
                match self {
                    $(Self::$name => $sentence,)*
                }
            }
        }
    };
}

proxy_errors! {
    BadRequest = BAD_REQUEST, "bad_request", "The request is malformed.";
    BadTarget = BAD_REQUEST, "bad_target", "The request target is malformed.";
    BadHost = BAD_REQUEST, "bad_host", "The Host header is missing, repeated or malformed.";
    BadLength = BAD_REQUEST, "bad_length", "The message length is given twice or in two ways.";
    HostNotAllowed = FORBIDDEN, "host_not_allowed", "The target host is not on the allow-list of this proxy.";
    OriginNotAllowed = FORBIDDEN, "origin_not_allowed", "The origin of this page is not allowed to use this proxy.";
    NoRoute = NOT_FOUND, "no_route", "The path names neither a host nor a prefix that this proxy serves.";
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method_not_allowed", "This method is not proxied.";
    /// The client stopped sending its body.
    RequestTimeout = REQUEST_TIMEOUT, "request_timeout", "The request did not arrive in time.";
    BodyTooLarge = PAYLOAD_TOO_LARGE, "body_too_large", "The request body is larger than this proxy takes.";
    TargetTooLong = URI_TOO_LONG, "target_too_long", "The request target is longer than this proxy takes.";
    TooManyRequests = TOO_MANY_REQUESTS, "too_many_requests", "Too many requests from this address; try again later.";
    HeadersTooLarge = REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", "The request headers are larger than this proxy takes.";
    /// A fault of relayd itself.
    Internal = INTERNAL_SERVER_ERROR, "internal", "The proxy failed.";
    ResolveFailed = BAD_GATEWAY, "resolve_failed", "The name of the upstream host could not be resolved.";
    /// DNS answered with special-use addresses alone.
    AddressDenied = BAD_GATEWAY, "address_denied", "The upstream host has no address that this proxy may reach.";
    ConnectFailed = BAD_GATEWAY, "connect_failed", "The upstream host could not be connected to.";
    TlsCertificateExpired = BAD_GATEWAY, "tls_certificate_expired", "The certificate of the upstream host has expired.";
    TlsCertificateNotYetValid = BAD_GATEWAY, "tls_certificate_not_yet_valid", "The certificate of the upstream host is not valid yet.";
    TlsCertificateWrongName = BAD_GATEWAY, "tls_certificate_wrong_name", "The certificate of the upstream host is for another name.";
    TlsCertificateUntrusted = BAD_GATEWAY, "tls_certificate_untrusted", "The certificate of the upstream host is not trusted.";
    TlsFailed = BAD_GATEWAY, "tls_failed", "The TLS handshake with the upstream host failed.";
    /// Closed or reset before an answer was complete.
    UpstreamClosed = BAD_GATEWAY, "upstream_closed", "The upstream host closed the connection without an answer.";
    UpstreamInvalid = BAD_GATEWAY, "upstream_invalid", "The upstream host sent an answer that is not HTTP.";
    UpstreamBusy = SERVICE_UNAVAILABLE, "upstream_busy", "Too many requests to upstream hosts are under way.";
    TooManyTunnels = SERVICE_UNAVAILABLE, "too_many_tunnels", "Too many WebSockets are open.";
    Draining = SERVICE_UNAVAILABLE, "draining", "The proxy is stopping.";
    ResolveTimeout = GATEWAY_TIMEOUT, "resolve_timeout", "The name of the upstream host was not resolved in time.";
    ConnectTimeout = GATEWAY_TIMEOUT, "connect_timeout", "The upstream host did not accept the connection in time.";
    TlsTimeout = GATEWAY_TIMEOUT, "tls_timeout", "The upstream host did not finish the TLS handshake in time.";
    ResponseTimeout = GATEWAY_TIMEOUT, "response_timeout", "The upstream host did not answer in time.";
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl std::error::Error for ProxyError {}

impl EncodeLabelValue for ProxyError {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.label())
    }
}

impl From<Refusal> for ProxyError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::HostNotAllowed => Self::HostNotAllowed,
            Refusal::NoRoute => Self::NoRoute,
            Refusal::BadTarget => Self::BadTarget,
            Refusal::TargetTooLong => Self::TargetTooLong,
            Refusal::BadHost => Self::BadHost,
            Refusal::BadLength => Self::BadLength,
            Refusal::MethodNotAllowed => Self::MethodNotAllowed,
        }
    }
}

/// The whole answer: status, JSON body with its length, CORS.
pub fn respond(error: ProxyError, origin: &Origin) -> Response<Bytes> {
    let body = format!(
        "{{\"error\":\"{}\",\"message\":\"{}\"}}\n",
        error.label(),
        error.sentence()
    );
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = error.status();
    let length = HeaderValue::from(response.body().len());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CONTENT_LENGTH, length);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    add_hints(headers, error.status());
    cors::decorate(headers, origin);
    response
}

/// RFC 9110 §15.5.6: a 405 names what is allowed. A 429 or 503 says when to come back.
fn add_hints(headers: &mut HeaderMap, status: StatusCode) {
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(
            header::ALLOW,
            HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        );
    }
    if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_error_is_json_with_its_length_its_label_and_cors() {
        let origin = Origin::Allowed(HeaderValue::from_static("https://app.example.com"));
        for error in ProxyError::ALL {
            let response = respond(*error, &origin);
            assert_eq!(response.status(), error.status());
            assert!(error.status().as_u16() >= 400);
            let body: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
            assert_eq!(body["error"], error.label());
            assert_eq!(body["message"], error.sentence());
            let headers = response.headers();
            assert_eq!(headers["content-length"], response.body().len().to_string());
            assert_eq!(
                headers["access-control-allow-origin"],
                "https://app.example.com"
            );
            assert!(!headers.contains_key("server"));
        }
    }

    #[test]
    fn labels_differ() {
        let labels: HashSet<_> = ProxyError::ALL.iter().map(|e| e.label()).collect();
        assert_eq!(labels.len(), ProxyError::ALL.len());
    }
}
