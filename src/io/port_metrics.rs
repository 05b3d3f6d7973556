//! How many relay ports are taken, as a scrape sees it. An address is no label: the busiest one speaks for all.

use crate::io::ports::PortPool;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;

pub struct PortMetrics(pub(super) Arc<PortPool>);

impl PortMetrics {
    pub fn register(self, registry: &mut Registry) {
        registry.register_collector(Box::new(self));
    }
}

impl fmt::Debug for PortMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PortMetrics")
    }
}

impl Collector for PortMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let used = self.0.used().iter().map(|of| of.used).max().unwrap_or(0);
        let gauges = [
            (
                "relayd_media_relay_ports",
                "Relay ports that each relay address has",
                self.0.size(),
            ),
            (
                "relayd_media_relay_ports_used",
                "Relay ports that are taken on the address that has the fewest left",
                used,
            ),
        ];
        for (name, help, number) in gauges {
            let gauge = ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}
