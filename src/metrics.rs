//! The metrics registry: every part registers what it counts, and `/metrics` shows it.
//!
//! Names are whole (`relayd_<part>_<thing>_<unit>`), so a part can be read without this file. Here are only the build
//! information and what the kernel knows about the process, under the names that Prometheus dashboards expect.

use crate::sys::{clock, cpu};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::fmt;
use std::fs;

/// Media type of [`Metrics::encode`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// A registry that knows the build and the process.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        // The crate appends `_info`.
        registry.register("relayd_build", "What is running", Info::new(version));
        registry.register_collector(Box::new(Process {
            started_unix_s: clock::now().unix_s(),
        }));
        Self { registry }
    }

    /// For the parts to register their metrics, before the first scrape.
    pub fn registry_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// All metrics in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Asks `/proc` at every scrape; what it does not tell is left out.
#[derive(Debug)]
struct Process {
    started_unix_s: u64,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name, help, value: Option<u64>| {
            let Some(value) = value.and_then(|value| i64::try_from(value).ok()) else {
                return Ok(());
            };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        gauge(
            "process_start_time_seconds",
            "Start of the process since 1970",
            Some(self.started_unix_s),
        )?;
        let process = ProcessNumbers::read();
        gauge(
            "process_resident_memory_bytes",
            "Resident memory",
            process.resident_bytes,
        )?;
        gauge(
            "process_open_fds",
            "Open file descriptors",
            process.open_fds,
        )?;
        gauge("process_max_fds", "Open-files limit", process.fds_max)?;
        gauge("process_threads", "Threads", process.threads)?;
        let Some(seconds) = process.cpu_s else {
            return Ok(());
        };
        let counter = ConstCounter::new(seconds);
        counter.encode(encoder.encode_descriptor(
            "process_cpu_seconds",
            "CPU time of the process, user and system",
            None,
            counter.metric_type(),
        )?)
    }
}

/// The process as the kernel sees it; `None` for what it does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessNumbers {
    /// CPU time, user and system, in seconds.
    pub cpu_s: Option<f64>,
    pub resident_bytes: Option<u64>,
    pub open_fds: Option<u64>,
    pub fds_max: Option<u64>,
    pub threads: Option<u64>,
}

impl ProcessNumbers {
    pub fn read() -> Self {
        Self {
            cpu_s: cpu_s(),
            resident_bytes: resident_bytes(),
            open_fds: open_fds(),
            fds_max: fds_max(),
            threads: status("Threads:"),
        }
    }
}

pub fn cpu_s() -> Option<f64> {
    Some(cpu::process_time()?.as_secs_f64())
}

pub fn resident_bytes() -> Option<u64> {
    status("VmRSS:").map(|kibibytes| kibibytes * 1024)
}

/// First number of a line of `/proc/self/status`.
fn status(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn open_fds() -> Option<u64> {
    // The directory that is read here is open as well; it is not counted.
    let count = fs::read_dir("/proc/self/fd").ok()?.count().checked_sub(1)?;
    u64::try_from(count).ok()
}

fn fds_max() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;

    #[test]
    fn build_and_process_are_shown_with_values_that_can_be_true() {
        let text = Metrics::new().encode();
        let build = format!(
            "relayd_build_info{{version=\"{}\"}} 1",
            env!("CARGO_PKG_VERSION")
        );
        assert!(text.contains(&build), "{text}");
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let line = line.unwrap_or_else(|| panic!("{name} is not in\n{text}"));
            line.trim().parse().expect("a number")
        };
        assert!(value("process_resident_memory_bytes ") > 1e6);
        assert!(value("process_open_fds ") >= 3.0);
        assert!(value("process_max_fds ") >= value("process_open_fds "));
        assert!(value("process_threads ") >= 1.0);
        assert!(value("process_start_time_seconds ") > 1.7e9);
        assert!(value("process_cpu_seconds_total ") >= 0.0);
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn parts_register_under_whole_names() {
        let mut metrics = Metrics::new();
        let counter: Counter = Counter::default();
        let registry = metrics.registry_mut();
        registry.register("relayd_part_things", "Things", counter.clone());
        counter.inc();
        assert!(metrics.encode().contains("relayd_part_things_total 1"));
    }
}
