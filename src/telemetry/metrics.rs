//! What the log counts of itself. One for the process, as the log is.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::fmt;

/// Why a line was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lost {
    /// The destination takes lines more slowly than they come.
    QueueFull,
    /// The destination took it with an error: a full disk, no journal.
    WriteFailed,
}

impl Lost {
    pub const ALL: [Self; 2] = [Self::QueueFull, Self::WriteFailed];

    fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::WriteFailed => "write_failed",
        }
    }
}

impl EncodeLabelValue for Lost {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.label().encode(encoder)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LostLabel {
    reason: Lost,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Metrics {
    lost: Family<LostLabel, Counter>,
}

impl Metrics {
    /// Counters get `_total` appended when they are written.
    pub fn register(&self, registry: &mut Registry) {
        for reason in Lost::ALL {
            // So that the first loss is a rise and not an appearance.
            drop(self.lost.get_or_create(&LostLabel { reason }));
        }
        registry.register(
            "relayd_log_lines_lost",
            "Log lines that could not be written, by reason",
            self.lost.clone(),
        );
    }

    pub fn lose(&self, reason: Lost, lines: u64) {
        self.lost.get_or_create(&LostLabel { reason }).inc_by(lines);
    }

    #[cfg(test)]
    pub fn lost(&self, reason: Lost) -> u64 {
        self.lost.get_or_create(&LostLabel { reason }).get()
    }
}
