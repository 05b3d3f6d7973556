//! What the media plane counts, and how it reaches the metrics endpoint.
//!
//! A worker counts in plain integers and leaves a copy now and then, if nobody is reading just then; a scrape
//! adds up the copies. No worker ever waits for a scrape.

use crate::addr::Transport;
use crate::io::stream::StreamEnd;
use crate::quality::{self, Histogram, Kind, Side};
use crate::sys::cpu::ThreadClock;
use crate::sys::send::SendCounts;
use crate::turn::counters::{Answer, Counters, Method};
use crate::turn::{DropReason, EndReason, Traffic};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError};
use std::time::Duration;

/// Traffic of one kind of socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketCounts {
    pub received: u64,
    /// Of those, merged with others of their flow by the kernel.
    pub merged: u64,
    pub receive_calls: u64,
    /// Dropped by the kernel, because a socket's receive buffer was full.
    pub overflow: u64,
    pub send: SendCounts,
}

/// What one worker's driver has counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoCounts {
    pub listeners: SocketCounts,
    pub relays: SocketCounts,
    /// From client to client within this process, without a socket in between.
    pub handed_over: u64,
    /// Of those, by way of another worker.
    pub crossed: u64,
    /// Lost on that way: the other worker was behind, or the relay had ended.
    pub crossing_dropped: u64,
    /// Entries of the error queues of relay sockets.
    pub icmp: u64,
    pub stream_ends: [u64; StreamEnd::ALL.len()],
    pub streams_taken: u64,
    /// Media frames dropped because a client read too slowly.
    pub stream_frames_dropped: u64,
    /// Packets of clients of the former process, sent there; not sent, because it did not keep up.
    pub forwarded: u64,
    pub forward_dropped: u64,
    /// Packets of own clients that the process which took over has sent here.
    pub forwarded_here: u64,
    /// Lanes given up since the other process did not read what it was told.
    pub lanes_overfull: u64,
}

impl IoCounts {
    pub fn count_stream_end(&mut self, end: StreamEnd) {
        self.stream_ends[end as usize] += 1;
    }
}

/// One worker's numbers, as other threads see them.
#[derive(Debug, Default)]
pub struct WorkerStats {
    pub allocations: AtomicUsize,
    /// The worker refuses new allocations, and `allocations` holds all that it had made by then.
    pub draining: AtomicBool,
    /// Connections given to this worker that have not ended, those in its inbox included.
    pub streams: AtomicUsize,
    /// Set by the thread itself.
    pub clock: OnceLock<ThreadClock>,
    counts: Mutex<(IoCounts, Counters)>,
}

/// What one worker has counted, for those who show it.
#[derive(Clone, Debug)]
pub struct WorkerNumbers {
    pub allocations: usize,
    pub streams: usize,
    /// Up to 100 ms old.
    pub counters: Counters,
    /// Of its thread; `None` before it runs and when it has ended.
    pub cpu: Option<Duration>,
}

impl WorkerStats {
    /// Leaves a copy of the counts; false while a scrape reads the last one.
    pub fn publish(&self, io: &IoCounts, turn: &Counters) -> bool {
        let mut counts = match self.counts.try_lock() {
            Ok(counts) => counts,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        counts.0 = *io;
        counts.1.clone_from(turn);
        true
    }

    /// Leaves the last copy, after waiting for a scrape if need be.
    pub fn publish_finally(&self, io: &IoCounts, turn: &Counters) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts = (*io, turn.clone());
    }

    pub fn numbers(&self) -> WorkerNumbers {
        WorkerNumbers {
            allocations: self.allocations.load(Ordering::Relaxed),
            streams: self.streams.load(Ordering::Relaxed),
            counters: self.counts().1,
            cpu: self.clock.get().and_then(|clock| clock.time()),
        }
    }

    pub fn counts(&self) -> (IoCounts, Counters) {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.clone()
    }
}

/// The numbers of all workers.
#[derive(Clone, Debug)]
pub struct Metrics {
    workers: Arc<[Arc<WorkerStats>]>,
}

impl Metrics {
    pub fn new(workers: Arc<[Arc<WorkerStats>]>) -> Self {
        Self { workers }
    }

    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }
}

type Labels = [(&'static str, &'static str)];

/// Adds up what `number` gives for each worker.
fn total(counts: &[(IoCounts, Counters)], number: impl Fn(&(IoCounts, Counters)) -> u64) -> u64 {
    counts.iter().map(number).sum()
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let counts: Vec<_> = self.workers.iter().map(|worker| worker.counts()).collect();
        self.encode_gauges(&mut encoder)?;
        encode_sockets(&mut encoder, &counts)?;
        encode_streams(&mut encoder, &counts)?;
        encode_turn(&mut encoder, &counts)?;
        encode_quality(&mut encoder, &counts)
    }
}

impl Metrics {
    fn encode_gauges(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let sum = |of: fn(&WorkerStats) -> &AtomicUsize| -> i64 {
            let all = self
                .workers
                .iter()
                .map(|worker| of(worker).load(Ordering::Relaxed));
            all.sum::<usize>() as i64
        };
        let allocations = ConstGauge::new(sum(|worker| &worker.allocations));
        let name = "relayd_turn_allocations";
        let metric =
            encoder.encode_descriptor(name, "Live allocations", None, MetricType::Gauge)?;
        allocations.encode(metric)?;
        let streams = ConstGauge::new(sum(|worker| &worker.streams));
        let name = "relayd_media_streams";
        let help = "Live TCP and TLS connections of TURN clients";
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        streams.encode(metric)
    }
}

fn encode_sockets(encoder: &mut DescriptorEncoder, counts: &[(IoCounts, Counters)]) -> fmt::Result {
    let of_kinds = |number: fn(&SocketCounts) -> u64| {
        [
            ("listener", total(counts, |(io, _)| number(&io.listeners))),
            ("relay", total(counts, |(io, _)| number(&io.relays))),
        ]
    };
    family(
        encoder,
        "relayd_media_received_datagrams",
        "Datagrams received, by kind of socket",
        "socket",
        of_kinds(|socket| socket.received),
    )?;
    family(
        encoder,
        "relayd_media_merged_datagrams",
        "Of those, received merged with others of their flow (UDP GRO)",
        "socket",
        of_kinds(|socket| socket.merged),
    )?;
    family(
        encoder,
        "relayd_media_receive_calls",
        "Calls that received them",
        "socket",
        of_kinds(|socket| socket.receive_calls),
    )?;
    family(
        encoder,
        "relayd_media_receive_overflow_datagrams",
        "Datagrams that the kernel dropped because a receive buffer was full",
        "socket",
        of_kinds(|socket| socket.overflow),
    )?;
    family(
        encoder,
        "relayd_media_sent_datagrams",
        "Datagrams sent, by kind of socket",
        "socket",
        of_kinds(|socket| socket.send.sent),
    )?;
    let unsent = |number: fn(&SendCounts) -> u64| {
        total(counts, |(io, _)| {
            number(&io.listeners.send) + number(&io.relays.send)
        })
    };
    family(
        encoder,
        "relayd_media_unsent_datagrams",
        "Datagrams that could not be sent, by reason",
        "reason",
        [
            ("full", unsent(|send| send.full)),
            ("too_long", unsent(|send| send.too_long)),
            ("failed", unsent(|send| send.failed)),
        ],
    )?;
    family(
        encoder,
        "relayd_media_handed_over_datagrams",
        "Datagrams from client to client of this server, handed over without a socket in between, by way",
        "way",
        [
            (
                "same_worker",
                total(counts, |(io, _)| io.handed_over - io.crossed),
            ),
            ("other_worker", total(counts, |(io, _)| io.crossed)),
        ],
    )?;
    single(
        encoder,
        "relayd_media_handed_over_dropped_datagrams",
        "Datagrams from client to client that another worker could not take: it was behind, or the relay had just ended",
        None,
        total(counts, |(io, _)| io.crossing_dropped),
    )?;
    single(
        encoder,
        "relayd_media_icmp_errors",
        "ICMP errors for datagrams sent to peers",
        None,
        total(counts, |(io, _)| io.icmp),
    )?;
    let help =
        "Datagrams of the former process's clients during an upgrade, by what became of them";
    family(
        encoder,
        "relayd_upgrade_forwarded_datagrams",
        help,
        "result",
        [
            ("sent", total(counts, |(io, _)| io.forwarded)),
            ("dropped", total(counts, |(io, _)| io.forward_dropped)),
            ("received", total(counts, |(io, _)| io.forwarded_here)),
        ],
    )?;
    single(
        encoder,
        "relayd_upgrade_lost_lanes",
        "Ways to the other process of an upgrade that were given up, since it did not read what it was told",
        None,
        total(counts, |(io, _)| io.lanes_overfull),
    )
}

fn encode_streams(encoder: &mut DescriptorEncoder, counts: &[(IoCounts, Counters)]) -> fmt::Result {
    single(
        encoder,
        "relayd_media_streams_taken",
        "TCP and TLS connections taken over from the listeners",
        None,
        total(counts, |(io, _)| io.streams_taken),
    )?;
    family(
        encoder,
        "relayd_media_streams_ended",
        "TCP and TLS connections that ended, by reason",
        "reason",
        StreamEnd::ALL.map(|end| {
            (
                end.label(),
                total(counts, |(io, _)| io.stream_ends[end as usize]),
            )
        }),
    )?;
    single(
        encoder,
        "relayd_media_stream_dropped_frames",
        "Media frames dropped because a client read too slowly",
        None,
        total(counts, |(io, _)| io.stream_frames_dropped),
    )
}

fn encode_turn(encoder: &mut DescriptorEncoder, counts: &[(IoCounts, Counters)]) -> fmt::Result {
    let of_directions = |to_peer: fn(&Counters) -> u64, to_client: fn(&Counters) -> u64| {
        [
            ("to_peer", total(counts, |(_, turn)| to_peer(turn))),
            ("to_client", total(counts, |(_, turn)| to_client(turn))),
        ]
    };
    family(
        encoder,
        "relayd_turn_relayed_packets",
        "Packets relayed",
        "direction",
        of_directions(
            |turn| turn.traffic().to_peer_packets,
            |turn| turn.traffic().to_client_packets,
        ),
    )?;
    let labelled = of_directions(
        |turn| turn.traffic().to_peer_bytes,
        |turn| turn.traffic().to_client_bytes,
    );
    let name = "relayd_turn_relayed";
    let help = "Payload relayed, without headers";
    let unit = Some(&Unit::Bytes);
    let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
    for (direction, number) in labelled {
        labelled_counter(&mut metric, &[("direction", direction)], number)?;
    }
    encode_transports(encoder, counts)?;
    single(
        encoder,
        "relayd_turn_allocations_started",
        "Allocations made",
        None,
        total(counts, |(_, turn)| turn.started),
    )?;
    family(
        encoder,
        "relayd_turn_allocations_ended",
        "Allocations that ended, by reason",
        "reason",
        EndReason::ALL.map(|end| (end.label(), total(counts, |(_, turn)| turn.ended(end)))),
    )?;
    family(
        encoder,
        "relayd_turn_dropped_packets",
        "Packets dropped, by reason",
        "reason",
        DropReason::ALL.map(|drop| (drop.label(), total(counts, |(_, turn)| turn.drops(drop)))),
    )?;
    single(
        encoder,
        "relayd_turn_icmp_indications",
        "Indications to clients about ICMP errors",
        None,
        total(counts, |(_, turn)| turn.icmp_indications),
    )?;
    encode_requests(encoder, counts)
}

/// A metric of its own, so that sums over the one without this label stay what they are.
fn encode_transports(
    encoder: &mut DescriptorEncoder,
    counts: &[(IoCounts, Counters)],
) -> fmt::Result {
    let of = |transport, number: fn(Traffic) -> u64| {
        total(counts, |(_, turn)| number(turn.traffic_by(transport)))
    };
    let (name, help) = (
        "relayd_turn_transport_relayed_packets",
        "Packets relayed, by the client's transport",
    );
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for transport in Transport::ALL {
        let label = ("transport", transport.label());
        let to_peer = of(transport, |traffic| traffic.to_peer_packets);
        labelled_counter(&mut metric, &[label, ("direction", "to_peer")], to_peer)?;
        let to_client = of(transport, |traffic| traffic.to_client_packets);
        labelled_counter(&mut metric, &[label, ("direction", "to_client")], to_client)?;
    }
    let (name, help) = (
        "relayd_turn_transport_relayed",
        "Payload relayed, without headers, by the client's transport",
    );
    let unit = Some(&Unit::Bytes);
    let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
    for transport in Transport::ALL {
        let label = ("transport", transport.label());
        let to_peer = of(transport, |traffic| traffic.to_peer_bytes);
        labelled_counter(&mut metric, &[label, ("direction", "to_peer")], to_peer)?;
        let to_client = of(transport, |traffic| traffic.to_client_bytes);
        labelled_counter(&mut metric, &[label, ("direction", "to_client")], to_client)?;
    }
    Ok(())
}

fn encode_requests(
    encoder: &mut DescriptorEncoder,
    counts: &[(IoCounts, Counters)],
) -> fmt::Result {
    let name = "relayd_turn_requests";
    let help = "STUN and TURN requests answered, by method and answer";
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for method in Method::ALL {
        for answer in Answer::ALL {
            let number = total(counts, |(_, turn)| turn.requests(method, answer));
            // Most of the 90 pairs never happen. Those of Allocate are watched: a first refusal is to be a rise.
            if number > 0 || method == Method::Allocate {
                let labels = [("method", method.label()), ("answer", answer.label())];
                labelled_counter(&mut metric, &labels, number)?;
            }
        }
    }
    Ok(())
}

fn encode_quality(encoder: &mut DescriptorEncoder, counts: &[(IoCounts, Counters)]) -> fmt::Result {
    let mut all = quality::Counts::default();
    counts.iter().for_each(|(_, turn)| all.add(&turn.quality));
    histograms(
        encoder,
        "relayd_quality_loss_ratio",
        "Loss of RTP packets before the relay, one observation for each call with RTP, side and interval of 10 s",
        None,
        [
            &all.side(Side::Client).loss_ratio,
            &all.side(Side::Peer).loss_ratio,
        ],
    )?;
    histograms(
        encoder,
        "relayd_quality_jitter",
        "Interarrival jitter of RTP (RFC 3550) at the relay, one observation for each call, side and interval of 10 s",
        Some(&Unit::Seconds),
        [&all.side(Side::Client).jitter, &all.side(Side::Peer).jitter],
    )?;
    histograms(
        encoder,
        "relayd_quality_round_trip",
        "Round trip between relay and client, and relay and peer, one observation for each call, side and interval of 10 s",
        Some(&Unit::Seconds),
        [
            &all.side(Side::Client).round_trip,
            &all.side(Side::Peer).round_trip,
        ],
    )?;
    let name = "relayd_quality_packets";
    let help = "Packets that were looked at, by the side that they came from and what they are";
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for side in Side::ALL {
        for kind in Kind::ALL {
            let labels = [("side", side.label()), ("kind", kind.label())];
            labelled_counter(&mut metric, &labels, all.side(side).packets(kind))?;
        }
    }
    Ok(())
}

/// One histogram for each side.
fn histograms(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    sides: [&Histogram; 2],
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
    for (side, histogram) in Side::ALL.into_iter().zip(sides) {
        let labels = [("side", side.label())];
        let buckets: Vec<(f64, u64)> = histogram.buckets().collect();
        let (sum, count) = (histogram.sum(), histogram.count());
        let mut metric = metric.encode_family(&labels)?;
        metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    }
    Ok(())
}

fn single(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    number: u64,
) -> fmt::Result {
    let metric = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
    ConstCounter::new(number).encode(metric)
}

fn family(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    label: &'static str,
    numbers: impl IntoIterator<Item = (&'static str, u64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value, number) in numbers {
        labelled_counter(&mut metric, &[(label, value)], number)?;
    }
    Ok(())
}

fn labelled_counter(metric: &mut MetricEncoder<'_>, labels: &Labels, number: u64) -> fmt::Result {
    ConstCounter::new(number).encode(metric.encode_family(&labels)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_adds_up_the_workers() {
        let workers: Arc<[_]> = (0..2).map(|_| Arc::new(WorkerStats::default())).collect();
        for worker in workers.iter() {
            let mut io = IoCounts::default();
            io.listeners.received = 21;
            io.count_stream_end(StreamEnd::Unparseable);
            let mut turn = Counters::default();
            turn.started = 3;
            assert!(worker.publish(&io, &turn));
            worker.allocations.store(2, Ordering::Relaxed);
        }
        let mut registry = Registry::default();
        Metrics::new(workers).register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encoded");
        for line in [
            "relayd_media_received_datagrams_total{socket=\"listener\"} 42",
            "relayd_media_streams_ended_total{reason=\"unparseable\"} 2",
            "relayd_turn_allocations_started_total 6",
            "relayd_turn_allocations 4",
            "relayd_turn_relayed_bytes_total{direction=\"to_peer\"} 0",
            "relayd_quality_packets_total{side=\"client\",kind=\"rtp\"} 0",
            "relayd_quality_loss_ratio_count{side=\"peer\"} 0",
            "relayd_quality_jitter_seconds_sum{side=\"client\"} 0.0",
            "relayd_quality_round_trip_seconds_bucket{le=\"+Inf\",side=\"peer\"} 0",
            "relayd_turn_transport_relayed_bytes_total{transport=\"tls\",direction=\"to_peer\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
