//! Allocate, and the rows of the contract that speak of it.

use super::*;

fn v6() -> RequestedAddressFamily {
    RequestedAddressFamily::new(stun_types::AddressFamily::IPV6)
}

fn both() -> AdditionalAddressFamily {
    AdditionalAddressFamily::new(stun_types::AddressFamily::IPV6)
}

fn raw(kind: u16, value: &'static [u8]) -> RawAttribute<'static> {
    RawAttribute::new(AttributeType::new(kind), value)
}

#[test]
fn success_tells_relayed_and_mapped_address_and_lifetime() {
    let mut world = World::new();
    let mut client = Client::new(1);
    let answer = client.allocate(&mut world, &[]);
    assert_eq!(answer.relayed(), [addr("9.1.1.1:50000")]);
    assert_eq!(answer.mapped(), addr("11.0.0.1:1"));
    assert_eq!(answer.lifetime(), 600);
    assert_eq!(world.server.allocation_count(), 1);
    assert!(matches!(&world.events[..], [Output::Started(start)] if start.username == "alice"));
}

#[test]
fn the_default_family_is_ipv4_even_on_an_ipv6_listener() {
    let mut world = World::new();
    let mut client = Client::at("[2620::1]:5", SERVER6, Transport::Udp);
    let answer = client.allocate(&mut world, &[]);
    assert_eq!(answer.relayed(), [addr("9.1.1.1:50000")]);
}

#[test]
fn the_relay_is_bound_to_the_address_that_was_asked() {
    let mut world = World::with(|settings| settings.relay_addresses.fallback.clear());
    let mut client = Client::at("11.0.0.1:1", "9.7.7.7:3478", Transport::Udp);
    assert_eq!(client.allocate(&mut world, &[]).code(), 0);
    assert_eq!(world.ports.requests[0].ip, ip("9.7.7.7"));
}

/// The PROXY header tells the balancer's address, which is not this machine's.
#[test]
fn a_client_that_reached_a_balancer_gets_a_relay_of_this_machine() {
    let mut world = World::new();
    world.ports.foreign = vec![ip("9.8.8.8")];
    let mut client = Client::at("11.0.0.1:1", "9.8.8.8:443", Transport::Tls);
    let answer = client.allocate(&mut world, &[]);
    assert_eq!(answer.relayed(), [addr("9.1.1.1:50000")]);
    let mut world = World::with(|settings| settings.relay_addresses.fixed = vec![ip("9.8.8.8")]);
    world.ports.foreign = vec![ip("9.8.8.8")];
    let answer = Client::new(1).allocate(&mut world, &[]);
    assert_eq!(
        answer.code(),
        508,
        "what the operator fixed is not replaced"
    );
}

#[test]
fn the_relayed_address_is_told_in_its_external_form() {
    let mut world = World::with(|settings| {
        settings.external_ips.pairs = vec![(ip("203.0.113.7"), ip("9.1.1.1"))];
    });
    let mut client = Client::new(1);
    let answer = client.allocate(&mut world, &[]);
    assert_eq!(answer.relayed(), [addr("203.0.113.7:50000")]);
    assert_eq!(world.ports.requests[0].ip, ip("9.1.1.1"));
}

#[test]
fn a_retransmission_gets_the_same_success_again() {
    let mut world = World::new();
    let mut client = Client::new(1);
    client.challenge(&mut world);
    let bytes = client.signed(
        ALLOCATE,
        &[
            &RequestedTransport::new(17),
            &EvenPort::new(true),
            &Lifetime::new(900),
        ],
    );
    let first = world.ask(&client.tuple, &bytes);
    world.pass(seconds(5));
    let second = world.ask(&client.tuple, &bytes);
    assert_eq!(first.code(), 0);
    assert_eq!(first.0, second.0);
    assert_eq!(world.server.allocation_count(), 1);
    assert_eq!(world.ports.requests.len(), 1);
}

#[test]
fn a_second_allocate_on_a_5_tuple_gets_437() {
    let mut world = World::new();
    let mut client = world.allocated();
    assert_eq!(client.allocate(&mut world, &[]).code(), 437);
    assert_eq!(world.server.allocation_count(), 1);
}

#[test]
fn no_transport_gets_400_and_another_than_udp_442() {
    let mut world = World::new();
    let mut client = Client::new(1);
    client.challenge(&mut world);
    assert_eq!(client.code(&mut world, ALLOCATE, &[]), 400);
    let short = raw(0x0019, &[17]);
    assert_eq!(client.code(&mut world, ALLOCATE, &[&short]), 400);
    for protocol in [6, 0, 1, 255] {
        let transport = RequestedTransport::new(protocol);
        assert_eq!(client.code(&mut world, ALLOCATE, &[&transport]), 442);
    }
}

#[test]
fn lifetime_is_kept_between_default_and_maximum() {
    for (asked, granted) in [
        (0, 600),
        (1, 600),
        (601, 601),
        (3600, 3600),
        (u32::MAX, 3600),
    ] {
        let mut world = World::new();
        let mut client = Client::new(1);
        let answer = client.allocate(&mut world, &[&Lifetime::new(asked)]);
        assert_eq!(answer.lifetime(), granted, "asked for {asked}");
    }
}

#[test]
fn a_malformed_attribute_gets_400() {
    let malformed = [
        raw(0x000d, &[0, 0]),
        raw(0x0018, &[]),
        raw(0x0022, &[1, 2, 3]),
        raw(0x0017, &[1]),
        raw(0x8000, &[2, 0]),
    ];
    for attribute in &malformed {
        let mut world = World::new();
        let mut client = Client::new(1);
        assert_eq!(client.allocate(&mut world, &[attribute]).code(), 400);
        assert_eq!(world.server.allocation_count(), 0);
    }
}

#[test]
fn an_ipv6_relay_can_be_asked_for() {
    let mut world = World::new();
    let mut client = Client::new(1);
    let answer = client.allocate(&mut world, &[&v6()]);
    assert_eq!(answer.relayed(), [addr("[2600:9::1]:50000")]);
}

#[test]
fn a_family_that_does_not_exist_or_has_no_address_gets_440() {
    let mut world = World::with(|settings| {
        settings.relay_addresses.fallback.retain(IpAddr::is_ipv4);
    });
    let mut client = Client::new(1);
    assert_eq!(client.allocate(&mut world, &[&v6()]).code(), 440);
    let third = raw(0x0017, &[3, 0, 0, 0]);
    assert_eq!(client.allocate(&mut world, &[&third]).code(), 440);
}

#[test]
fn contradicting_families_get_400() {
    let mut world = World::new();
    let mut client = Client::new(1);
    let code = client.allocate(&mut world, &[&v6(), &both()]).code();
    assert_eq!(code, 400);
    let additional_v4 = raw(0x8000, &[1, 0, 0, 0]);
    assert_eq!(client.allocate(&mut world, &[&additional_v4]).code(), 400);
}

#[test]
fn both_families_are_allocated_together() {
    let mut world = World::new();
    let mut client = Client::new(1);
    let answer = client.allocate(&mut world, &[&both()]);
    let relayed = [addr("9.1.1.1:50000"), addr("[2600:9::1]:50002")];
    assert_eq!(answer.relayed(), relayed);
    assert!(!answer.has(AddressErrorCode::TYPE));
}

#[test]
fn of_both_families_one_is_enough_and_the_others_error_is_told() {
    let mut world = World::new();
    world.ports.fail_v6 = Some(BindError::PortsExhausted);
    let mut client = Client::new(1);
    let answer = client.allocate(&mut world, &[&both()]);
    assert_eq!(answer.relayed(), [addr("9.1.1.1:50000")]);
    let error = answer.message().attribute::<AddressErrorCode>();
    let error = error.expect("the other family's error");
    assert_eq!(error.family(), stun_types::AddressFamily::IPV6);
    assert_eq!(error.error().code(), 508);
}

#[test]
fn when_both_families_fail_the_request_fails_and_nothing_is_kept() {
    let mut world = World::new();
    world.ports.fail = Some(BindError::PortsExhausted);
    let mut client = Client::new(1);
    assert_eq!(client.allocate(&mut world, &[&both()]).code(), 508);
    assert_eq!(world.shared.allocation_count(), 0);
}

#[test]
fn no_port_left_gets_508() {
    for error in [
        BindError::PortsExhausted,
        BindError::FilesExhausted,
        BindError::AddressUnusable,
    ] {
        let mut world = World::new();
        world.ports.fail = Some(error);
        let mut client = Client::new(1);
        assert_eq!(client.allocate(&mut world, &[]).code(), 508);
        assert_eq!(world.shared.allocation_count(), 0);
        world.ports.fail = None;
        assert_eq!(
            client.allocate(&mut world, &[]).code(),
            0,
            "it may try again"
        );
    }
}

#[test]
fn the_port_after_an_even_one_waits_for_whoever_has_the_token() {
    let mut world = World::new();
    let mut first = Client::new(1);
    let answer = first.allocate(&mut world, &[&EvenPort::new(true)]);
    let PortWish::EvenAndNext { token, expires_at } = world.ports.requests[0].port else {
        panic!("an even port and the next");
    };
    assert_eq!(answer.token(), u64::from_be_bytes(token.0));
    assert_eq!(expires_at, world.now.instant() + seconds(30));
    let token = turn_types::attribute::ReservationToken::new(answer.token());
    let mut second = Client::new(2);
    let answer = second.allocate(&mut world, &[&token]);
    assert_eq!(answer.relayed(), [addr("9.1.1.1:50001")]);
    let mut third = Client::new(3);
    assert_eq!(third.allocate(&mut world, &[&token]).code(), 508, "used up");
}

#[test]
fn an_even_port_alone_reserves_nothing() {
    let mut world = World::new();
    let mut client = Client::new(1);
    let answer = client.allocate(&mut world, &[&EvenPort::new(false)]);
    assert_eq!(world.ports.requests[0].port, PortWish::Even);
    assert!(!answer.has(turn_types::attribute::ReservationToken::TYPE));
}

#[test]
fn a_token_goes_with_no_port_or_family_wish() {
    let token = turn_types::attribute::ReservationToken::new(7);
    let wishes: [&dyn AttributeWrite; 4] =
        [&EvenPort::new(false), &EvenPort::new(true), &v6(), &both()];
    for wish in wishes {
        let mut world = World::new();
        let mut client = Client::new(1);
        assert_eq!(client.allocate(&mut world, &[&token, wish]).code(), 400);
    }
    let mut world = World::new();
    let mut client = Client::new(1);
    assert_eq!(
        client.allocate(&mut world, &[&token]).code(),
        508,
        "unknown"
    );
}

#[test]
fn one_token_cannot_stand_for_two_families() {
    let mut world = World::new();
    let mut client = Client::new(1);
    let code = client
        .allocate(&mut world, &[&EvenPort::new(true), &both()])
        .code();
    assert_eq!(code, 400);
    let code = client
        .allocate(&mut world, &[&EvenPort::new(false), &both()])
        .code();
    assert_eq!(code, 0);
}

#[test]
fn dont_fragment_is_asked_of_the_driver_and_refused_with_420_where_it_cannot() {
    let mut world = World::new();
    let mut client = Client::new(1);
    world.ports.fail = Some(BindError::DontFragmentUnsupported);
    let answer = client.allocate(&mut world, &[&DontFragment::new()]);
    assert_eq!(answer.code(), 420);
    let unknown = answer.message().attribute::<UnknownAttributes>();
    assert!(unknown.expect("listed").has_attribute(DontFragment::TYPE));
    world.ports.fail = None;
    assert_eq!(
        client.allocate(&mut world, &[&DontFragment::new()]).code(),
        0
    );
    assert!(world.ports.requests[1].dont_fragment);
}

#[test]
fn an_unknown_required_attribute_gets_420_and_an_optional_one_is_ignored() {
    let mut world = World::new();
    let mut client = Client::new(1);
    let required = raw(0x7abc, &[]);
    let answer = client.allocate(&mut world, &[&required]);
    assert_eq!(answer.code(), 420);
    let unknown = answer.message().attribute::<UnknownAttributes>();
    assert!(
        unknown
            .expect("listed")
            .has_attribute(AttributeType::new(0x7abc))
    );
    let optional = raw(0xff05, &[1, 2, 3, 4]);
    assert_eq!(client.allocate(&mut world, &[&optional]).code(), 0);
}

#[test]
fn a_draining_server_refuses_new_allocations_and_serves_the_others() {
    let mut world = World::new();
    let mut client = world.allocated();
    world.server.set_draining();
    let mut late = Client::new(2);
    assert_eq!(late.allocate(&mut world, &[]).code(), 508);
    assert_eq!(client.refresh(&mut world, 600), 0);
    assert_eq!(client.permit(&mut world, PEER), 0);
}

#[test]
fn fingerprint_and_software_are_sent_where_they_belong() {
    let mut world = World::with(|settings| settings.software = Some("relayd".to_owned()));
    let mut client = Client::new(1);
    let challenge = client.challenge(&mut world);
    assert!(!challenge.has(Software::TYPE), "a challenge stays small");
    assert!(!challenge.has(Fingerprint::TYPE));
    client.fingerprint = true;
    let answer = client.allocate(&mut world, &[]);
    assert!(answer.has(Software::TYPE) && answer.has(Fingerprint::TYPE));
    let mut world = World::new();
    let answer = Client::new(1).allocate(&mut world, &[]);
    assert!(!answer.has(Software::TYPE) && !answer.has(Fingerprint::TYPE));
}

/// Binding is answered to everybody, and not limited.
#[test]
fn software_makes_no_reflector_of_binding() {
    let mut world = World::with(|settings| settings.software = Some("relayd".repeat(20)));
    let mut client = Client::new(1);
    let request = client.plain(stun_types::message::BINDING, &[]);
    let answer = world.ask(&client.tuple, &request);
    assert_eq!(answer.code(), 0);
    assert!(answer.0.len() < 3 * request.len(), "{}", answer.0.len());
}

#[test]
fn requests_without_an_allocation_get_437() {
    let mut world = World::new();
    let mut client = Client::new(1);
    client.challenge(&mut world);
    assert_eq!(client.refresh(&mut world, 600), 437);
    assert_eq!(client.refresh(&mut world, 0), 437);
    assert_eq!(client.permit(&mut world, PEER), 437);
    assert_eq!(client.bind(&mut world, 0x4000, PEER), 437);
    assert_eq!(client.code(&mut world, CONNECT, &[]), 437);
    assert_eq!(client.code(&mut world, CONNECTION_BIND, &[]), 437);
}

/// RFC 6062 §5.2 and §5.4, on an allocation that is not TCP.
#[test]
fn tcp_requests_on_a_udp_allocation_are_refused() {
    let mut world = World::new();
    let mut client = world.allocated();
    assert_eq!(client.code(&mut world, CONNECT, &[]), 400);
    assert_eq!(client.code(&mut world, CONNECTION_BIND, &[]), 400);
    assert_eq!(client.connect(&mut world, "8.8.8.8:80"), 437);
    assert_eq!(client.connect(&mut world, "10.0.0.1:80"), 403);
}
