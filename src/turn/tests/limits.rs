//! Quotas, bandwidth, and the limiters of strangers.

use super::*;

#[test]
fn a_user_at_its_quota_gets_486_and_the_server_at_its_total_508() {
    let mut world = World::with(|settings| {
        settings.limits.allocations_per_user = 2;
        settings.limits.allocations_total = 3;
    });
    let mut alice = [1, 2, 3].map(Client::new);
    let codes = alice
        .each_mut()
        .map(|client| client.allocate(&mut world, &[]).code());
    assert_eq!(codes, [0, 0, 486]);
    let mut bob = [4, 5].map(|port| Client::new(port).named("bob", "builder"));
    let codes = bob
        .each_mut()
        .map(|client| client.allocate(&mut world, &[]).code());
    assert_eq!(codes, [0, 508]);
    alice[0].refresh(&mut world, 0);
    assert_eq!(
        alice[2].allocate(&mut world, &[]).code(),
        0,
        "its place is free"
    );
}

#[test]
fn quotas_hold_over_all_workers() {
    let mut world = World::with(|settings| settings.limits.allocations_per_user = 1);
    world.allocated();
    let mut elsewhere = worker(&world.settings, &world.shared, 9);
    std::mem::swap(&mut world.server, &mut elsewhere);
    world.ports = FakePorts::default();
    assert_eq!(Client::new(2).allocate(&mut world, &[]).code(), 486);
}

#[test]
fn a_time_limited_users_quota_is_its_names() {
    use crate::turn::credentials::time_limited_password;
    let secret = Secret::new("s");
    let mut world = World::with(|settings| {
        settings.auth_secrets = vec![secret.clone()];
        settings.limits.allocations_per_user = 1;
    });
    let mut code = |port, stamp: u64, name: &str| {
        let username = format!("{}:{name}", UNIX_S + stamp);
        let password = time_limited_password(&secret, &username);
        let mut client = Client::new(port).named(&username, &password);
        client.allocate(&mut world, &[]).code()
    };
    assert_eq!(code(1, 100, "ann"), 0);
    assert_eq!(code(2, 200, "ann"), 486);
    assert_eq!(code(3, 100, "bob"), 0);
}

/// Each limit alone: bytes that pass in ten seconds at a rate of 1000 a second, and why others do not.
#[test]
fn each_bandwidth_limit_holds_in_each_direction() {
    type Change = fn(&mut Limits);
    let limits: [(Change, DropReason); 3] = [
        (
            |l| l.bytes_per_s_per_allocation = 1000,
            DropReason::AllocationBandwidth,
        ),
        (|l| l.bytes_per_s_per_user = 1000, DropReason::UserBandwidth),
        (|l| l.bytes_per_s_total = 1000, DropReason::TotalBandwidth),
    ];
    for (change, reason) in limits {
        let mut world = World::with(|settings| change(&mut settings.limits));
        let mut client = world.allocated();
        client.bind(&mut world, 0x4000, PEER);
        let (mut to_peer, mut to_client) = (0, 0);
        for _ in 0..100 {
            for _ in 0..3 {
                match client.channel_data(&mut world, 0x4000, &[0; 100]) {
                    Verdict::ToPeer { .. } => to_peer += 100,
                    other => assert_eq!(other, Verdict::Drop(reason)),
                }
                match world.peer_sends(client.relay(), PEER, &[0; 100]) {
                    Verdict::ToClient { .. } => to_client += 100,
                    other => assert_eq!(other, Verdict::Drop(reason)),
                }
            }
            world.pass(Duration::from_millis(100));
        }
        for passed in [to_peer, to_client] {
            assert!(
                (10_000..=11_200).contains(&passed),
                "{passed} by {}",
                reason.label()
            );
        }
        assert!(world.drops(reason) > 0);
    }
}

#[test]
fn a_users_bandwidth_is_shared_by_its_allocations_and_no_one_elses() {
    let mut world = World::with(|settings| settings.limits.bytes_per_s_per_user = 1000);
    let mut clients = [
        Client::new(1),
        Client::new(2),
        Client::new(3).named("bob", "builder"),
    ];
    for client in &mut clients {
        client.allocate(&mut world, &[]);
        client.permit(&mut world, PEER);
    }
    let [one, two, bob] = clients;
    while one.send(&mut world, PEER, &[0; 100]) != Verdict::Drop(DropReason::UserBandwidth) {}
    let dropped = two.send(&mut world, PEER, b"x");
    assert_eq!(dropped, Verdict::Drop(DropReason::UserBandwidth));
    assert!(matches!(
        bob.send(&mut world, PEER, b"x"),
        Verdict::ToPeer { .. }
    ));
}

#[test]
fn strangers_are_answered_100_times_a_second_and_source() {
    let mut world = World::new();
    let mut answered = |address: &str| {
        let mut client = Client::at(address, SERVER, Transport::Udp);
        let bytes = client.plain(ALLOCATE, &[]);
        let mut count = 0;
        for _ in 0..1000 {
            let (verdict, replies) = world.send(&client.tuple, &bytes);
            count += replies.len();
            if replies.is_empty() {
                assert_eq!(verdict, Verdict::Drop(DropReason::UnauthenticatedRate));
            }
        }
        count
    };
    assert_eq!(answered("11.0.0.9:1"), 100);
    assert_eq!(answered("11.0.0.9:2"), 0, "another port of the same source");
    assert_eq!(answered("11.0.0.8:1"), 100, "another source");
}

/// Thousands of users behind one company address are our everyday case.
#[test]
fn a_source_that_authenticated_lately_is_not_limited() {
    let mut world = World::new();
    world.allocated();
    for port in 2..1000 {
        let code = Client::new(port).allocate(&mut world, &[]).code();
        assert_eq!(code, 0);
    }
    world.pass(seconds(2 * 3600));
    let mut client = Client::new(1);
    let bytes = client.plain(ALLOCATE, &[]);
    let answered = (0..1000).filter(|_| !world.send(&client.tuple, &bytes).1.is_empty());
    assert_eq!(answered.count(), 100, "long ago is not lately");
}

#[test]
fn the_limit_of_strangers_can_be_switched_off() {
    let mut world = World::with(|settings| settings.limits.unauthenticated_per_s_per_address = 0);
    let mut client = Client::new(1);
    let bytes = client.plain(ALLOCATE, &[]);
    assert!((0..1000).all(|_| !world.send(&client.tuple, &bytes).1.is_empty()));
}

#[test]
fn guesses_are_limited_by_source_and_username() {
    let mut world = World::new();
    let mut guesser = Client::new(1).named("alice", "guess");
    guesser.challenge(&mut world);
    for _ in 0..10 {
        let code = guesser.code(&mut world, ALLOCATE, &[&RequestedTransport::new(17)]);
        assert_eq!(code, 401);
    }
    let limited = Verdict::Drop(DropReason::FailedAuthenticationRate);
    let mut right = guesser.clone().named("alice", "wonderland");
    for client in [&mut guesser, &mut right] {
        let bytes = client.signed(ALLOCATE, &[&RequestedTransport::new(17)]);
        let (verdict, replies) = world.send(&client.tuple, &bytes);
        assert_eq!((verdict, replies.len()), (limited.clone(), 0));
    }
    let mut neighbour = Client::new(2).named("bob", "builder");
    assert_eq!(
        neighbour.allocate(&mut world, &[]).code(),
        0,
        "behind the same NAT"
    );
    let mut elsewhere = Client::at("11.0.0.7:1", SERVER, Transport::Udp);
    assert_eq!(
        elsewhere.allocate(&mut world, &[]).code(),
        0,
        "the same user"
    );
    world.pass(seconds(10));
    assert_eq!(right.allocate(&mut world, &[]).code(), 0);
}

/// One username for everybody, as SDKs with static credentials have it, and one client with an old password.
#[test]
fn a_username_that_works_from_a_source_is_not_locked_by_a_neighbour_that_has_it_wrong() {
    let mut world = World::new();
    world.allocated();
    let mut wrong = Client::new(2).named("alice", "old");
    wrong.challenge(&mut world);
    let udp = RequestedTransport::new(17);
    let mut flood = |world: &mut World, count: u16| {
        let mut answered = 0;
        for _ in 0..count {
            let bytes = wrong.signed(ALLOCATE, &[&udp]);
            answered += world.send(&wrong.tuple, &bytes).1.len();
        }
        answered
    };
    assert_eq!(flood(&mut world, 40), 40);
    assert_eq!(Client::new(3).allocate(&mut world, &[]).code(), 0);
    assert!(flood(&mut world, 1000) <= 60, "but guessing has a limit");
    world.pass(seconds(1));
    assert_eq!(Client::new(4).allocate(&mut world, &[]).code(), 0);
}

/// CLIENTS.md: a Refresh without answer drops the call.
#[test]
fn wrong_guesses_of_a_neighbour_do_not_touch_a_live_allocation() {
    let mut world = World::new();
    let mut client = world.allocated();
    let mut guesser = Client::new(2).named("alice", "guess");
    guesser.challenge(&mut world);
    let udp = RequestedTransport::new(17);
    for _ in 0..100 {
        let bytes = guesser.signed(ALLOCATE, &[&udp]);
        world.send(&guesser.tuple, &bytes);
    }
    assert!(world.drops(DropReason::FailedAuthenticationRate) > 0);
    assert_eq!(client.refresh(&mut world, 600), 0);
    assert_eq!(client.permit(&mut world, PEER), 0);
}

/// Of thousands of allocations that come and go nothing is kept for long.
#[test]
fn a_crowd_that_left_takes_no_room() {
    let mut world = World::new();
    world.checked = false;
    for round in 0..3_u16 {
        let mut clients: Vec<_> = (0..2000)
            .map(|port| Client::new(round * 3000 + port + 1))
            .collect();
        let mut nonce = String::new();
        for client in &mut clients {
            client.nonce = nonce.clone();
            assert_eq!(client.allocate(&mut world, &[]).code(), 0);
            nonce = client.nonce.clone();
        }
        for client in &mut clients {
            assert_eq!(client.refresh(&mut world, 0), 0);
        }
        assert_eq!(world.shared.allocation_count(), 0);
        world.server.assert_consistent();
    }
    assert_eq!(world.server.poll_timeout(), None);
}

/// A reserved port is a socket that is held; without this a quota of one would be a quota of all ports.
#[test]
fn a_reserved_port_counts_against_the_quota_of_who_reserved_it() {
    let mut world = World::with(|settings| settings.limits.allocations_per_user = 2);
    let pair = turn_types::attribute::EvenPort::new(true);
    let mut first = Client::new(1);
    let token = first.allocate(&mut world, &[&pair]).token();
    assert_eq!(first.refresh(&mut world, 0), 0);
    let mut second = Client::new(2);
    assert_eq!(second.allocate(&mut world, &[&pair]).code(), 486);
    let token = turn_types::attribute::ReservationToken::new(token);
    assert_eq!(Client::new(3).allocate(&mut world, &[&token]).code(), 0);
    assert_eq!(second.allocate(&mut world, &[&pair]).code(), 486);
    assert_eq!(second.allocate(&mut world, &[]).code(), 0);
}

#[test]
fn a_reservation_that_is_over_or_never_was_counts_for_nobody() {
    let mut world = World::with(|settings| settings.limits.allocations_per_user = 2);
    let pair = turn_types::attribute::EvenPort::new(true);
    let mut client = Client::new(1);
    world.ports.fail = Some(BindError::PortsExhausted);
    assert_eq!(client.allocate(&mut world, &[&pair]).code(), 508);
    world.ports.fail = None;
    for _ in 0..3 {
        assert_eq!(client.allocate(&mut world, &[&pair]).code(), 0);
        assert_eq!(client.refresh(&mut world, 0), 0);
        world.pass(seconds(30));
    }
}
