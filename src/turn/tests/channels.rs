//! CreatePermission and ChannelBind.

use super::*;
use stun_types::message::TransactionId;

#[test]
fn a_permission_is_for_every_port_of_its_address_and_for_five_minutes() {
    let mut world = World::new();
    let mut client = world.allocated();
    assert_eq!(
        client.permit(&mut world, "8.8.8.8:0"),
        0,
        "the port does not matter"
    );
    assert_eq!(
        client.send(&mut world, PEER, b"hi"),
        client.to_peer(PEER, 36..38)
    );
    let other_port = client.send(&mut world, "8.8.8.8:9", b"hi");
    assert_eq!(other_port, client.to_peer("8.8.8.8:9", 36..38));
    world.pass(seconds(299));
    assert!(matches!(
        client.send(&mut world, PEER, b"hi"),
        Verdict::ToPeer { .. }
    ));
    world.pass(seconds(1));
    let late = client.send(&mut world, PEER, b"hi");
    assert_eq!(late, Verdict::Drop(DropReason::NoPermission));
}

#[test]
fn data_renews_no_permission_and_create_permission_does() {
    let mut world = World::new();
    let mut client = world.allocated();
    client.refresh(&mut world, 3600);
    client.permit(&mut world, PEER);
    for _ in 0..2 {
        world.pass(seconds(200));
        client.permit(&mut world, PEER);
    }
    for _ in 0..4 {
        world.pass(seconds(74));
        assert!(matches!(
            client.send(&mut world, PEER, b""),
            Verdict::ToPeer { .. }
        ));
        world.peer_sends(client.relay(), PEER, b"x");
    }
    world.pass(seconds(4));
    let late = client.send(&mut world, PEER, b"");
    assert_eq!(late, Verdict::Drop(DropReason::NoPermission));
}

#[test]
fn a_request_without_a_peer_or_with_a_malformed_one_gets_400() {
    let mut world = World::new();
    let mut client = world.allocated();
    assert_eq!(client.code(&mut world, CREATE_PERMISSION, &[]), 400);
    let malformed = RawAttribute::new(XorPeerAddress::TYPE, &[0, 1, 2]);
    assert_eq!(
        client.code(&mut world, CREATE_PERMISSION, &[&malformed]),
        400
    );
    let number = ChannelNumber::new(0x4000);
    assert_eq!(client.code(&mut world, CHANNEL_BIND, &[&number]), 400);
    assert_eq!(
        client.code(&mut world, CHANNEL_BIND, &[&number, &malformed]),
        400
    );
}

#[test]
fn all_peers_of_one_request_are_permitted_or_none() {
    let mut world = World::new();
    let mut client = world.allocated();
    let ask = |world: &mut World, client: &mut Client, peers: [&str; 2]| {
        let id = TransactionId::from(u128::MAX >> 40);
        let xored = peers.map(|peer| XorPeerAddress::new(addr(peer), id));
        let mut probe = client.clone();
        let own = probe.unsigned(CREATE_PERMISSION, &[]).transaction_id();
        let xored = xored.map(|peer| XorPeerAddress::new(peer.addr(id), own));
        client.code(world, CREATE_PERMISSION, &[&xored[0], &xored[1]])
    };
    assert_eq!(ask(&mut world, &mut client, [PEER, "10.0.0.1:1"]), 403);
    let dropped = client.send(&mut world, PEER, b"");
    assert_eq!(dropped, Verdict::Drop(DropReason::NoPermission));
    assert_eq!(ask(&mut world, &mut client, [PEER, "9.9.9.9:1"]), 0);
    for peer in [PEER, "9.9.9.9:1"] {
        assert!(matches!(
            client.send(&mut world, peer, b""),
            Verdict::ToPeer { .. }
        ));
    }
}

#[test]
fn a_peer_of_the_other_family_gets_443() {
    let mut world = World::new();
    let mut client = world.allocated();
    assert_eq!(client.permit(&mut world, PEER6), 443);
    assert_eq!(client.bind(&mut world, 0x4000, PEER6), 443);
    let dropped = client.send(&mut world, PEER6, b"");
    assert_eq!(dropped, Verdict::Drop(DropReason::FamilyMismatch));
}

#[test]
fn a_channel_carries_both_directions() {
    let mut world = World::new();
    let mut client = world.allocated();
    assert_eq!(client.bind(&mut world, 0x4001, PEER), 0);
    let sent = client.channel_data(&mut world, 0x4001, b"hello");
    assert_eq!(sent, client.to_peer(PEER, 4..9));
    let received = world.peer_sends(client.relay(), PEER, b"hello");
    assert_eq!(
        delivered(&received, b"hello"),
        channel_data(0x4001, b"hello")
    );
    let other_port = world.peer_sends(client.relay(), "8.8.8.8:1", b"x");
    let bytes = delivered(&other_port, b"x");
    assert_eq!(data_indication(&bytes), (addr("8.8.8.8:1"), b"x".to_vec()));
}

/// CLIENTS.md: coturn's client picks numbers up to 0x7FFF.
#[test]
fn every_number_from_0x4000_to_0x7fff_can_be_bound_and_no_other() {
    let mut world = World::new();
    let mut client = world.allocated();
    for (n, number) in [0x4000, 0x4fff, 0x5000, 0x7fff].into_iter().enumerate() {
        assert_eq!(
            client.bind(&mut world, number, &format!("8.8.8.8:{}", n + 1)),
            0
        );
    }
    for number in [0, 0x3fff, 0x8000, 0xffff] {
        assert_eq!(client.bind(&mut world, number, "8.8.8.8:99"), 400);
    }
}

#[test]
fn a_number_or_peer_that_is_bound_otherwise_gets_400() {
    let mut world = World::new();
    let mut client = world.allocated();
    assert_eq!(client.bind(&mut world, 0x4000, PEER), 0);
    assert_eq!(client.bind(&mut world, 0x4000, "9.9.9.9:1"), 400);
    assert_eq!(client.bind(&mut world, 0x4001, PEER), 400);
    assert_eq!(
        client.bind(&mut world, 0x4000, PEER),
        0,
        "renewing is no conflict"
    );
    let dropped = client.send(&mut world, "9.9.9.9:1", b"");
    assert_eq!(
        dropped,
        Verdict::Drop(DropReason::NoPermission),
        "a refusal permits nothing"
    );
}

/// RFC 8656 §12: ten minutes, then number and peer stay reserved for five more.
#[test]
fn an_expired_channels_number_and_peer_are_reserved_until_300_s_have_passed() {
    let mut world = World::new();
    let mut client = world.allocated();
    client.refresh(&mut world, 3600);
    client.bind(&mut world, 0x4000, PEER);
    world.pass(seconds(600));
    let late = client.channel_data(&mut world, 0x4000, b"");
    assert_eq!(late, Verdict::Drop(DropReason::NoChannel));
    client.challenge(&mut world);
    assert_eq!(client.bind(&mut world, 0x4000, "9.9.9.9:1"), 400);
    assert_eq!(client.bind(&mut world, 0x4001, PEER), 400);
    world.pass(seconds(299));
    assert_eq!(client.bind(&mut world, 0x4000, "9.9.9.9:1"), 400);
    world.pass(seconds(1));
    client.challenge(&mut world);
    assert_eq!(client.bind(&mut world, 0x4000, "9.9.9.9:1"), 0);
    assert_eq!(client.bind(&mut world, 0x4001, PEER), 0);
}

#[test]
fn a_reserved_channel_may_be_bound_to_its_own_peer_again() {
    let mut world = World::new();
    let mut client = world.allocated();
    client.refresh(&mut world, 3600);
    client.bind(&mut world, 0x4000, PEER);
    world.pass(seconds(700));
    client.challenge(&mut world);
    assert_eq!(client.bind(&mut world, 0x4000, PEER), 0);
    let sent = client.channel_data(&mut world, 0x4000, b"");
    assert_eq!(sent, client.to_peer(PEER, 4..4));
}

#[test]
fn channel_bind_renews_the_permission_which_ends_before_the_channel() {
    let mut world = World::new();
    let mut client = world.allocated();
    client.bind(&mut world, 0x4000, PEER);
    world.pass(seconds(200));
    client.bind(&mut world, 0x4000, PEER);
    world.pass(seconds(299));
    assert!(matches!(
        client.channel_data(&mut world, 0x4000, b""),
        Verdict::ToPeer { .. }
    ));
    assert!(matches!(
        world.peer_sends(client.relay(), PEER, b""),
        Verdict::ToClient { .. }
    ));
    world.pass(seconds(1));
    let reason = Verdict::Drop(DropReason::NoPermission);
    assert_eq!(client.channel_data(&mut world, 0x4000, b""), reason);
    assert_eq!(world.peer_sends(client.relay(), PEER, b""), reason);
    client.challenge(&mut world);
    client.permit(&mut world, PEER);
    assert!(matches!(
        client.channel_data(&mut world, 0x4000, b""),
        Verdict::ToPeer { .. }
    ));
}

/// CLIENTS.md: Firefox fails its whole TURN client on any error but 403.
#[test]
fn an_allocation_may_have_1024_permissions_and_no_more() {
    let mut world = World::new();
    let mut client = world.allocated();
    let peer = |n: u32| format!("8.8.{}.{}:1", n / 256, n % 256);
    for n in 0..1024 {
        assert_eq!(client.permit(&mut world, &peer(n)), 0);
    }
    assert_eq!(client.permit(&mut world, &peer(1024)), 508);
    assert_eq!(client.bind(&mut world, 0x4000, &peer(1024)), 508);
    assert_eq!(
        client.permit(&mut world, &peer(3)),
        0,
        "renewing needs no room"
    );
    let snapshot = world.server.allocations().next().expect("one");
    assert_eq!((snapshot.permissions, snapshot.channels), (1024, 0));
    world.pass(seconds(300));
    assert_eq!(
        client.permit(&mut world, &peer(1024)),
        0,
        "the others have ended"
    );
}

#[test]
fn an_allocation_may_have_1024_channels_and_no_more() {
    let mut world = World::new();
    let mut client = world.allocated();
    for n in 0..1024 {
        assert_eq!(
            client.bind(&mut world, 0x4000 + n, &format!("8.8.8.8:{}", n + 1)),
            0
        );
    }
    assert_eq!(client.bind(&mut world, 0x5000, "8.8.8.8:2000"), 508);
    assert_eq!(client.bind(&mut world, 0x4000, "8.8.8.8:1"), 0);
    let sent = client.channel_data(&mut world, 0x43ff, b"");
    assert_eq!(sent, client.to_peer("8.8.8.8:1024", 4..4));
    let received = world.peer_sends(client.relay(), "8.8.8.8:700", b"");
    assert_eq!(delivered(&received, b""), channel_data(0x4000 + 699, b""));
}

#[test]
fn an_ipv4_mapped_peer_is_the_ipv4_peer_that_it_is() {
    let mut world = World::new();
    let mut client = world.allocated();
    assert_eq!(client.permit(&mut world, "[::ffff:8.8.8.8]:5000"), 0);
    let sent = client.send(&mut world, PEER, b"");
    assert_eq!(sent, client.to_peer(PEER, 36..36));
    assert_eq!(client.permit(&mut world, "[::ffff:127.0.0.1]:5000"), 403);
}
