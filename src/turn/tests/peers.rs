//! The peer policy: safe by default, two clients of one relay, own addresses.

use super::*;
use crate::turn::policy::explain;

/// A second client's allocation on the same server.
fn second(world: &mut World) -> Client {
    let mut client = Client::new(2);
    assert_eq!(client.allocate(world, &[]).code(), 0);
    client
}

fn allow(settings: &mut Settings, allow: &[&str], deny: &[&str]) {
    let nets = |texts: &[&str]| {
        let parsed = texts.iter().map(|text| text.parse().expect("a network"));
        parsed.collect()
    };
    settings.peers = IpRules::new(nets(allow), nets(deny));
}

#[test]
fn a_denied_peer_gets_403_in_every_request_and_its_indications_are_dropped() {
    let mut world = World::new();
    let mut client = world.allocated();
    for denied in [
        "10.0.0.1:80",
        "127.0.0.1:80",
        "0.0.0.0:80",
        "169.254.169.254:80",
        "192.168.1.1:80",
        "100.64.0.1:80",
        "224.0.0.1:80",
        "255.255.255.255:80",
        "[::ffff:127.0.0.1]:80",
    ] {
        assert_eq!(client.permit(&mut world, denied), 403, "{denied}");
        assert_eq!(client.bind(&mut world, 0x4000, denied), 403, "{denied}");
        assert_eq!(client.connect(&mut world, denied), 403, "{denied}");
        assert!(matches!(
            client.send(&mut world, denied, b""),
            Verdict::Drop(_)
        ));
    }
}

#[test]
fn ipv6_forms_of_inner_addresses_are_denied() {
    let mut world = World::new();
    let mut client = Client::new(1);
    let v6 = RequestedAddressFamily::new(stun_types::AddressFamily::IPV6);
    client.allocate(&mut world, &[&v6]);
    for denied in [
        "[::1]:80",
        "[::]:80",
        "[fe80::1]:80",
        "[fd00::1]:80",
        "[ff02::1]:80",
        "[64:ff9b::7f00:1]:80",
        "[2002:7f00:1::]:80",
        "[::127.0.0.1]:80",
    ] {
        assert_eq!(client.permit(&mut world, denied), 403, "{denied}");
    }
    assert_eq!(client.permit(&mut world, PEER6), 0);
}

#[test]
fn port_0_is_denied_where_a_port_is_known() {
    let mut world = World::new();
    let mut client = world.allocated();
    assert_eq!(client.bind(&mut world, 0x4000, "8.8.8.8:0"), 403);
    assert_eq!(client.permit(&mut world, "8.8.8.8:0"), 0);
    let dropped = client.send(&mut world, "8.8.8.8:0", b"");
    assert_eq!(dropped, Verdict::Drop(DropReason::PeerDenied));
}

#[test]
fn the_operators_deny_beats_its_allow_which_opens_the_builtin_list() {
    let mut world = World::with(|settings| {
        allow(settings, &["10.0.0.0/8"], &["10.1.0.0/16", "8.8.4.0/24"]);
    });
    let mut client = world.allocated();
    assert_eq!(client.permit(&mut world, "10.2.0.1:1"), 0);
    assert_eq!(client.permit(&mut world, "10.1.0.1:1"), 403);
    assert_eq!(client.permit(&mut world, "8.8.4.4:1"), 403);
}

#[test]
fn two_clients_of_one_relay_reach_each_other_in_whatever_range_it_lies() {
    let mut world = World::with(|settings| {
        settings.relay_addresses.fixed = vec![ip("10.0.0.5")];
        allow(settings, &[], &["10.0.0.0/8"]);
    });
    let mut one = world.allocated();
    let mut two = second(&mut world);
    assert_eq!(two.relayed, Some(addr("10.0.0.5:50002")));
    assert_eq!(one.permit(&mut world, "10.0.0.5:50002"), 0);
    assert_eq!(two.bind(&mut world, 0x4000, "10.0.0.5:50000"), 0);
    let sent = one.send(&mut world, "10.0.0.5:50002", b"hi");
    assert_eq!(sent, one.to_peer("10.0.0.5:50002", 36..38));
    let received = world.peer_sends(two.relay(), "10.0.0.5:50000", b"hi");
    assert_eq!(delivered(&received, b"hi"), channel_data(0x4000, b"hi"));
}

#[test]
fn any_other_port_of_an_own_address_is_denied_and_one_that_ends_is_denied_at_once() {
    let mut world = World::new();
    let mut one = world.allocated();
    let mut two = second(&mut world);
    assert_eq!(one.permit(&mut world, "9.1.1.1:50002"), 0);
    assert!(matches!(
        one.send(&mut world, "9.1.1.1:50002", b""),
        Verdict::ToPeer { .. }
    ));
    let denied = Verdict::Drop(DropReason::PeerDenied);
    for port in [22, 443, 3478, 50004] {
        let peer = format!("9.1.1.1:{port}");
        assert_eq!(one.send(&mut world, &peer, b""), denied, "{peer}");
        assert_eq!(one.bind(&mut world, 0x4000, &peer), 403, "{peer}");
    }
    assert_eq!(two.refresh(&mut world, 0), 0);
    assert_eq!(one.send(&mut world, "9.1.1.1:50002", b""), denied);
}

#[test]
fn own_addresses_that_have_no_relay_yet_are_denied_too() {
    let mut world = World::with(|settings| {
        settings.relay_addresses.fallback.push(ip("9.5.5.5"));
        settings.external_ips.plain = vec![ip("9.6.6.6")];
    });
    let mut client = world.allocated();
    assert_eq!(client.permit(&mut world, "9.5.5.5:22"), 403);
    assert_eq!(client.bind(&mut world, 0x4000, "9.6.6.6:22"), 403);
}

#[test]
fn relays_of_another_worker_are_live_peers() {
    let mut world = World::new();
    let mut one = world.allocated();
    let mut elsewhere = worker(&world.settings, &world.shared, 9);
    std::mem::swap(&mut world.server, &mut elsewhere);
    let mut ports = std::mem::take(&mut world.ports);
    world.settings.relay_addresses.fixed = vec![ip("9.9.1.1")];
    world.reload(|_| {});
    let mut two = Client::new(2);
    two.allocate(&mut world, &[]);
    assert_eq!(two.relayed, Some(addr("9.9.1.1:50000")));
    std::mem::swap(&mut world.server, &mut elsewhere);
    std::mem::swap(&mut world.ports, &mut ports);
    assert_eq!(one.permit(&mut world, "9.9.1.1:50000"), 0);
    assert!(matches!(
        one.send(&mut world, "9.9.1.1:50000", b""),
        Verdict::ToPeer { .. }
    ));
    let denied = one.send(&mut world, "9.9.1.1:22", b"");
    assert_eq!(denied, Verdict::Drop(DropReason::PeerDenied));
}

#[test]
fn an_own_relay_is_named_and_shown_in_its_external_form() {
    for pairs in [true, false] {
        let mut world = World::with(|settings| {
            if pairs {
                settings.external_ips.pairs = vec![(ip("198.51.100.7"), ip("9.1.1.1"))];
            } else {
                settings.external_ips.plain = vec![ip("198.51.100.7")];
            }
        });
        let mut one = world.allocated();
        let mut two = second(&mut world);
        assert_eq!(two.relayed, Some(addr("198.51.100.7:50002")));
        assert_eq!(one.permit(&mut world, "198.51.100.7:50002"), 0);
        let sent = one.send(&mut world, "198.51.100.7:50002", b"hi");
        assert_eq!(
            sent,
            one.to_peer("9.1.1.1:50002", 36..38),
            "sent to the bound form"
        );
        two.permit(&mut world, "198.51.100.7:50000");
        let received = world.peer_sends(two.relay(), "9.1.1.1:50000", b"hi");
        let shown = data_indication(&delivered(&received, b"hi"));
        assert_eq!(shown, (addr("198.51.100.7:50000"), b"hi".to_vec()));
        assert_eq!(one.bind(&mut world, 0x4000, "198.51.100.7:22"), 403);
    }
}

#[test]
fn own_listeners_are_denied_even_under_an_allow() {
    let mut world = World::with(|settings| {
        allow(settings, &["9.1.1.0/24", "10.0.0.0/8"], &[]);
        settings.listeners = vec![addr("9.1.1.1:3478"), addr("10.0.0.9:443")];
    });
    let mut client = world.allocated();
    for listener in ["9.1.1.1:3478", "10.0.0.9:443"] {
        assert_eq!(client.bind(&mut world, 0x4000, listener), 403, "{listener}");
        assert_eq!(
            client.permit(&mut world, listener),
            0,
            "a permission knows no port"
        );
        let dropped = client.send(&mut world, listener, b"");
        assert_eq!(dropped, Verdict::Drop(DropReason::PeerDenied));
    }
    assert_eq!(
        client.bind(&mut world, 0x4000, "10.0.0.9:3478"),
        0,
        "another's port"
    );
    assert_eq!(
        client.bind(&mut world, 0x4001, "9.1.1.1:80"),
        0,
        "the allow covers it"
    );
}

#[test]
fn a_wildcard_listener_is_on_every_own_address() {
    let mut world = World::with(|settings| {
        allow(settings, &["9.1.1.0/24", "127.0.0.0/8"], &[]);
        settings.listeners = vec![addr("0.0.0.0:3478")];
    });
    let mut client = world.allocated();
    for listener in ["9.1.1.1:3478", "127.0.0.1:3478", "127.9.9.9:3478"] {
        assert_eq!(client.bind(&mut world, 0x4000, listener), 403, "{listener}");
    }
    assert_eq!(client.bind(&mut world, 0x4000, "8.8.8.8:3478"), 0);
}

#[test]
fn a_reload_judges_permissions_and_channels_anew() {
    let mut world = World::new();
    let mut client = world.allocated();
    client.bind(&mut world, 0x4000, PEER);
    world.reload(|settings| allow(settings, &[], &["8.8.8.0/24"]));
    let denied = Verdict::Drop(DropReason::PeerDenied);
    assert_eq!(client.channel_data(&mut world, 0x4000, b""), denied);
    assert_eq!(client.send(&mut world, PEER, b""), denied);
    assert_eq!(world.peer_sends(client.relay(), PEER, b""), denied);
    assert_eq!(client.bind(&mut world, 0x4000, PEER), 403);
    world.reload(|settings| allow(settings, &[], &[]));
    assert!(matches!(
        client.channel_data(&mut world, 0x4000, b""),
        Verdict::ToPeer { .. }
    ));
}

#[test]
fn the_verdict_and_the_rule_can_be_asked_for() {
    let mut settings = settings();
    allow(&mut settings, &["10.0.0.0/8"], &["10.1.0.0/16"]);
    let ask = |text: &str| explain(&settings, addr(text));
    assert_eq!(
        ask("8.8.8.8:1"),
        (true, "allowed: a public address".to_owned())
    );
    for (peer, allowed, word) in [
        ("8.8.8.8:0", false, "port 0"),
        ("10.2.0.1:1", true, "10.0.0.0/8"),
        ("10.1.0.1:1", false, "10.1.0.0/16"),
        ("[::ffff:192.168.0.1]:1", false, "192.168.0.0/16"),
        ("9.1.1.1:22", false, "own address"),
        ("9.1.1.1:3478", false, "listener"),
    ] {
        let (verdict, rule) = ask(peer);
        assert_eq!(verdict, allowed, "{peer}: {rule}");
        assert!(rule.contains(word), "{peer}: {rule}");
    }
}
