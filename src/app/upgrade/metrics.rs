//! How upgrades ended, and whether the process that this one took over from still has calls.

use crate::sys::passing::Channel;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Since the first process of this chain was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub done: u64,
    pub failed: u64,
    pub refused: u64,
}

/// All clones mean the same one.
#[derive(Clone, Debug, Default)]
pub struct Upgrades {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    counts: Counts,
    former: Option<Link>,
}

#[derive(Debug)]
struct Link {
    pid: u32,
    channel: Arc<Channel>,
}

impl Upgrades {
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    pub fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.state().counts);
    }

    /// The process that this one took over from, while it lives.
    pub fn former(&self) -> Option<u32> {
        self.state().former.as_ref().map(|link| link.pid)
    }

    /// The way to it.
    pub fn former_channel(&self) -> Option<Arc<Channel>> {
        let state = self.state();
        state.former.as_ref().map(|link| Arc::clone(&link.channel))
    }

    pub fn set_former(&self, pid: u32, channel: Arc<Channel>) {
        self.state().former = Some(Link { pid, channel });
    }

    pub fn clear_former(&self) {
        self.state().former = None;
    }

    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Upgrades {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Counts {
            done,
            failed,
            refused,
        } = self.counts();
        let mut metric = encoder.encode_descriptor(
            "relayd_upgrades",
            "Upgrades (SIGUSR2), by result, since the first process of this chain",
            None,
            MetricType::Counter,
        )?;
        for (result, count) in [("done", done), ("failed", failed), ("refused", refused)] {
            let labels = [("result", result)];
            ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
        }
        let metric = encoder.encode_descriptor(
            "relayd_upgrade_former_processes",
            "Former processes that still have calls: 0 or 1",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(i64::from(self.former().is_some())).encode(metric)
    }
}
