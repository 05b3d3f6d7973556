//! How a request ended: one closed list that is status, metric label, log text and the small JSON body of every refusal.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};
use serde_json::Value;
use std::fmt::{self, Write};

macro_rules! outcomes {
    ($($(#[$doc:meta])* $name:ident = $status:ident, $label:literal, $sentence:literal;)*) => {
        /// How a request for a credential ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Outcome {
            $($(#[$doc])* $name,)*
        }

        impl Outcome {
            pub(super) const ALL: &'static [Self] = &[$(Self::$name,)*];

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

outcomes! {
    Issued = OK, "issued", "Here is a credential.";
    BadBody = BAD_REQUEST, "bad_body", "The body is not a JSON object with the keys name, ttl and vendor, each optional.";
    BadName = BAD_REQUEST, "bad_name", "A name has 1 to 128 visible ASCII characters.";
    UnknownVendor = BAD_REQUEST, "unknown_vendor", "The vendor is not known here: azure, azure-native, agora, agora-3, trtc, trtc-4, vonage, daily or livekit.";
    /// No listener, or no address, of a kind that this SDK can use.
    VendorNotServed = BAD_REQUEST, "vendor_not_served", "This server has no TURN port or address that this SDK can use.";
    /// No token, a bad one, one that is over: nobody is told which.
    Unauthorized = UNAUTHORIZED, "unauthorized", "A valid bearer token is required.";
    TlsRequired = FORBIDDEN, "tls_required", "Credentials are given out over HTTPS only.";
    /// Switched off between the look at the path and the look at the request.
    NotServed = NOT_FOUND, "not_served", "There is no such path.";
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method_not_allowed", "Credentials are asked for with POST.";
    BodyTimeout = REQUEST_TIMEOUT, "body_timeout", "The request did not arrive in time.";
    BodyTooLarge = PAYLOAD_TOO_LARGE, "body_too_large", "The request body is larger than 4096 bytes.";
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body must be application/json.";
    TooManyRequests = TOO_MANY_REQUESTS, "too_many_requests", "Too many requests from this address; try again later.";
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.label())
    }
}

/// The answer to a request that got no credential.
pub(super) fn refusal(outcome: Outcome) -> Response<Bytes> {
    let body = serde_json::json!({ "error": outcome.label(), "message": outcome.sentence() });
    let mut response = json(outcome, &body);
    let hint = match outcome {
        // RFC 6750 §3: without an error code, which would tell a missing token from a bad one.
        Outcome::Unauthorized => Some((header::WWW_AUTHENTICATE, "Bearer")),
        Outcome::MethodNotAllowed => Some((header::ALLOW, "POST, OPTIONS")),
        // A second pays for one request at least.
        Outcome::TooManyRequests => Some((header::RETRY_AFTER, "1")),
        Outcome::Issued
        | Outcome::BadBody
        | Outcome::BadName
        | Outcome::UnknownVendor
        | Outcome::VendorNotServed
        | Outcome::TlsRequired
        | Outcome::NotServed
        | Outcome::BodyTimeout
        | Outcome::BodyTooLarge
        | Outcome::UnsupportedMediaType => None,
    };
    if let Some((name, value)) = hint {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A whole answer; never kept by a cache.
pub(super) fn json(outcome: Outcome, body: &Value) -> Response<Bytes> {
    let text = format!("{body}\n");
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = outcome.status();
    let length = HeaderValue::from(response.body().len());
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_LENGTH, length);
    response
}
