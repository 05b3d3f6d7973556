//! What became of the spans.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    /// The collector has them.
    Exported,
    /// The queue was full.
    Dropped,
    /// The collector refused them, or was away for too long.
    Failed,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Exported, Self::Dropped, Self::Failed];

    fn label(self) -> &'static str {
        match self {
            Self::Exported => "exported",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
        }
    }
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.label().encode(encoder)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    result: Outcome,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Metrics {
    spans: Family<Labels, Counter>,
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        for result in Outcome::ALL {
            // So that the first loss is a rise and not an appearance.
            drop(self.spans.get_or_create(&Labels { result }));
        }
        registry.register(
            "relayd_tracing_spans",
            "Spans for OpenTelemetry, by what became of them",
            self.spans.clone(),
        );
    }

    pub fn count(&self, result: Outcome, spans: usize) {
        let counter = self.spans.get_or_create(&Labels { result });
        counter.inc_by(u64::try_from(spans).unwrap_or(u64::MAX));
    }

    #[cfg(test)]
    pub fn counted(&self, result: Outcome) -> u64 {
        self.spans.get_or_create(&Labels { result }).get()
    }
}
