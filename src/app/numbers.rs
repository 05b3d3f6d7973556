//! The running server in numbers, for `/stats` and `/history`: what the parts count, in the admin listener's words.

use super::control::Control;
use crate::addr::Transport;
use crate::admin::stats::{
    AddressPorts, Allocations, ByLabel, Certificate, CertificateOrigin, Configuration, LatencyMs,
    Process, ProxyNumbers, RelayPorts, Stats, Statuses, Traffic, TurnRequests, Upstream, Worker,
};
use crate::admin::{self, Flow, Flows, Observed, QualitySums, Sample, SideSums};
use crate::io::{PortUse, WorkerNumbers};
use crate::latency::Spread;
use crate::metrics::{self, ProcessNumbers};
use crate::proxy::UpstreamNumbers;
use crate::quality::{self, Histogram, Side, SideCounts};
use crate::tls::Origin;
use crate::turn::{self, Answer, Counters, DropReason, EndReason, Method};
use std::net::IpAddr;

/// Upstreams that are shown.
const UPSTREAMS_SHOWN: usize = 64;

pub fn stats(control: &Control) -> Stats {
    let workers = control.media.worker_numbers();
    Stats {
        configuration: configuration(control),
        traffic: traffic(&workers),
        allocations: allocations(&workers),
        drops: drops(&workers),
        turn_requests: turn_requests(&workers),
        relay_ports: relay_ports(control),
        workers: workers.iter().enumerate().map(worker).collect(),
        proxy: proxy(control),
        certificates: certificate(control).into_iter().collect(),
        process: process(),
    }
}

/// The same parts, without what takes longer or does not change by the second.
pub fn sample(control: &Control) -> Sample {
    let workers = control.media.worker_numbers();
    let totals = control.proxy.metrics().totals();
    let (_, tunnels) = control.proxy.under_way();
    Sample {
        traffic: Transport::ALL.map(|transport| flows(&workers, transport)),
        allocations: Transport::ALL.map(|transport| live(&workers, transport)),
        drops: DropReason::ALL
            .map(|reason| sum(&workers, |turn| turn.drops(reason)))
            .iter()
            .sum(),
        turn_requests: sum(&workers, |turn| turn.requests_with(|_| true)),
        turn_errors: sum(&workers, |turn| turn.requests_with(is_error)),
        proxy_requests: totals.statuses.iter().sum(),
        proxy_errors: totals.errors.iter().map(|(_, count)| count).sum(),
        latencies: control.proxy.latencies(),
        tunnels: number(tunnels),
        connections: control.listen.http_connections().into(),
        quality: quality(&workers),
        cpu_s: metrics::cpu_s(),
        resident_bytes: metrics::resident_bytes(),
        relay_ports_used: control
            .media
            .relay_ports()
            .iter()
            .map(|of| number(of.used))
            .sum(),
    }
}

/// Every client is told once to authenticate (401), and now and then that its nonce is stale (438).
fn is_error(answer: Answer) -> bool {
    !matches!(
        answer,
        Answer::Success | Answer::Unauthorized | Answer::StaleNonce
    )
}

/// What was observed of all calls.
fn quality(workers: &[WorkerNumbers]) -> QualitySums {
    let mut all = quality::Counts::default();
    for worker in workers {
        all.add(&worker.counters.quality);
    }
    QualitySums {
        client: side_sums(all.side(Side::Client)),
        peer: side_sums(all.side(Side::Peer)),
    }
}

fn side_sums(counts: &SideCounts) -> SideSums {
    SideSums {
        loss_ratio: observed(&counts.loss_ratio),
        jitter_s: observed(&counts.jitter),
        round_trip_s: observed(&counts.round_trip),
    }
}

fn observed(histogram: &Histogram) -> Observed {
    Observed {
        count: histogram.count(),
        sum: histogram.sum(),
    }
}

fn configuration(control: &Control) -> Configuration {
    let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
    Configuration {
        file: control.in_force().file.clone(),
        generation: unsigned(control.reloads.generation()),
        loaded_at: unsigned(control.reloads.in_force_since()),
    }
}

fn traffic(workers: &[WorkerNumbers]) -> Vec<Traffic> {
    let shown = Transport::ALL.into_iter().zip(admin::Transport::ALL);
    shown
        .map(|(transport, shown)| {
            let Flows { to_peer, to_client } = flows(workers, transport);
            Traffic {
                transport: shown,
                to_peer,
                to_client,
            }
        })
        .collect()
}

fn flows(workers: &[WorkerNumbers], transport: Transport) -> Flows {
    let mut total = turn::Traffic::default();
    for worker in workers {
        total.add(worker.counters.traffic_by(transport));
    }
    Flows {
        to_peer: Flow {
            packets: total.to_peer_packets,
            bytes: total.to_peer_bytes,
        },
        to_client: Flow {
            packets: total.to_client_packets,
            bytes: total.to_client_bytes,
        },
    }
}

fn allocations(workers: &[WorkerNumbers]) -> Allocations {
    let [udp, tcp, tls] = Transport::ALL.map(|transport| live(workers, transport));
    let ended =
        EndReason::ALL.map(|reason| (reason.label(), sum(workers, |turn| turn.ended(reason))));
    Allocations {
        udp,
        tcp,
        tls,
        total: udp + tcp + tls,
        started: sum(workers, |turn| turn.started),
        ended: ended.into(),
    }
}

fn drops(workers: &[WorkerNumbers]) -> ByLabel {
    DropReason::ALL
        .map(|reason| (reason.label(), sum(workers, |turn| turn.drops(reason))))
        .into()
}

fn turn_requests(workers: &[WorkerNumbers]) -> Vec<TurnRequests> {
    let pairs = Method::ALL
        .into_iter()
        .flat_map(|method| Answer::ALL.map(|answer| (method, answer)));
    pairs
        .map(|(method, answer)| TurnRequests {
            method: method.label(),
            answer: answer.label(),
            count: sum(workers, |turn| turn.requests(method, answer)),
        })
        .filter(|requests| requests.count > 0)
        .collect()
}

fn relay_ports(control: &Control) -> RelayPorts {
    let in_force = control.in_force();
    let (first, last) = in_force.relay_ports;
    let each = u64::from(last.saturating_sub(first)) + 1;
    let addresses: Vec<AddressPorts> = addresses(control.media.relay_ports(), &in_force.relay_ips)
        .map(|PortUse { ip, used }| AddressPorts {
            ip,
            used: number(used),
            total: each,
        })
        .collect();
    RelayPorts {
        used: addresses.iter().map(|of| of.used).sum(),
        // Before the first relay it is not known how many addresses there will be: at least one.
        total: each * number(addresses.len().max(1)),
        range: format!("{first}-{last}"),
        addresses,
    }
}

/// Those in use, and those that are configured and were not used yet.
fn addresses(used: Vec<PortUse>, configured: &[IpAddr]) -> impl Iterator<Item = PortUse> {
    let is_unused = |ip: &&IpAddr| !used.iter().any(|of| of.ip == **ip);
    let unused = configured.iter().filter(is_unused).copied();
    let unused: Vec<PortUse> = unused.map(|ip| PortUse { ip, used: 0 }).collect();
    used.into_iter().chain(unused)
}

fn worker((index, numbers): (usize, &WorkerNumbers)) -> Worker {
    let traffic = numbers.counters.traffic();
    Worker {
        worker: index,
        allocations: number(numbers.allocations),
        streams: number(numbers.streams),
        packets: traffic.to_peer_packets + traffic.to_client_packets,
        bytes: traffic.to_peer_bytes + traffic.to_client_bytes,
        cpu_s: numbers.cpu.map(|cpu| cpu.as_secs_f64()),
    }
}

fn proxy(control: &Control) -> ProxyNumbers {
    let totals = control.proxy.metrics().totals();
    let (requests_under_way, tunnels) = control.proxy.under_way();
    let (upstreams, upstreams_forgotten) = control.proxy.upstreams();
    let shown = upstreams.into_iter().take(UPSTREAMS_SHOWN);
    ProxyNumbers {
        connections: control.listen.http_connections().into(),
        requests_under_way: number(requests_under_way),
        tunnels: number(tunnels),
        requests: Statuses::of(totals.statuses),
        errors: totals.errors.into_iter().collect(),
        upstreams: shown.map(upstream).collect(),
        upstreams_forgotten,
    }
}

fn upstream(numbers: UpstreamNumbers) -> Upstream {
    Upstream {
        requests: Statuses::of(numbers.statuses),
        errors: numbers.errors,
        abandoned: numbers.abandoned,
        latency_ms: latency(&numbers.latencies),
        tunnels: numbers.tunnels,
        host: numbers.host,
    }
}

fn latency(spread: &Spread) -> LatencyMs {
    LatencyMs {
        mean: spread.mean_ms(),
        p50: spread.quantile_ms(0.5),
        p90: spread.quantile_ms(0.9),
        p99: spread.quantile_ms(0.99),
    }
}

fn certificate(control: &Control) -> Option<Certificate> {
    let (facts, origin) = control.tls.load_full()?.facts()?;
    Some(Certificate {
        names: facts.names,
        issuer: facts.issuer,
        not_after: facts.not_after,
        source: match origin {
            Origin::File => CertificateOrigin::File,
            Origin::Acme => CertificateOrigin::Acme,
            Origin::SelfSigned => CertificateOrigin::SelfSigned,
        },
    })
}

fn process() -> Process {
    let numbers = ProcessNumbers::read();
    Process {
        cpu_s: numbers.cpu_s,
        resident_bytes: numbers.resident_bytes,
        open_fds: numbers.open_fds,
        fds_max: numbers.fds_max,
        threads: numbers.threads,
    }
}

fn live(workers: &[WorkerNumbers], transport: Transport) -> u64 {
    sum(workers, |turn| turn.live(transport))
}

fn sum(workers: &[WorkerNumbers], of: impl Fn(&Counters) -> u64) -> u64 {
    workers.iter().map(|worker| of(&worker.counters)).sum()
}

fn number(count: usize) -> u64 {
    count as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_address_is_shown_before_its_first_relay_and_once_after_it() {
        let [a, b] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
        let used = vec![PortUse { ip: b, used: 3 }];
        let shown: Vec<PortUse> = addresses(used, &[a, b]).collect();
        assert_eq!(
            shown,
            [PortUse { ip: b, used: 3 }, PortUse { ip: a, used: 0 }]
        );
    }

    #[test]
    fn what_every_client_gets_is_no_error() {
        let errors: Vec<&str> = Answer::ALL
            .into_iter()
            .filter(|answer| is_error(*answer))
            .map(Answer::label)
            .collect();
        assert!(errors.contains(&"403") && errors.contains(&"508"));
        for ordinary in ["success", "401", "438"] {
            assert!(!errors.contains(&ordinary), "{ordinary}");
        }
    }
}
