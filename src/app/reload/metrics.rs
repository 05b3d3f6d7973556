//! What reloads and certificates count.

use crate::listen;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use std::fmt::{self, Write};

/// What came of a reload: metric label and log text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    InForce,
    /// The file has problems.
    Configuration,
    Certificate,
    /// The proxy's settings cannot be compiled.
    Proxy,
    /// A listener cannot be bound.
    Listener,
    /// The log's destination cannot be opened.
    Log,
    /// A thread does not answer.
    Internal,
}

impl Verdict {
    const ALL: [Self; 7] = [
        Self::InForce,
        Self::Configuration,
        Self::Certificate,
        Self::Proxy,
        Self::Listener,
        Self::Log,
        Self::Internal,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Self::InForce => "in_force",
            Self::Configuration => "configuration",
            Self::Certificate => "certificate",
            Self::Proxy => "proxy",
            Self::Listener => "listener",
            Self::Log => "log",
            Self::Internal => "internal",
        }
    }
}

impl EncodeLabelValue for Verdict {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.label())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    result: Verdict,
}

/// What came of looking at certificate files that have changed: metric label and log text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Swap {
    Replaced,
    /// The present certificate stays.
    Refused,
}

impl EncodeLabelValue for Swap {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Replaced => "replaced",
            Self::Refused => "refused",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SwapLabels {
    result: Swap,
}

#[derive(Clone, Debug, Default)]
pub struct Metrics {
    generation: Gauge,
    last_successful: Gauge,
    last_success_unix_s: Gauge,
    reloads: Family<VerdictLabels, Counter>,
    swaps: Family<SwapLabels, Counter>,
}

impl Metrics {
    /// The configuration of the start counts as the first that is in force.
    pub fn new(unix_s: u64) -> Self {
        let metrics = Self::default();
        metrics.generation.set(1);
        metrics.last_successful.set(1);
        metrics.last_success_unix_s.set(gauge(unix_s));
        for result in Verdict::ALL {
            drop(metrics.reloads.get_or_create(&VerdictLabels { result }));
        }
        for result in [Swap::Replaced, Swap::Refused] {
            drop(metrics.swaps.get_or_create(&SwapLabels { result }));
        }
        metrics
    }

    pub fn register(&self, registry: &mut Registry, tls: listen::Tls) {
        registry.register(
            "relayd_config_generation",
            "Configurations that have been in force since the start, that of the start included",
            self.generation.clone(),
        );
        registry.register(
            "relayd_config_last_reload_successful",
            "Whether the last reload put its file in force",
            self.last_successful.clone(),
        );
        registry.register(
            "relayd_config_last_reload_success_timestamp_seconds",
            "When the configuration in force was put there, in seconds since 1970",
            self.last_success_unix_s.clone(),
        );
        registry.register(
            "relayd_config_reloads",
            "Reloads by result: in_force, or what the file was refused for",
            self.reloads.clone(),
        );
        registry.register(
            "relayd_tls_certificate_swaps",
            "Changes of the certificate files that were found by watching them",
            self.swaps.clone(),
        );
        registry.register_collector(Box::new(Expiry(tls)));
    }

    pub fn count(&self, result: Verdict, unix_s: u64) {
        self.reloads.get_or_create(&VerdictLabels { result }).inc();
        let in_force = result == Verdict::InForce;
        self.last_successful.set(i64::from(in_force));
        if in_force {
            self.generation.inc();
            self.last_success_unix_s.set(gauge(unix_s));
        }
    }

    pub fn count_swap(&self, result: Swap) {
        self.swaps.get_or_create(&SwapLabels { result }).inc();
    }

    /// When the configuration in force was put there, in seconds since 1970.
    pub fn in_force_since(&self) -> i64 {
        self.last_success_unix_s.get()
    }

    pub fn generation(&self) -> i64 {
        self.generation.get()
    }
}

/// The end of the certificate's validity; nothing while there is none.
#[derive(Debug)]
struct Expiry(listen::Tls);

impl Collector for Expiry {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Some(store) = self.0.load_full() else {
            return Ok(());
        };
        let name = "relayd_tls_certificate_not_after_timestamp_seconds";
        let help = "End of the certificate's validity, in seconds since 1970";
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(store.not_after()).encode(metric)
    }
}

fn gauge(unix_s: u64) -> i64 {
    i64::try_from(unix_s).unwrap_or(i64::MAX)
}
