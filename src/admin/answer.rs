//! Answers: JSON with a status, and errors that say in one place what was wrong: `{"error": {"code": …, "message": …}}`.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

pub(super) type Reply = Response<Full<Bytes>>;

/// Why a request is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A parameter, an ID or a body that cannot be used; the text says which.
    Bad(String),
    /// No token, or not the right one.
    Unauthorized,
    /// Too many wrong tokens from this address.
    TooManyFailures,
    /// Without a token: a Host that is no loopback name, as after DNS rebinding.
    ForeignHost,
    /// A page of another site asks for a change.
    ForeignOrigin,
    NoSuchPath,
    NoSuchThing(&'static str),
    MethodNotAllowed {
        allow: String,
    },
    /// The server's state does not allow it.
    Conflict(&'static str),
    BodyTooLarge,
    UnsupportedMediaType,
    /// Starting, stopping or overwhelmed.
    Unavailable,
    TimedOut,
}

impl Fault {
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::Bad(message.into())
    }

    /// Status, code and text; the code is a program's.
    fn parts(&self) -> (StatusCode, &'static str, &str) {
        match self {
            Self::Bad(message) => (StatusCode::BAD_REQUEST, "bad_request", message),
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "send the token of admin.token: Authorization: Bearer TOKEN",
            ),
            Self::TooManyFailures => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_failures",
                "too many requests with a wrong token or none from this address; wait a moment",
            ),
            Self::ForeignHost => (
                StatusCode::FORBIDDEN,
                "foreign_host",
                "without admin.token only requests to localhost, 127.0.0.1 or [::1] are served; the Host header names another",
            ),
            Self::ForeignOrigin => (
                StatusCode::FORBIDDEN,
                "foreign_origin",
                "a page of another site may not change anything here",
            ),
            Self::NoSuchPath => (
                StatusCode::NOT_FOUND,
                "not_found",
                "no such path; /openapi.json describes those there are",
            ),
            Self::NoSuchThing(message) => (StatusCode::NOT_FOUND, "not_found", message),
            Self::MethodNotAllowed { .. } => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "the Allow header has the methods of this path",
            ),
            Self::Conflict(message) => (StatusCode::CONFLICT, "conflict", message),
            Self::BodyTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "a request body may have 16 KiB",
            ),
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "a request body is application/json",
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "the server is starting, stopping, or has too many requests like this one",
            ),
            Self::TimedOut => (
                StatusCode::SERVICE_UNAVAILABLE,
                "timed_out",
                "no answer in time",
            ),
        }
    }

    pub(super) fn reply(&self) -> Reply {
        let (status, code, message) = self.parts();
        let body = ErrorBody {
            error: ErrorFields { code, message },
        };
        let mut reply = json(status, &body);
        let headers = reply.headers_mut();
        match self {
            Self::Unauthorized => {
                let challenge = HeaderValue::from_static("Bearer realm=\"relayd admin\"");
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
            Self::TooManyFailures => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::MethodNotAllowed { allow } => {
                if let Ok(allow) = HeaderValue::from_str(allow) {
                    headers.insert(ALLOW, allow);
                }
            }
            _ => {}
        }
        reply
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: ErrorFields<'a>,
}

#[derive(Serialize)]
struct ErrorFields<'a> {
    code: &'a str,
    message: &'a str,
}

pub(super) fn ok(body: &impl Serialize) -> Reply {
    json(StatusCode::OK, body)
}

pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    let text = serde_json::to_vec(body).expect("answers are made of text, numbers and lists");
    respond(status, "application/json", text)
}

pub(super) fn respond(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, nosniff);
    reply
}
