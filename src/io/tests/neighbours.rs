//! Clients that are each other's peers on one server: what they see is what the wire would have brought.

use super::client::{Client, Link, channel_data, data_indication};
use super::{Running, serve, settings, until};
use crate::io::Settings;
use std::net::SocketAddr;

const HANDED_OVER: &str = "relayd_media_handed_over_datagrams_total";
const RELAYS_RECEIVED: &str = "relayd_media_received_datagrams_total{socket=\"relay\"}";

/// Payload lengths with every padding, beyond a slot, and none at all.
const LENGTHS: [usize; 8] = [0, 1, 2, 3, 172, 1200, 2045, 9000];

#[test]
fn a_client_reaches_another_over_every_pair_of_transports_without_a_relay_socket() {
    let server = serve(settings());
    call(&server, server.udp_client(), server.udp_client());
    call(&server, server.udp_client(), server.tcp_client());
    call(&server, server.tcp_client(), server.udp_client());
    call(&server, server.tcp_client(), server.tls_client());
    assert_eq!(server.metric(RELAYS_RECEIVED), 0);
    until("the counts are published", || {
        let same = format!("{HANDED_OVER}{{way=\"same_worker\"}}");
        server.metric(&same) == 4 * 4 * LENGTHS.len() as u64
    });
}

/// RFC 8656 §9: what has no permission is dropped, whichever way it came.
#[test]
fn a_neighbour_without_permission_is_not_heard() {
    let server = serve(settings());
    let (mut alice, mut bob) = (server.udp_client(), server.udp_client());
    let (alice_at, bob_at) = (relayed(&mut alice), relayed(&mut bob));
    alice.bind_channel(0x4000, bob_at).expect("bound");
    alice.send_channel(0x4000, b"unasked");
    let drops = "relayd_turn_dropped_packets_total{reason=\"no_permission\"}";
    until("the drop is counted", || server.metric(drops) == 1);
    bob.bind_channel(0x4001, alice_at).expect("bound");
    alice.send_channel(0x4000, b"asked");
    assert_eq!(bob.receive(), Some(channel_data(0x4001, b"asked")));
}

/// A port whose allocation has ended is nobody's: the packet goes to the kernel, as to any peer.
#[test]
fn a_neighbour_that_has_gone_is_reached_no_more_and_its_successor_not_by_mistake() {
    let server = serve(settings());
    let (mut alice, mut bob) = (server.udp_client(), server.udp_client());
    let (alice_at, bob_at) = (relayed(&mut alice), relayed(&mut bob));
    alice.bind_channel(0x4000, bob_at).expect("bound");
    bob.bind_channel(0x4001, alice_at).expect("bound");
    alice.send_channel(0x4000, b"while it lives");
    assert_eq!(bob.receive(), Some(channel_data(0x4001, b"while it lives")));
    bob.refresh(0).expect("ended");
    alice.send_channel(0x4000, b"too late");
    let denied = "relayd_turn_dropped_packets_total{reason=\"peer_denied\"}";
    let sent = "relayd_media_sent_datagrams_total{socket=\"relay\"}";
    until("it is denied, or sent to nobody", || {
        server.metric(denied) + server.metric(sent) == 1
    });
}

/// The kernel chooses each client's worker: with so many clients there are pairs on one worker and on two.
#[test]
fn clients_of_two_workers_reach_each_other() {
    const PAIRS: usize = 32;
    let server = serve(Settings {
        workers: 2,
        ..settings()
    });
    let mut pairs: Vec<_> = (0..PAIRS)
        .map(|_| {
            let (mut alice, mut bob) = (server.udp_client(), server.tcp_client());
            let (alice_at, bob_at) = (relayed(&mut alice), relayed(&mut bob));
            alice.bind_channel(0x4000, bob_at).expect("bound");
            bob.permit(alice_at).expect("permitted");
            (alice, alice_at, bob, bob_at)
        })
        .collect();
    for len in LENGTHS {
        for (pair, (alice, alice_at, bob, bob_at)) in pairs.iter_mut().enumerate() {
            let payload = payload(pair, len);
            alice.send_channel(0x4000, &payload);
            let received = data_indication(&bob.receive().expect("relayed"));
            assert_eq!(received, (*alice_at, payload.clone()));
            bob.send_indication(*alice_at, &payload, false);
            assert_eq!(alice.receive(), Some(channel_data(0x4000, &payload)));
            assert_ne!(alice_at, bob_at);
        }
    }
    let by = |way: &str| server.metric(&format!("{HANDED_OVER}{{way=\"{way}\"}}"));
    until("the counts are published", || {
        by("same_worker") + by("other_worker") == (2 * PAIRS * LENGTHS.len()) as u64
    });
    assert!(by("other_worker") > 0, "no pair was on two workers");
    assert_eq!(server.metric(RELAYS_RECEIVED), 0);
}

/// Many frames in one segment: those in front of a frame that gets a longer header must arrive whole.
#[test]
fn frames_that_arrive_together_do_not_spoil_each_other() {
    let server = serve(settings());
    let (mut alice, mut bob) = (server.tcp_client(), server.udp_client());
    let (alice_at, bob_at) = (relayed(&mut alice), relayed(&mut bob));
    alice.bind_channel(0x4000, bob_at).expect("bound");
    bob.permit(alice_at).expect("permitted");
    let frames: Vec<Vec<u8>> = (0..50).map(|n| payload(n, 20 + n % 5)).collect();
    let mut together = Vec::new();
    for frame in &frames {
        together.extend(channel_data(0x4000, frame));
        together.resize(together.len().next_multiple_of(4), 0);
    }
    alice.link.send(&together);
    for frame in &frames {
        let received = data_indication(&bob.receive().expect("relayed"));
        assert_eq!(received, (alice_at, frame.clone()));
    }
}

/// Both ways, by channel on one side and by indication on the other.
fn call<A: Link, B: Link>(server: &Running, mut alice: Client<A>, mut bob: Client<B>) {
    let (alice_at, bob_at) = (relayed(&mut alice), relayed(&mut bob));
    alice.bind_channel(0x4000, bob_at).expect("bound");
    bob.permit(alice_at).expect("permitted");
    for len in LENGTHS {
        let payload = payload(len, len);
        alice.send_channel(0x4000, &payload);
        let received = data_indication(&bob.receive().expect("relayed"));
        assert_eq!(received, (alice_at, payload.clone()), "{len} bytes");
        bob.send_indication(alice_at, &payload, false);
        assert_eq!(alice.receive(), Some(channel_data(0x4000, &payload)));
    }
    bob.bind_channel(0x4abc, alice_at).expect("bound");
    for len in LENGTHS {
        let payload = payload(len + 1, len);
        alice.send_channel(0x4000, &payload);
        assert_eq!(bob.receive(), Some(channel_data(0x4abc, &payload)));
        bob.send_channel(0x4abc, &payload);
        assert_eq!(alice.receive(), Some(channel_data(0x4000, &payload)));
    }
    assert_eq!(
        server.metric("relayd_media_unsent_datagrams_total{reason=\"failed\"}"),
        0
    );
}

fn relayed<L: Link>(client: &mut Client<L>) -> SocketAddr {
    client.allocate(&[]).expect("allocated")
}

fn payload(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 31 + seed * 7) as u8).collect()
}
