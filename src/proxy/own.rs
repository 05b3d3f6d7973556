//! What relayd serves itself with a request body: the face that `app` fills, and the bounded reading.
//!
//! The proxy does for such a path what it does for every other: the limit of requests, preflights, origins, CORS, the log line. It knows
//! nothing of what is served there.

use super::ConnectionInfo;
use super::guard::Activity;
use bytes::{Bytes, BytesMut};
use http::{Response, request};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::time::Duration;
use tokio::time::timeout;

/// For a whole body: it is small, and a slow client holds a connection alone.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// Paths that are answered before any route is looked for, methods and bodies of all kinds.
pub trait Endpoint: Send + Sync {
    /// Whether requests for this path are the endpoint's, whatever their method.
    fn serves(&self, path: &str) -> bool;

    /// Answers from the head alone, or says how much of a body to read.
    fn begin(&self, parts: &request::Parts, connection: &ConnectionInfo) -> Step;
}

/// What follows from a request's head.
pub enum Step {
    Answer(Response<Bytes>),
    Body { bytes_max: usize, then: Then },
}

/// Answers with the body, or with why there is none.
pub type Then = Box<dyn FnOnce(Result<Bytes, BodyFault>) -> Response<Bytes>>;

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    TooLarge,
    TimedOut,
    /// Broken off by the client.
    Broken,
}

/// Reads a body of `bytes_max` at most. One that declares to be larger is not read at all.
pub(super) async fn read(
    body: Incoming,
    bytes_max: usize,
    activity: &Activity,
) -> Result<Bytes, BodyFault> {
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(BodyFault::TooLarge);
    }
    timeout(BODY_TIME_MAX, gather(body, bytes_max, activity))
        .await
        .unwrap_or(Err(BodyFault::TimedOut))
}

async fn gather(
    mut body: Incoming,
    bytes_max: usize,
    activity: &Activity,
) -> Result<Bytes, BodyFault> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyFault::Broken)?;
        activity.touch();
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if data.len() > bytes_max - bytes.len() {
            return Err(BodyFault::TooLarge);
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes.freeze())
}
