//! What the endpoint counts. No name, address or token is a label.

use super::result::Outcome;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: Outcome,
}

#[derive(Debug, Default)]
pub struct Metrics {
    requests: Family<ResultLabel, Counter>,
}

impl Metrics {
    /// Counters get `_total` appended when they are written.
    pub fn register(&self, registry: &mut Registry) {
        for result in Outcome::ALL.iter().copied() {
            // So that the first of each is a rise and not an appearance.
            drop(self.requests.get_or_create(&ResultLabel { result }));
        }
        registry.register(
            "relayd_credentials_requests",
            "Requests for time-limited credentials, by result",
            self.requests.clone(),
        );
    }

    pub(super) fn count(&self, result: Outcome) {
        self.requests.get_or_create(&ResultLabel { result }).inc();
    }

    #[cfg(test)]
    pub(super) fn counted(&self, result: Outcome) -> u64 {
        self.requests.get_or_create(&ResultLabel { result }).get()
    }
}
