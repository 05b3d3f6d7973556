//! Refresh, expiry, ends, and Binding.

use super::*;
use stun_types::message::BINDING;

#[test]
fn an_allocation_lives_until_its_last_moment_and_no_longer() {
    let mut world = World::new();
    let mut client = world.allocated();
    client.permit(&mut world, PEER);
    world.pass(seconds(299));
    client.permit(&mut world, PEER);
    world.pass(seconds(300) + Duration::from_millis(999));
    assert_eq!(world.server.allocation_count(), 1);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.server.allocation_count(), 0);
    let end = &world.ends()[0];
    assert_eq!(
        (end.reason, end.duration),
        (EndReason::Expired, seconds(600))
    );
    assert!(world.ports.open.is_empty());
}

/// Firefox refreshes 10 s before the end.
#[test]
fn a_refresh_in_time_keeps_it_and_tells_the_lifetime() {
    let mut world = World::new();
    let mut client = world.allocated();
    for _ in 0..5 {
        client.challenge(&mut world);
        let answer = client.ask(&mut world, REFRESH, &[&Lifetime::new(3600)]);
        assert_eq!((answer.code(), answer.lifetime()), (0, 3600));
        world.pass(seconds(3590));
    }
    client.challenge(&mut world);
    let answer = client.ask(&mut world, REFRESH, &[]);
    assert_eq!(answer.lifetime(), 600);
    world.pass(seconds(600));
    assert_eq!(world.server.allocation_count(), 0);
}

#[test]
fn lifetime_0_ends_it_and_frees_port_and_5_tuple_at_once() {
    let mut world = World::new();
    let mut client = world.allocated();
    let answer = client.ask(&mut world, REFRESH, &[&Lifetime::new(0)]);
    assert_eq!((answer.code(), answer.lifetime()), (0, 0));
    assert!(world.ports.open.is_empty());
    assert_eq!(world.ends()[0].reason, EndReason::Deleted);
    let gone = world.peer_sends(client.relay(), PEER, b"");
    assert_eq!(gone, Verdict::Drop(DropReason::NoRelay));
    assert_eq!(client.refresh(&mut world, 0), 437);
    assert_eq!(client.allocate(&mut world, &[]).code(), 0);
}

#[test]
fn an_expired_allocation_is_gone_even_before_the_timer_runs() {
    let mut world = World::new();
    let mut client = world.allocated();
    client.permit(&mut world, PEER);
    client.challenge(&mut world);
    world.now = world.now.advanced(seconds(600));
    let late = client.send(&mut world, PEER, b"");
    assert_eq!(late, Verdict::Drop(DropReason::NoAllocation));
    let late = world.peer_sends(client.relay(), PEER, b"");
    assert_eq!(late, Verdict::Drop(DropReason::NoRelay));
    client.challenge(&mut world);
    assert_eq!(client.allocate(&mut world, &[]).code(), 0);
    assert_eq!(world.ends()[0].reason, EndReason::Expired);
}

#[test]
fn a_closed_connection_frees_its_allocation_at_once() {
    let mut world = World::new();
    let mut client = Client::at("11.0.0.1:7", SERVER, Transport::Tls);
    client.allocate(&mut world, &[]);
    world.server.handle_closed(world.now, &client.tuple);
    world.drain();
    assert!(world.ports.open.is_empty());
    let end = &world.ends()[0];
    assert_eq!(
        (end.reason, end.transport),
        (EndReason::Disconnected, Transport::Tls)
    );
    world.server.handle_closed(world.now, &client.tuple);
    assert_eq!(world.ends().len(), 1);
}

/// RFC 8656 §8.2: REQUESTED-ADDRESS-FAMILY in Refresh is about that family alone.
#[test]
fn one_family_of_two_can_be_refreshed_and_ended() {
    let family = |v6: bool| {
        RequestedAddressFamily::new(if v6 {
            stun_types::AddressFamily::IPV6
        } else {
            stun_types::AddressFamily::IPV4
        })
    };
    let mut world = World::new();
    let mut client = Client::new(1);
    let both = AdditionalAddressFamily::new(stun_types::AddressFamily::IPV6);
    client.allocate(&mut world, &[&both]);
    client.bind(&mut world, 0x4000, PEER);
    client.bind(&mut world, 0x4001, PEER6);
    let code = client.code(&mut world, REFRESH, &[&Lifetime::new(0), &family(false)]);
    assert_eq!(code, 0);
    assert_eq!(world.ports.open.len(), 1);
    assert_eq!(
        client.channel_data(&mut world, 0x4000, b""),
        Verdict::Drop(DropReason::NoChannel)
    );
    assert!(matches!(
        client.channel_data(&mut world, 0x4001, b""),
        Verdict::ToPeer { .. }
    ));
    let code = client.code(&mut world, REFRESH, &[&family(false)]);
    assert_eq!(code, 443);
    let code = client.code(&mut world, REFRESH, &[&Lifetime::new(3600), &family(true)]);
    assert_eq!(code, 0);
    world.pass(seconds(3599));
    assert_eq!(world.server.allocation_count(), 1);
    world.pass(seconds(1));
    let end = &world.ends()[0];
    assert_eq!(end.relayed.len(), 2, "the log line tells both");
}

#[test]
fn families_that_were_refreshed_apart_expire_apart() {
    let mut world = World::new();
    let mut client = Client::new(1);
    let both = AdditionalAddressFamily::new(stun_types::AddressFamily::IPV6);
    client.allocate(&mut world, &[&both]);
    let v4 = RequestedAddressFamily::new(stun_types::AddressFamily::IPV4);
    client.code(&mut world, REFRESH, &[&Lifetime::new(1200), &v4]);
    world.pass(seconds(600));
    assert_eq!(world.ports.open.len(), 1);
    client.challenge(&mut world);
    assert_eq!(client.permit(&mut world, PEER6), 443);
    assert_eq!(client.permit(&mut world, PEER), 0);
    world.pass(seconds(600));
    assert_eq!(world.server.allocation_count(), 0);
}

#[test]
fn an_end_tells_everything_that_the_log_line_says() {
    let mut world = World::new();
    let mut client = world.allocated();
    client.bind(&mut world, 0x4000, PEER);
    client.channel_data(&mut world, 0x4000, b"12345");
    world.peer_sends(client.relay(), PEER, b"123");
    world.pass(seconds(42));
    client.refresh(&mut world, 0);
    let start = world.server.allocations().count();
    assert_eq!(start, 0);
    let end = world.ends().remove(0);
    let wanted = AllocationEnd {
        quality: None,
        id: end.id,
        username: "alice".to_owned(),
        transport: Transport::Udp,
        client: addr("11.0.0.1:1"),
        relayed: vec![RelayedAddr::new(addr("9.1.1.1:50000"))],
        to_peer_packets: 1,
        to_peer_bytes: 5,
        to_client_packets: 1,
        to_client_bytes: 3,
        duration: seconds(42),
        reason: EndReason::Deleted,
    };
    assert_eq!(end, wanted);
    assert_eq!(world.server.counters().ended(EndReason::Deleted), 1);
    assert_eq!(world.server.counters().started, 1);
}

#[test]
fn an_operator_can_end_one_and_a_stop_ends_all() {
    let mut world = World::new();
    for port in 1..=3 {
        Client::new(port).allocate(&mut world, &[]);
    }
    let id = world.server.allocations().next().expect("three").id;
    assert!(world.server.end(id));
    assert!(!world.server.end(id));
    world.drain();
    world.server.shutdown();
    world.drain();
    let reasons: Vec<_> = world.ends().iter().map(|end| end.reason).collect();
    assert_eq!(
        reasons,
        [EndReason::Revoked, EndReason::Stopped, EndReason::Stopped]
    );
    assert!(world.ports.open.is_empty());
    assert_eq!(world.shared.allocation_count(), 0);
}

#[test]
fn a_server_without_allocations_asks_for_no_timer() {
    let mut world = World::new();
    assert_eq!(world.server.poll_timeout(), None);
    for port in 1..=200 {
        let mut client = Client::new(port);
        client.allocate(&mut world, &[]);
        client.refresh(&mut world, 0);
    }
    assert_eq!(world.server.poll_timeout(), None);
}

#[test]
fn a_snapshot_tells_when_the_allocation_expires() {
    let mut world = World::new();
    let mut client = world.allocated();
    client.refresh(&mut world, 900);
    let snapshot = world.server.allocations().next().expect("one");
    assert_eq!(
        snapshot.expires_at,
        Some(world.now.instant() + seconds(900))
    );
    assert_eq!(snapshot.username, "alice");
    assert_eq!(snapshot.five_tuple, client.tuple);
}

#[test]
fn binding_is_open_to_everybody() {
    let mut world = World::new();
    for (client, server) in [("11.0.0.1:99", SERVER), ("[2620::1]:99", SERVER6)] {
        let mut client = Client::at(client, server, Transport::Udp);
        let bytes = client.plain(BINDING, &[]);
        let answer = world.ask(&client.tuple, &bytes);
        assert_eq!(answer.mapped(), client.tuple.client.socket_addr());
    }
    let counters = world.server.counters();
    assert_eq!(counters.requests(Method::Binding, Answer::Success), 2);
}

#[test]
fn binding_with_an_unknown_required_attribute_gets_420() {
    let mut world = World::new();
    let mut client = Client::new(1);
    let change_request = RawAttribute::new(AttributeType::new(3), &[0, 0, 0, 6]);
    let bytes = client.plain(BINDING, &[&change_request]);
    assert_eq!(world.ask(&client.tuple, &bytes).code(), 420);
}

#[test]
fn a_binding_indication_is_a_keepalive_without_answer() {
    let mut world = World::new();
    let client = Client::new(1);
    let bytes = [&[0, 0x11, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[5; 12]].concat();
    assert_eq!(world.verdict(&client.tuple, &bytes), Verdict::Consumed);
}

/// RFC 3489: no magic cookie, MAPPED-ADDRESS in plain.
#[test]
fn a_classic_binding_request_is_answered_in_kind() {
    let mut world = World::new();
    let client = Client::new(0x1234);
    let bytes = [&[0, 1, 0, 0][..], &[5; 16]].concat();
    let (_, replies) = world.send(&client.tuple, &bytes);
    assert_eq!(replies[0][..4], [1, 1, 0, 12]);
    assert_eq!(
        replies[0][20..],
        [0, 1, 0, 8, 0, 1, 0x12, 0x34, 11, 0, 0, 1]
    );
}
