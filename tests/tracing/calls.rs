//! Allocations: one span each, when they have ended.

use super::collector::{assert_attributes, attribute, failed, of_kind};
use super::support::client::{Client, Kind, Wire};
use super::web::PATIENCE;
use super::{World, reload};
use std::net::UdpSocket;

fn client(world: &World, kind: Kind) -> Client {
    let server = match kind {
        Kind::Udp => world.relayd.udp,
        Kind::Tcp => world.relayd.tcp,
        Kind::Tls => world.relayd.tls,
    };
    let wire = Wire::open(kind, server).expect("a connection");
    Client::new(wire, "test", "test password")
}

#[test]
fn an_allocation_over_udp_is_one_span_with_what_it_relayed() {
    let world = World::new("");
    let mut turn = client(&world, Kind::Udp);
    let relayed = turn.allocate().expect("an allocation");
    let peer = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    peer.set_read_timeout(Some(PATIENCE)).expect("an option");
    let peer_addr = peer.local_addr().expect("an address");
    turn.permit(peer_addr).expect("a permission");
    turn.send_to(peer_addr, b"to the peer").expect("sent");
    let mut buf = [0; 64];
    let (got, from) = peer.recv_from(&mut buf).expect("the packet");
    assert_eq!((&buf[..got], from), (&b"to the peer"[..], relayed));
    for _ in 0..2 {
        peer.send_to(b"back", relayed).expect("sent");
        assert_eq!(turn.receive_data().expect("the packet").2, b"back");
    }
    turn.refresh(0).expect("an answer");
    let spans = world.collector.exactly(&["TURN allocation"]);
    let call = of_kind(&spans, 1);
    assert_attributes(
        call,
        &[
            ("client.address", "127.0.0.1"),
            ("network.protocol.name", "turn"),
            ("network.transport", "udp"),
            ("relayd.turn.allocation_id", "*"),
            ("relayd.turn.end", "deleted"),
            ("relayd.turn.relayed_addresses", &relayed.to_string()),
            ("relayd.turn.relayed_families", "ipv4"),
            ("relayd.turn.to_client_bytes", "8"),
            ("relayd.turn.to_client_packets", "2"),
            ("relayd.turn.to_peer_bytes", "11"),
            ("relayd.turn.to_peer_packets", "1"),
            ("relayd.turn.transport", "udp"),
            ("user.name", "test"),
        ],
    );
    assert_eq!(call.parent_span_id, Vec::<u8>::new());
    assert!(call.end_time_unix_nano > call.start_time_unix_nano);
    assert!(!failed(call));
}

/// The nth packet of a stream.
fn rtp(ssrc: u32, n: u16) -> Vec<u8> {
    let mut bytes = vec![0x80, 111];
    bytes.extend(n.to_be_bytes());
    bytes.extend((u32::from(n) * 960).to_be_bytes());
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend([0xa5; 40]);
    bytes
}

/// An ICE connectivity check, or the answer to it.
fn check(kind: u16) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend([0, 0, 0x21, 0x12, 0xa4, 0x42]);
    bytes.extend([9; 12]);
    bytes
}

#[test]
fn a_call_with_media_is_told_with_its_quality_of_both_sides() {
    let world = World::new("");
    let mut turn = client(&world, Kind::Udp);
    let relayed = turn.allocate().expect("an allocation");
    let far = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    far.set_read_timeout(Some(PATIENCE)).expect("an option");
    let far_addr = far.local_addr().expect("an address");
    turn.bind_channel(0x4001, far_addr).expect("a channel");
    let mut pass = |to_far: &[u8], to_client: &[u8]| {
        if !to_far.is_empty() {
            turn.send_channel(0x4001, to_far).expect("sent");
            far.recv_from(&mut [0; 1500]).expect("relayed");
        }
        far.send_to(to_client, relayed).expect("sent");
        assert_eq!(turn.receive_data().expect("relayed").2, to_client);
    };
    for n in 0..10 {
        // One of ten gets lost on its way from the client.
        let to_far = if n == 4 { Vec::new() } else { rtp(7, n) };
        pass(&to_far, &rtp(8, n));
    }
    pass(&check(0x0001), &check(0x0101));
    turn.refresh(0).expect("an answer");
    let spans = world.collector.exactly(&["TURN allocation"]);
    let quality = |name: &str| {
        let told = attribute(of_kind(&spans, 1), &format!("relayd.quality.{name}"));
        told.parse::<f64>().ok()
    };
    let loss = quality("client.loss_ratio").expect("there was media");
    assert!((loss - 0.1).abs() < 1e-6, "{loss}");
    assert_eq!(quality("peer.loss_ratio"), Some(0.0));
    let round_trip = quality("peer.round_trip_ms").expect("a check was answered");
    assert!(round_trip > 0.0, "{round_trip}");
    // The client was asked nothing.
    assert_eq!(quality("client.round_trip_ms"), None);
}

#[test]
fn a_call_over_tls_is_told_by_its_transport_and_its_end_and_privately_without_its_user() {
    let world = World::new("");
    let private =
        |file: String| file.replace("format = \"json\"", "format = \"json\"\nprivacy = true");
    reload(&world.relayd, private, "\"reloaded\"");
    let mut turn = client(&world, Kind::Tls);
    turn.allocate().expect("an allocation");
    drop(turn);
    let spans = world.collector.exactly(&["TURN allocation"]);
    let call = of_kind(&spans, 1);
    assert_eq!(attribute(call, "network.transport"), "tcp");
    assert_eq!(attribute(call, "relayd.turn.transport"), "tls");
    assert_eq!(attribute(call, "relayd.turn.end"), "disconnected");
    assert_eq!(attribute(call, "user.name"), "");
    assert_eq!(attribute(call, "client.address"), "");
}

#[test]
fn a_call_that_outlives_the_server_is_told_at_its_end() {
    let mut world = World::new("");
    let mut turn = client(&world, Kind::Udp);
    turn.allocate().expect("an allocation");
    world.relayd.signal("TERM");
    world
        .relayd
        .wait_for_log("line about the stop", |line| line.contains("stopping"));
    world.relayd.signal("TERM");
    assert_eq!(world.relayd.wait(), Some(0));
    let spans = world.collector.exactly(&["TURN allocation"]);
    assert_eq!(attribute(&spans[0], "relayd.turn.end"), "stopped");
}
