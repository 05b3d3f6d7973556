//! The packet path.

use super::*;
use crate::stun::framing::{Framing, next};
use crate::turn::Icmp;

fn v6(world: &mut World) -> Client {
    let mut client = Client::new(1);
    let family = RequestedAddressFamily::new(stun_types::AddressFamily::IPV6);
    assert_eq!(client.allocate(world, &[&family]).code(), 0);
    client
}

#[test]
fn data_without_a_channel_comes_as_a_data_indication_in_both_families() {
    let mut world = World::new();
    let mut client = world.allocated();
    client.permit(&mut world, PEER);
    for len in [0, 1, 2, 3, 4, 1200] {
        let payload = vec![9; len];
        let verdict = world.peer_sends(client.relay(), PEER, &payload);
        let bytes = delivered(&verdict, &payload);
        assert_eq!(data_indication(&bytes), (addr(PEER), payload));
    }
    let mut world = World::new();
    let mut client = v6(&mut world);
    client.permit(&mut world, PEER6);
    let verdict = world.peer_sends(client.relay(), PEER6, b"hello");
    assert_eq!(
        data_indication(&delivered(&verdict, b"hello")),
        (addr(PEER6), b"hello".to_vec())
    );
    assert_eq!(
        client.send(&mut world, PEER6, b"hi"),
        client.to_peer(PEER6, 48..50)
    );
}

#[test]
fn two_data_indications_have_two_transaction_ids() {
    let mut world = World::new();
    let mut client = world.allocated();
    client.permit(&mut world, PEER);
    let mut id = || {
        let verdict = world.peer_sends(client.relay(), PEER, b"");
        delivered(&verdict, b"")[8..20].to_vec()
    };
    assert_ne!(id(), id());
}

#[test]
fn everything_for_a_stream_client_is_framed_and_padded() {
    for transport in [Transport::Tcp, Transport::Tls] {
        let mut world = World::new();
        let mut client = Client::at("11.0.0.1:7", SERVER, transport);
        client.allocate(&mut world, &[]);
        client.bind(&mut world, 0x4000, PEER);
        for (from, payload) in [(PEER, &b"hello"[..]), ("8.8.8.8:1", b"x"), (PEER, b"")] {
            let verdict = world.peer_sends(client.relay(), from, payload);
            let bytes = delivered(&verdict, payload);
            let Ok(Framing::Message { padded_len, .. }) = next(&bytes) else {
                panic!("a whole frame");
            };
            assert_eq!(padded_len, bytes.len());
        }
    }
    let mut world = World::new();
    let mut client = world.allocated();
    client.bind(&mut world, 0x4000, PEER);
    let verdict = world.peer_sends(client.relay(), PEER, b"hello");
    assert_eq!(
        delivered(&verdict, b"hello").len(),
        9,
        "no padding over UDP"
    );
}

#[test]
fn a_reply_goes_by_the_link_and_from_the_address_of_its_allocation() {
    let mut world = World::new();
    let mut client = world.allocated();
    client.permit(&mut world, PEER);
    let Verdict::ToClient { client: to, .. } = world.peer_sends(client.relay(), PEER, b"") else {
        panic!("for the client");
    };
    assert_eq!((to.link, to.five_tuple), (LinkId(7), client.tuple));
}

#[test]
fn dont_fragment_in_a_send_indication_is_for_that_datagram() {
    let mut world = World::new();
    let mut client = world.allocated();
    client.permit(&mut world, PEER);
    let bytes = send_indication(PEER, b"hi", &[&DontFragment::new()]);
    let verdict = world.verdict(&client.tuple, &bytes);
    let Verdict::ToPeer {
        dont_fragment,
        payload,
        ..
    } = verdict
    else {
        panic!("for the peer: {verdict:?}");
    };
    assert!(dont_fragment);
    assert_eq!(&bytes[payload], b"hi");
}

#[test]
fn padding_after_channel_data_on_udp_is_ignored() {
    let mut world = World::new();
    let mut client = world.allocated();
    client.bind(&mut world, 0x4000, PEER);
    let mut bytes = channel_data(0x4000, b"hello");
    bytes.extend([0; 3]);
    assert_eq!(
        world.verdict(&client.tuple, &bytes),
        client.to_peer(PEER, 4..9)
    );
}

#[test]
fn an_icmp_error_is_told_for_a_permitted_peer() {
    let mut world = World::new();
    let mut client = world.allocated();
    let unreachable = Icmp {
        kind: 3,
        code: 3,
        data: 77,
    };
    let too_big = Icmp {
        kind: 3,
        code: 4,
        data: 1400,
    };
    let told = |world: &mut World, icmp| {
        let relay = client.relay();
        world.server.handle_icmp(world.now, relay, peer(PEER), icmp);
        world.drain()
    };
    assert!(told(&mut world, unreachable).is_empty(), "no permission");
    client.clone().permit(&mut world, PEER);
    assert_eq!(
        told(
            &mut world,
            Icmp {
                kind: 8,
                code: 0,
                data: 0
            }
        ),
        Vec::<Vec<u8>>::new()
    );
    for (icmp, value) in [
        (unreachable, [0, 0, 6, 3, 0, 0, 0, 0]),
        (too_big, [0, 0, 6, 4, 0, 0, 5, 120]),
    ] {
        let replies = told(&mut world, icmp);
        let answer = Answered(replies[0].clone());
        let message = answer.message();
        assert!(message.has_method(turn_types::message::DATA));
        let about = message.attribute::<XorPeerAddress>().expect("a peer");
        assert_eq!(about.addr(message.transaction_id()), addr(PEER));
        let raw = message
            .raw_attribute(AttributeType::new(0x8004))
            .expect("ICMP");
        assert_eq!(
            *raw.value, value,
            "RFC 8656 §18.13: 7 bits of type, 9 of code"
        );
        assert!(!message.has_attribute(Data::TYPE));
    }
    assert_eq!(world.server.counters().icmp_indications, 2);
    client.relay = None;
}

#[test]
fn traffic_is_counted_as_payload() {
    let mut world = World::new();
    let mut client = world.allocated();
    client.bind(&mut world, 0x4000, PEER);
    client.channel_data(&mut world, 0x4000, b"12345");
    client.send(&mut world, PEER, b"123");
    world.peer_sends(client.relay(), PEER, b"1234567");
    let counted = Traffic {
        to_peer_packets: 2,
        to_peer_bytes: 8,
        to_client_packets: 1,
        to_client_bytes: 7,
    };
    assert_eq!(world.server.counters().traffic(), counted);
    let snapshot = world.server.allocations().next().expect("one");
    assert_eq!(snapshot.traffic, counted);
    assert_eq!((snapshot.permissions, snapshot.channels), (1, 1));
}

#[test]
fn what_cannot_be_relayed_is_dropped_and_counted_by_its_reason() {
    let mut world = World::new();
    let mut client = world.allocated();
    client.permit(&mut world, PEER);
    let stranger = Client::new(2);
    let relay = client.relay();
    let unknown = RawAttribute::new(AttributeType::new(0x7abc), &[]);
    let mut broken = send_indication(PEER, b"hi", &[]);
    broken[21] ^= 1;
    let cases = [
        (
            stranger.send(&mut world, PEER, b""),
            DropReason::NoAllocation,
        ),
        (
            stranger.channel_data(&mut world, 0x4000, b""),
            DropReason::NoAllocation,
        ),
        (
            client.channel_data(&mut world, 0x4000, b""),
            DropReason::NoChannel,
        ),
        (
            client.send(&mut world, "9.9.9.9:1", b""),
            DropReason::NoPermission,
        ),
        (
            client.send(&mut world, "8.8.8.8:0", b""),
            DropReason::PeerDenied,
        ),
        (
            client.send(&mut world, PEER6, b""),
            DropReason::FamilyMismatch,
        ),
        (
            world.verdict(&client.tuple, &send_indication(PEER, b"", &[&unknown])),
            DropReason::UnknownAttribute,
        ),
        (world.verdict(&client.tuple, &broken), DropReason::Malformed),
        (
            world.verdict(&client.tuple, &[0x40, 0, 0, 9, 1]),
            DropReason::Malformed,
        ),
        (
            world.verdict(&client.tuple, b"\xffgarbage"),
            DropReason::Unrecognized,
        ),
        (world.verdict(&client.tuple, b""), DropReason::Unrecognized),
        (
            world.peer_sends(relay, "9.9.9.9:1", b""),
            DropReason::NoPermission,
        ),
        (
            world.peer_sends(RelayId(999), PEER, b""),
            DropReason::NoRelay,
        ),
        (
            world.peer_sends(relay, PEER, &vec![0; 65530]),
            DropReason::Oversized,
        ),
    ];
    let mut counted = std::collections::HashMap::new();
    for (verdict, reason) in cases {
        assert_eq!(verdict, Verdict::Drop(reason));
        *counted.entry(reason).or_insert(0) += 1;
    }
    for (reason, count) in counted {
        assert_eq!(world.drops(reason), count, "{}", reason.label());
    }
}

#[test]
fn only_what_breaks_the_framing_closes_a_stream() {
    let closing: Vec<_> = DropReason::ALL
        .into_iter()
        .filter(|r| r.closes_stream())
        .collect();
    assert_eq!(closing, [DropReason::Unrecognized]);
}

#[test]
fn labels_of_closed_enums_are_distinct() {
    let labels: std::collections::HashSet<_> = DropReason::ALL.iter().map(|r| r.label()).collect();
    assert_eq!(labels.len(), DropReason::ALL.len());
    for (index, reason) in DropReason::ALL.into_iter().enumerate() {
        assert_eq!(reason.index(), index);
    }
}

#[test]
fn a_channel_path_comes_up_once_and_goes_down_with_its_permission() {
    let mut world = World::new();
    let mut client = world.allocated();
    world.events.clear();
    client.bind(&mut world, 0x4000, PEER);
    client.bind(&mut world, 0x4000, PEER);
    let path = ChannelPath {
        client: ClientRef {
            link: LinkId(7),
            five_tuple: client.tuple,
        },
        relay: client.relay(),
        channel: 0x4000,
        peer: peer(PEER),
    };
    assert_eq!(world.events, [Output::PathUp(path)]);
    world.pass(seconds(300));
    assert_eq!(world.events, [Output::PathUp(path), Output::PathDown(path)]);
    world.events.clear();
    client.permit(&mut world, PEER);
    assert_eq!(world.events, [Output::PathUp(path)]);
    world.events.clear();
    client.refresh(&mut world, 0);
    assert_eq!(world.events[0], Output::PathDown(path));
}

#[test]
fn no_path_comes_up_for_a_stream_or_for_a_peer_on_an_own_relay() {
    let mut world = World::new();
    let mut stream = Client::at("11.0.0.1:7", SERVER, Transport::Tcp);
    stream.allocate(&mut world, &[]);
    stream.bind(&mut world, 0x4000, PEER);
    let mut client = world.allocated();
    client.bind(&mut world, 0x4000, "9.1.1.1:50000");
    let paths = world
        .events
        .iter()
        .filter(|event| matches!(event, Output::PathUp(_)));
    assert_eq!(paths.count(), 0);
}
