//! The media plane's numbers under the names that coturn 4.6 to 4.17 gives its own, for dashboards made for it.
//!
//! Names and labels are coturn's. Its counters have no `_total`, which OpenMetrics wants of a counter: so the type is `unknown`,
//! which changes nothing for queries. relayd counts relayed payload, coturn whole messages with their headers and the
//! requests beside them: the same curves, a few percent lower. Absent: what has no counterpart here (the occupancy of
//! coturn's rate-limit table, UDP-GSO and its flushes) and the `user` label, which no metric should have.

use crate::addr::Transport;
use crate::io::metrics::{IoCounts, WorkerStats};
use crate::turn::counters::{Answer, Counters, Method};
use crate::turn::{DropReason, Traffic};
use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;

/// coturn's counters as a collector.
#[derive(Clone, Debug)]
pub struct CoturnMetrics {
    workers: Arc<[Arc<WorkerStats>]>,
    realm: Arc<ArcSwap<String>>,
}

/// One sample: the part of its name behind the family's, and where its number comes from.
type Part = (&'static str, &'static str, fn(&Traffic) -> u64);

/// Parties are coturn's: what is received from a client is sent to a peer.
const TRAFFIC: [Part; 8] = [
    ("rcvp", "received packets", |t| t.to_peer_packets),
    ("rcvb", "received bytes", |t| t.to_peer_bytes),
    ("sentp", "sent packets", |t| t.to_client_packets),
    ("sentb", "sent bytes", |t| t.to_client_bytes),
    ("peer_rcvp", "peer received packets", |t| {
        t.to_client_packets
    }),
    ("peer_rcvb", "peer received bytes", |t| t.to_client_bytes),
    ("peer_sentp", "peer sent packets", |t| t.to_peer_packets),
    ("peer_sentb", "peer sent bytes", |t| t.to_peer_bytes),
];

impl CoturnMetrics {
    pub fn new(workers: Arc<[Arc<WorkerStats>]>, realm: Arc<ArcSwap<String>>) -> Self {
        Self { workers, realm }
    }

    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }
}

impl Collector for CoturnMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let counts: Vec<_> = self.workers.iter().map(|worker| worker.counts()).collect();
        let total = |number: &dyn Fn(&IoCounts, &Counters) -> u64| -> u64 {
            counts.iter().map(|(io, turn)| number(io, turn)).sum()
        };
        let mut counter = |name: &str, help: &str, value: u64| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Unknown)?;
            constant(value).encode(metric)
        };
        for (name, help, number) in COUNTERS {
            counter(name, help, total(&|io, turn| number(io, turn)))?;
        }
        for (name, what, of) in TRAFFIC {
            let help = format!("Relayed payload of allocations that have ended: {what}");
            let value = total(&|_, turn| of(&turn.ended_traffic));
            counter(&format!("turn_total_traffic_{name}"), &help, value)?;
        }
        let realm = self.realm.load();
        for (name, what, of) in TRAFFIC {
            let help = format!("Relayed payload of allocations that have ended, by realm: {what}");
            let name = format!("turn_traffic_{name}");
            let mut metric = encoder.encode_descriptor(&name, &help, None, MetricType::Unknown)?;
            let value = total(&|_, turn| of(&turn.ended_traffic));
            let labels = [("realm", realm.as_str())];
            constant(value).encode(metric.encode_family(&labels)?)?;
        }
        let name = "turn_total_allocations";
        let help = "Live allocations, by the client's transport";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for transport in Transport::ALL {
            let value = total(&|_, turn| turn.live(transport));
            let labels = [("type", type_label(transport))];
            constant(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

type Number = fn(&IoCounts, &Counters) -> u64;

/// Those without labels.
const COUNTERS: [(&str, &str, Number); 11] = [
    (
        "stun_binding_request",
        "Incoming STUN Binding requests",
        |_, turn| answers(turn, Method::Binding, |_| true),
    ),
    (
        "stun_binding_response",
        "Outgoing STUN Binding responses",
        |_, turn| turn.requests(Method::Binding, Answer::Success),
    ),
    ("stun_binding_error", "STUN Binding errors", |_, turn| {
        answers(turn, Method::Binding, |answer| answer != Answer::Success)
    }),
    (
        "turn_unauthenticated_401_requests",
        "Requests that need a 401 answer, those that got none included",
        |_, turn| unauthorized(turn) + turn.drops(DropReason::UnauthenticatedRate),
    ),
    (
        "turn_unauthenticated_401_responses",
        "401 answers",
        |_, turn| unauthorized(turn),
    ),
    (
        "turn_unauthenticated_401_dropped_responses",
        "401 answers left out by the rate limit",
        |_, turn| turn.drops(DropReason::UnauthenticatedRate),
    ),
    (
        "turn_packet_processed",
        "Packets relayed and requests answered",
        |_, turn| {
            let Traffic {
                to_peer_packets,
                to_client_packets,
                ..
            } = turn.traffic();
            let answered = Method::ALL.map(|method| answers(turn, method, |_| true));
            to_peer_packets + to_client_packets + answered.iter().sum::<u64>()
        },
    ),
    (
        "turn_packet_dropped",
        "Packets dropped, for any reason",
        |_, turn| {
            DropReason::ALL
                .iter()
                .map(|reason| turn.drops(*reason))
                .sum()
        },
    ),
    ("turn_udp_recvmmsg_calls", "recvmmsg() calls", |io, _| {
        io.listeners.receive_calls + io.relays.receive_calls
    }),
    (
        "turn_udp_recvmmsg_packets",
        "Datagrams received by recvmmsg()",
        |io, _| io.listeners.received + io.relays.received,
    ),
    (
        "turn_udp_sendmmsg_datagrams",
        "Datagrams sent by sendmmsg()",
        |io, _| io.listeners.send.sent + io.relays.send.sent,
    ),
];

fn answers(turn: &Counters, method: Method, which: fn(Answer) -> bool) -> u64 {
    let counted = Answer::ALL.into_iter().filter(|answer| which(*answer));
    counted.map(|answer| turn.requests(method, answer)).sum()
}

fn unauthorized(turn: &Counters) -> u64 {
    let counted = Method::ALL.map(|method| turn.requests(method, Answer::Unauthorized));
    counted.iter().sum()
}

/// coturn's word for a transport.
fn type_label(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
        Transport::Tls => "TLS/TCP",
    }
}

/// Written without a suffix, whatever the type.
fn constant(value: u64) -> ConstGauge<u64> {
    ConstGauge::new(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names, labels and types of coturn's exporter, as its 4.6 and its 4.17 register them.
    #[test]
    fn the_names_and_labels_are_those_of_coturns_exporter() {
        let stats = Arc::new(WorkerStats::default());
        assert!(stats.publish(&IoCounts::default(), &Counters::default()));
        let realm = Arc::new(ArcSwap::from_pointee("relay.test".to_owned()));
        let mut registry = Registry::default();
        CoturnMetrics::new(Arc::from([stats]), realm).register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encoded");
        let mut wanted = vec![
            "stun_binding_request",
            "stun_binding_response",
            "stun_binding_error",
            "turn_unauthenticated_401_requests",
            "turn_unauthenticated_401_responses",
            "turn_unauthenticated_401_dropped_responses",
            "turn_packet_processed",
            "turn_packet_dropped",
            "turn_udp_recvmmsg_calls",
            "turn_udp_recvmmsg_packets",
            "turn_udp_sendmmsg_datagrams",
            "turn_total_allocations{type=\"UDP\"}",
            "turn_total_allocations{type=\"TCP\"}",
            "turn_total_allocations{type=\"TLS/TCP\"}",
        ];
        let parts = ["rcvp", "rcvb", "sentp", "sentb"];
        let traffic: Vec<String> = parts
            .iter()
            .flat_map(|part| {
                [
                    format!("turn_total_traffic_{part}"),
                    format!("turn_total_traffic_peer_{part}"),
                    format!("turn_traffic_{part}{{realm=\"relay.test\"}}"),
                    format!("turn_traffic_peer_{part}{{realm=\"relay.test\"}}"),
                ]
            })
            .collect();
        wanted.extend(traffic.iter().map(String::as_str));
        wanted.sort_unstable();
        let mut found: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.strip_suffix(" 0"))
            .collect();
        found.sort_unstable();
        assert_eq!(found, wanted, "{text}");
    }
}
