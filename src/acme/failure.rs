//! Why an attempt failed: for the log a sentence with the authority's own words, for metrics a closed list.

use super::client::FetchError;
use super::metrics::Outcome;
pub use crate::fetch::sentence;
use crate::tls;
use instant_acme::Problem;
use std::time::Duration;

/// Longest text of the authority's that is logged, in bytes.
const TEXT_BYTES_MAX: usize = 500;

#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error("{} ({})", text(detail), text(kind))]
    Refused {
        /// RFC 8555 §6.7: `urn:ietf:params:acme:error:…`.
        kind: String,
        detail: String,
    },
    #[error("{}: {} ({})", text(name), text(detail), text(kind))]
    Validation {
        name: String,
        kind: String,
        detail: String,
    },
    #[error(transparent)]
    Fetch(FetchError),
    #[error("{}", text(.0))]
    Answer(String),
    #[error("{name} is not among what it offers to prove by TLS-ALPN-01")]
    NoChallenge { name: String },
    #[error("it takes the authority too long")]
    Slow,
    #[error("the certificate that it sent cannot be used")]
    Certificate(#[source] tls::Error),
    #[error("the certificate that it sent does not name {name}")]
    Names { name: String },
    #[error("cannot make a key or certificate")]
    Crypto(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// One failed attempt.
#[derive(Debug)]
pub struct Failure {
    /// What was being done, to complete "cannot …".
    pub step: &'static str,
    pub cause: Cause,
    /// How long the authority asks to be left alone.
    pub retry_after: Option<Duration>,
}

impl Cause {
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Refused { kind, .. } if kind.ends_with(":rateLimited") => Outcome::RateLimited,
            Self::Refused { .. } | Self::NoChallenge { .. } => Outcome::Refused,
            Self::Validation { .. } => Outcome::Validation,
            Self::Fetch(FetchError::Status { status, .. }) if status.as_u16() == 429 => {
                Outcome::RateLimited
            }
            Self::Fetch(_) | Self::Slow => Outcome::Unreachable,
            Self::Answer(_) | Self::Certificate(_) | Self::Names { .. } => Outcome::BadAnswer,
            Self::Crypto(_) => Outcome::Internal,
        }
    }

    pub fn is_bad_nonce(&self) -> bool {
        matches!(self, Self::Refused { kind, .. } if kind.ends_with(":badNonce"))
    }

    /// RFC 8555 §7.3.1: the authority knows nothing of this account, or wants no more of it.
    pub fn is_unknown_account(&self) -> bool {
        matches!(self, Self::Refused { kind, .. } if kind.ends_with(":accountDoesNotExist"))
    }
}

impl From<Problem> for Cause {
    fn from(problem: Problem) -> Self {
        let kind = problem.r#type.unwrap_or_else(|| "no type".to_owned());
        let mut detail = problem.detail.unwrap_or_else(|| "no detail".to_owned());
        for sub in &problem.subproblems {
            detail.push_str("; ");
            detail.push_str(&sub.to_string());
        }
        Self::Refused { kind, detail }
    }
}

impl From<instant_acme::Error> for Cause {
    fn from(error: instant_acme::Error) -> Self {
        use instant_acme::Error as E;
        match error {
            E::Api(problem) => problem.into(),
            E::Other(other) => match other.downcast::<FetchError>() {
                Ok(error) => Self::Fetch(*error),
                Err(other) => Self::Answer(other.to_string()),
            },
            E::Timeout(_) => Self::Slow,
            E::Crypto | E::KeyRejected => Self::Crypto(Box::new(error)),
            // The enum is open; what is left is about what the authority said.
            other => Self::Answer(other.to_string()),
        }
    }
}

/// The authority's words without what would disturb a log: control characters, and more than a few lines.
fn text(said: &str) -> String {
    let mut shown: String = said
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if shown.len() > TEXT_BYTES_MAX {
        let end = (0..=TEXT_BYTES_MAX)
            .rev()
            .find(|at| shown.is_char_boundary(*at));
        shown.truncate(end.unwrap_or(0));
        shown.push('…');
    }
    shown
}
