//! An allocation as a span, told of when it has ended: its transport, what it relayed, and why it ended.

use crate::addr::{Family, Transport};
use crate::quality::Side;
use crate::spans::{self, Kind, Times};
use crate::sys::clock;
use crate::turn::AllocationEnd;

pub(super) fn allocation(end: &AllocationEnd) {
    let Some(tracer) = spans::current() else {
        return;
    };
    let context = tracer.root();
    if !context.sampled {
        return;
    }
    let times = Times::until(clock::now(), end.duration);
    let mut span = tracer.span("TURN allocation", Kind::Internal, &context, times);
    span.whole("relayd.turn.allocation_id", end.id);
    span.text("network.protocol.name", "turn");
    span.text("network.transport", carried_by(end.transport));
    span.text("relayd.turn.transport", end.transport.label());
    span.text("client.address", end.client.ip().to_canonical().to_string());
    span.text("user.name", end.username.as_str());
    let families = end
        .relayed
        .iter()
        .map(|relayed| family(Family::of(relayed.ip())));
    span.texts("relayd.turn.relayed_families", families.map(str::to_owned));
    let addresses = end.relayed.iter().map(ToString::to_string);
    span.texts("relayd.turn.relayed_addresses", addresses);
    span.whole("relayd.turn.to_peer_packets", end.to_peer_packets);
    span.whole("relayd.turn.to_peer_bytes", end.to_peer_bytes);
    span.whole("relayd.turn.to_client_packets", end.to_client_packets);
    span.whole("relayd.turn.to_client_bytes", end.to_client_bytes);
    span.text("relayd.turn.end", end.reason.label());
    if let Some(quality) = &end.quality {
        let [client, peer] = [Side::Client, Side::Peer].map(|side| quality.side(side));
        span.number("relayd.quality.client.loss_ratio", client.loss_ratio());
        span.number("relayd.quality.client.jitter_ms", client.jitter_ms());
        span.number(
            "relayd.quality.client.round_trip_ms",
            client.round_trip_ms(),
        );
        span.number("relayd.quality.peer.loss_ratio", peer.loss_ratio());
        span.number("relayd.quality.peer.jitter_ms", peer.jitter_ms());
        span.number("relayd.quality.peer.round_trip_ms", peer.round_trip_ms());
    }
    tracer.finish(span);
}

fn carried_by(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp | Transport::Tls => "tcp",
    }
}

fn family(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}
