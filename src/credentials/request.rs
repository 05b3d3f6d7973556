//! What is asked for: an optional JSON object with a name, a lifetime and a vendor.

use super::result::Outcome;
use super::shapes::Vendor;
use http::{HeaderMap, header};
use serde::Deserialize;

/// A name becomes a part of USERNAME, which has less than 509 bytes (RFC 8489 §14.3).
const NAME_BYTES_MAX: usize = 128;

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// Larger than [`BODY_BYTES_MAX`](super::BODY_BYTES_MAX).
    TooLarge,
    TimedOut,
    /// Broken off by the client.
    Broken,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    pub name: Option<String>,
    pub ttl_s: Option<u64>,
    pub vendor: Option<Vendor>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    name: Option<String>,
    ttl: Option<u64>,
    vendor: Option<String>,
}

impl Wish {
    /// An empty body wishes nothing in particular.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Outcome> {
        let body = body.trim_ascii();
        if body.is_empty() {
            return Ok(Self::default());
        }
        // serde reads a list as a struct too.
        if body.first() != Some(&b'{') {
            return Err(Outcome::BadBody);
        }
        let spec: Spec = serde_json::from_slice(body).map_err(|_| Outcome::BadBody)?;
        if !spec.name.as_deref().is_none_or(is_name) {
            return Err(Outcome::BadName);
        }
        let vendor = match spec.vendor {
            Some(name) => Some(Vendor::named(&name).ok_or(Outcome::UnknownVendor)?),
            None => None,
        };
        Ok(Self {
            name: spec.name,
            ttl_s: spec.ttl,
            vendor,
        })
    }
}

/// Visible ASCII: what clients prepare (RFC 8265) stays as it is, and a log line stays one line.
pub(super) fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// What the head says of the body's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MediaType {
    Absent,
    Json,
    /// Another, or several at once.
    Other,
}

impl MediaType {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut given = headers.get_all(header::CONTENT_TYPE).iter();
        let (Some(first), more) = (given.next(), given.next()) else {
            return Self::Absent;
        };
        let essence = first
            .as_bytes()
            .split(|b| *b == b';')
            .next()
            .unwrap_or_default();
        if more.is_none()
            && essence
                .trim_ascii()
                .eq_ignore_ascii_case(b"application/json")
        {
            Self::Json
        } else {
            Self::Other
        }
    }
}
