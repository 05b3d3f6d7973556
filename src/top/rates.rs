//! What happens in a second, from the differences between two answers. Pure.
//!
//! Two answers of different processes make no rate, nor does a counter that went backwards.

use super::answers::{Flow, Moment, Stats, Traffic};
use super::text::Clean;
use std::collections::BTreeMap;

/// Shorter spans make no rate.
const SPAN_S_MIN: f64 = 0.05;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rates {
    /// By the client's transport.
    pub to_peer: BTreeMap<Clean, FlowRate>,
    pub to_client: BTreeMap<Clean, FlowRate>,
    /// Allocations.
    pub started: Option<f64>,
    pub drops: BTreeMap<Clean, f64>,
    pub drops_total: Option<f64>,
    /// By method and answer.
    pub turn_requests: BTreeMap<(Clean, Clean), f64>,
    pub ended: BTreeMap<Clean, f64>,
    pub proxy_requests: Option<f64>,
    pub proxy_errors: Option<f64>,
    pub proxy_errors_by_reason: BTreeMap<Clean, f64>,
    /// By host.
    pub upstreams: BTreeMap<Clean, f64>,
    /// Processors in use.
    pub cores: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct FlowRate {
    pub bits: Option<f64>,
    pub packets: Option<f64>,
}

impl Rates {
    /// `None` if the two are no two moments of one process.
    pub(super) fn between(old: &Stats, new: &Stats) -> Option<Self> {
        let span = Span::between(old.moment, new.moment)?;
        let drops = span.map(&old.drops, &new.drops);
        let errors = span.map(&old.proxy.errors, &new.proxy.errors);
        let requests = span.map(&old.proxy.requests, &new.proxy.requests);
        Some(Self {
            to_peer: span.flows(&old.traffic, &new.traffic, |traffic| traffic.to_peer),
            to_client: span.flows(&old.traffic, &new.traffic, |traffic| traffic.to_client),
            started: span.rate(old.allocations.started, new.allocations.started),
            drops_total: new.drops.as_ref().map(|_| drops.values().sum()),
            drops,
            turn_requests: span.map(&by_answer(old), &by_answer(new)),
            ended: span.map(&old.allocations.ended, &new.allocations.ended),
            proxy_requests: new.proxy.requests.as_ref().map(|_| requests.values().sum()),
            proxy_errors: new.proxy.errors.as_ref().map(|_| errors.values().sum()),
            proxy_errors_by_reason: errors,
            upstreams: span.shared(&by_host(old), &by_host(new)),
            cores: span.difference(old.process.cpu_s, new.process.cpu_s),
        })
    }
}

/// Bits and packets of all transports.
pub(super) fn sum(flows: &BTreeMap<Clean, FlowRate>) -> FlowRate {
    let add = |a: Option<f64>, b: Option<f64>| Some(a.unwrap_or(0.0) + b?).or(a);
    flows
        .values()
        .fold(FlowRate::default(), |sum, flow| FlowRate {
            bits: add(sum.bits, flow.bits),
            packets: add(sum.packets, flow.packets),
        })
}

/// Seconds between two answers of one process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span(f64);

impl Span {
    pub(super) fn between(old: Moment, new: Moment) -> Option<Self> {
        let seconds = new.uptime_s? - old.uptime_s?;
        let is_one = !new.is_of_another_process(old);
        (is_one && seconds >= SPAN_S_MIN).then_some(Self(seconds))
    }

    pub(super) fn rate(self, old: Option<u64>, new: Option<u64>) -> Option<f64> {
        Some(new?.checked_sub(old?)? as f64 / self.0)
    }

    fn difference(self, old: Option<f64>, new: Option<f64>) -> Option<f64> {
        let grown = new? - old?;
        (grown >= 0.0).then_some(grown / self.0)
    }

    /// What was not in the former answer has begun at nothing.
    fn map<K: Ord + Clone>(
        self,
        old: &Option<BTreeMap<K, u64>>,
        new: &Option<BTreeMap<K, u64>>,
    ) -> BTreeMap<K, f64> {
        let (Some(old), Some(new)) = (old, new) else {
            return BTreeMap::new();
        };
        new.iter()
            .filter_map(|(key, count)| {
                let before = old.get(key).copied().unwrap_or(0);
                Some((key.clone(), self.rate(Some(before), Some(*count))?))
            })
            .collect()
    }

    /// Without what was not in the former answer. Of many upstreams the busiest are told, so another one may have come among
    /// them with all that it has counted since the start.
    fn shared<K: Ord + Clone>(
        self,
        old: &Option<BTreeMap<K, u64>>,
        new: &Option<BTreeMap<K, u64>>,
    ) -> BTreeMap<K, f64> {
        let mut rates = self.map(old, new);
        rates.retain(|key, _| old.as_ref().is_some_and(|old| old.contains_key(key)));
        rates
    }

    fn flows(
        self,
        old: &[Traffic],
        new: &[Traffic],
        direction: fn(&Traffic) -> Flow,
    ) -> BTreeMap<Clean, FlowRate> {
        new.iter()
            .filter_map(|new| {
                let old = old.iter().find(|old| old.transport == new.transport)?;
                let (old, rate) = (direction(old), direction(new));
                Some((new.transport.clone(), self.flow(old, rate)))
            })
            .collect()
    }

    pub(super) fn flow(self, old: Flow, new: Flow) -> FlowRate {
        FlowRate {
            bits: self.rate(old.bytes, new.bytes).map(|bytes| bytes * 8.0),
            packets: self.rate(old.packets, new.packets),
        }
    }
}

fn by_answer(stats: &Stats) -> Option<BTreeMap<(Clean, Clean), u64>> {
    let requests = stats.turn_requests.as_ref()?;
    let pairs = requests.iter();
    Some(
        pairs
            .map(|one| ((one.method.clone(), one.answer.clone()), one.count))
            .collect(),
    )
}

fn by_host(stats: &Stats) -> Option<BTreeMap<Clean, u64>> {
    let upstreams = stats.proxy.upstreams.as_ref()?;
    let pairs = upstreams.iter();
    Some(
        pairs
            .map(|one| (one.host.clone(), one.requests_total()))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stats(uptime_s: f64, bytes: u64, drops: u64) -> Stats {
        serde_json::from_value(json!({
            "uptime_s": uptime_s,
            "traffic": [
                {"transport": "udp", "to_peer": {"packets": bytes / 100, "bytes": bytes}, "to_client": {"packets": 0, "bytes": 0}},
                {"transport": "tcp", "to_peer": {"packets": 0, "bytes": 0}},
            ],
            "allocations": {"started": bytes / 1000},
            "drops": {"no_permission": drops, "malformed": 0},
            "turn_requests": [{"method": "allocate", "answer": "success", "count": drops}],
            "proxy": {"requests": {"2xx": drops, "5xx": 0}, "upstreams": [{"host": "a.example:443", "requests": {"2xx": drops}}]},
            "process": {"cpu_s": uptime_s / 2.0},
        }))
        .expect("as the contract says")
    }

    #[test]
    fn rates_are_differences_over_the_servers_own_clock() {
        let rates = Rates::between(&stats(10.0, 1000, 4), &stats(12.0, 6000, 10)).expect("later");
        let key = Clean::new;
        assert_eq!(rates.to_peer[&key("udp")].bits, Some(20_000.0));
        assert_eq!(rates.to_peer[&key("udp")].packets, Some(25.0));
        assert_eq!(rates.to_client[&key("udp")].bits, Some(0.0));
        assert_eq!(rates.to_client[&key("tcp")].bits, None, "not in the answer");
        assert_eq!(sum(&rates.to_peer).bits, Some(20_000.0));
        assert_eq!(sum(&BTreeMap::new()).bits, None);
        assert_eq!(rates.started, Some(2.5));
        assert_eq!(rates.drops[&key("no_permission")], 3.0);
        assert_eq!(rates.drops_total, Some(3.0));
        assert_eq!(rates.turn_requests[&(key("allocate"), key("success"))], 3.0);
        assert_eq!(rates.proxy_requests, Some(3.0));
        assert_eq!(rates.proxy_errors, None);
        assert_eq!(rates.upstreams[&key("a.example:443")], 3.0);
        assert_eq!(rates.cores, Some(0.5));
    }

    #[test]
    fn an_upstream_that_was_not_told_before_has_no_rate_yet() {
        let (old, mut new) = (stats(10.0, 0, 4), stats(12.0, 0, 10));
        for upstream in new.proxy.upstreams.iter_mut().flatten() {
            upstream.host = Clean::new("b.example:443");
        }
        let rates = Rates::between(&old, &new).expect("later");
        assert_eq!(rates.upstreams, BTreeMap::new());
        // Of closed sets all are told, at zero or later: what appears has begun.
        assert_eq!(rates.drops_total, Some(3.0));
    }

    #[test]
    fn a_restart_and_an_answer_of_the_same_moment_make_no_rate() {
        let later = stats(12.0, 6000, 10);
        assert_eq!(Rates::between(&later, &stats(1.0, 0, 0)), None);
        assert_eq!(Rates::between(&later, &later), None);
        // Another process that has been up for longer, on a server that does not tell the time.
        let rates = Rates::between(&later, &stats(20.0, 1000, 4)).expect("later");
        assert_eq!(rates.to_peer[&Clean::new("udp")].bits, None);
        assert!(!rates.drops.contains_key(&Clean::new("no_permission")));
    }

    #[test]
    fn a_server_that_says_nothing_has_no_rates() {
        let (old, new) = (json!({"uptime_s": 1.0}), json!({"uptime_s": 2.0}));
        let read = |json| serde_json::from_value::<Stats>(json).expect("stats");
        let rates = Rates::between(&read(old), &read(new));
        assert_eq!(rates, Some(Rates::default()));
        assert_eq!(Rates::between(&Stats::default(), &Stats::default()), None);
    }
}
