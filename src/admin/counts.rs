//! What the admin listener counts. Routes, methods and statuses are closed sets; nothing of a request's own is a label.

use super::access::Judgement;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::fmt::{self, Write};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    /// The path as the table has it; `other` for one that it has not.
    route: &'static str,
    method: &'static str,
    /// One of those that `answer` makes.
    status: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: Judgement,
}

impl EncodeLabelValue for Judgement {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Good => "good",
            Self::Missing => "missing",
            Self::Wrong => "wrong",
            Self::Limited => "limited",
        })
    }
}

#[derive(Clone, Debug, Default)]
pub struct Counts {
    requests: Family<RequestLabels, Counter>,
    token_failures: Family<ReasonLabel, Counter>,
    /// As `/readyz` answers; looked at when somebody scrapes.
    pub(super) ready: Gauge,
}

impl Counts {
    /// Counters get `_total` appended when they are written.
    pub fn register(&self, registry: &mut Registry) {
        for reason in [Judgement::Missing, Judgement::Wrong, Judgement::Limited] {
            // So that the first of each is a rise and not an appearance.
            drop(self.token_failures.get_or_create(&ReasonLabel { reason }));
        }
        registry.register(
            "relayd_admin_requests",
            "Requests to the admin listener, by route, method and status",
            self.requests.clone(),
        );
        registry.register(
            "relayd_admin_token_failures",
            "Requests to the admin listener without the right token, by reason",
            self.token_failures.clone(),
        );
        registry.register(
            "relayd_ready",
            "Whether this server takes new calls: 1 unless it starts or drains",
            self.ready.clone(),
        );
    }

    pub(super) fn count(&self, route: &'static str, method: &'static str, status: u16) {
        let labels = RequestLabels {
            route,
            method,
            status,
        };
        self.requests.get_or_create(&labels).inc();
    }

    pub(super) fn count_failure(&self, reason: Judgement) {
        self.token_failures
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }
}
