//! An allocation as a span, told of when it has ended: its transport, what it relayed, and why it ended.

use crate::addr::{Family, Transport};
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
