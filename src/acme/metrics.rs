//! What is counted of certificates: attempts by their outcome, and two dates.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::fmt::{self, Write};

/// How an attempt to obtain a certificate ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Issued,
    /// The authority could not convince itself that a name leads here.
    Validation,
    /// It refused the account or the order.
    Refused,
    RateLimited,
    /// It could not be reached, or did not answer in time.
    Unreachable,
    /// It said something that cannot be used.
    BadAnswer,
    /// Making a key or certificate failed.
    Internal,
}

impl Outcome {
    pub const ALL: [Self; 7] = [
        Self::Issued,
        Self::Validation,
        Self::Refused,
        Self::RateLimited,
        Self::Unreachable,
        Self::BadAnswer,
        Self::Internal,
    ];

    /// Metric label and log text.
    pub fn label(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Validation => "validation",
            Self::Refused => "refused",
            Self::RateLimited => "rate_limited",
            Self::Unreachable => "unreachable",
            Self::BadAnswer => "bad_answer",
            Self::Internal => "internal",
        }
    }
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.label())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    result: Outcome,
}

/// Dates are 0 where there is nothing to say: ACME off, or no certificate yet.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    attempts: Family<OutcomeLabels, Counter>,
    expiry: Gauge,
    next_attempt: Gauge,
    unsaved: Gauge,
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        for result in Outcome::ALL {
            drop(self.attempts.get_or_create(&OutcomeLabels { result }));
        }
        registry.register(
            "relayd_acme_attempts",
            "Attempts to obtain a certificate",
            self.attempts.clone(),
        );
        registry.register(
            "relayd_acme_certificate_expiry_timestamp_seconds",
            "End of the obtained certificate's validity since 1970, 0 for none",
            self.expiry.clone(),
        );
        registry.register(
            "relayd_acme_next_attempt_timestamp_seconds",
            "When the next certificate is asked for since 1970, 0 for never",
            self.next_attempt.clone(),
        );
        registry.register(
            "relayd_acme_unsaved",
            "Whether the certificate in use is in memory only, since it cannot be written",
            self.unsaved.clone(),
        );
    }

    pub(super) fn attempted(&self, result: Outcome) {
        self.attempts.get_or_create(&OutcomeLabels { result }).inc();
    }

    pub(super) fn expires(&self, at: Option<u64>) {
        self.expiry.set(date(at));
    }

    pub(super) fn next(&self, at: Option<u64>) {
        self.next_attempt.set(date(at));
    }

    pub(super) fn unsaved(&self, unsaved: bool) {
        self.unsaved.set(i64::from(unsaved));
    }
}

fn date(at: Option<u64>) -> i64 {
    i64::try_from(at.unwrap_or(0)).unwrap_or(i64::MAX)
}
