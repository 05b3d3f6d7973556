//! One scenario for each row of the contract: which situation gets which answer.

use super::scenario;
use super::support::client::{
    Client, Kind, Outcome, UDP, ensure, is_code, is_success, own_ports, peer, peer_is_empty,
    peer_receive, transaction_id,
};
use super::support::stun::{self, Class, Integrity, Message, Writer, attr};
use super::support::subject::{REALM, SECRET, Setup, Subject};
use std::net::{SocketAddr, UdpSocket};

const ELSEWHERE: &str = "192.0.2.1:9";

fn allocate_request() -> Writer {
    Writer::new(Class::Request, stun::ALLOCATE, transaction_id())
        .attr(attr::REQUESTED_TRANSPORT, &UDP)
}

fn on_every_transport(subject: &Subject, each: impl Fn(Client) -> Outcome) -> Outcome {
    for kind in Kind::ALL {
        each(subject.alice(kind)).map_err(|fault| format!("{kind:?}: {fault}"))?;
    }
    Ok(())
}

/// A relay with room for two.
fn small() -> Setup {
    let is_free = |port: u16| UdpSocket::bind(("127.0.0.1", port)).is_ok();
    let pair = |port: &u16| port.is_multiple_of(2) && is_free(*port) && is_free(port + 1);
    let first = own_ports().find(pair).expect("one of many pairs is free");
    Setup {
        relay_ports: Some((first, first + 1)),
        ..Setup::default()
    }
}

scenario!(a_request_without_credentials_gets_a_small_401_with_realm_and_nonce, subject => {
    on_every_transport(subject, |mut client| {
        let request = allocate_request().bytes();
        let reply = client.exchange(&request)?;
        is_code(&reply, 401)?;
        ensure(reply.text(attr::REALM).as_deref() == Some(REALM), "another realm")?;
        ensure(reply.has(attr::NONCE) && !reply.has_integrity(), "nonce or integrity")?;
        // As packets, with 28 bytes of IPv4 and UDP headers: what a reflector's victim receives.
        let (asked, answered) = (request.len() + 28, reply.len() + 28);
        ensure(answered < 3 * asked, format!("{answered} bytes answer {asked}"))
    })
});

scenario!(
    /// RFC 8489 §9.2.4: a server that knows SHA-256 says so in the nonce and offers its algorithms.
    a_challenge_offers_password_algorithms, crate::play, Setup::default(), subject => {
        let mut client = subject.alice(Kind::Udp);
        let reply = client.exchange(&allocate_request().bytes())?;
        let nonce = reply.text(attr::NONCE).ok_or("no nonce")?;
        ensure(nonce.starts_with("obMatJos2"), format!("nonce {nonce}"))?;
        ensure(reply.has(attr::PASSWORD_ALGORITHMS), "no PASSWORD-ALGORITHMS")
    }
);

scenario!(unknown_user_wrong_password_and_expired_user_get_the_same_401, subject => {
    let expired = "1000000000:alice";
    let password = stun::rest_password(SECRET, expired);
    let liars = [("nobody", "wonderland"), ("alice", "wrong"), (expired, password.as_str())];
    let mut answers = Vec::new();
    for (name, password) in liars {
        let mut client = Client::new(subject.wire(Kind::Udp), name, password);
        client.challenge()?;
        let reply = client.exchange(&client.seal(allocate_request()))?;
        is_code(&reply, 401).map_err(|fault| format!("{name}: {fault}"))?;
        let kinds: Vec<u16> = reply.attrs.iter().map(|attr| attr.kind).collect();
        answers.push((kinds, reply.get(attr::ERROR_CODE).map(<[u8]>::to_vec), reply.len()));
    }
    ensure(answers.iter().all(|answer| *answer == answers[0]), format!("they differ: {answers:?}"))
});

scenario!(a_time_limited_user_is_let_in, crate::play_relayd, Setup::default(), subject => {
    for name in ["4000000000:carol", "carol:4000000000", "4000000000"] {
        let password = stun::rest_password(SECRET, name);
        let mut client = Client::new(subject.wire(Kind::Udp), name, &password);
        client.allocate().map_err(|fault| format!("{name}: {fault}"))?;
    }
    Ok(())
});

scenario!(an_unknown_nonce_gets_438_with_one_that_works, subject => {
    on_every_transport(subject, |mut client| {
        client.challenge()?;
        let good = client.nonce.clone();
        client.nonce = good.chars().rev().collect();
        let reply = client.exchange(&client.seal(allocate_request()))?;
        is_code(&reply, 438)?;
        ensure(!reply.has_integrity(), "integrity in a 438")?;
        client.take_challenge(&reply)?;
        is_success(client.exchange(&client.seal(allocate_request()))?).map(drop)
    })
});

scenario!(integrity_without_username_realm_or_nonce_gets_400, subject => {
    let mut client = subject.alice(Kind::Udp);
    client.challenge()?;
    let parts = [
        (attr::USERNAME, client.username.clone()),
        (attr::REALM, client.realm.clone()),
        (attr::NONCE, client.nonce.clone()),
    ];
    for (missing, _) in &parts {
        let present = parts.iter().filter(|(kind, _)| kind != missing);
        let writer = present.fold(allocate_request(), |writer, (kind, text)| {
            writer.attr(*kind, text.as_bytes())
        });
        let reply = client.exchange(&writer.integrity(&client.integrity()).bytes())?;
        is_code(&reply, 400).map_err(|fault| format!("without {missing:#06x}: {fault}"))?;
    }
    Ok(())
});

scenario!(an_unknown_required_attribute_gets_420_that_names_it, subject => {
    let mut client = subject.alice(Kind::Udp);
    client.challenge()?;
    let writer = allocate_request().attr(0x7f01, b"what").attr(0xff05, b"never mind");
    let reply = client.exchange(&client.seal(writer))?;
    is_code(&reply, 420)?;
    let named = reply.get(attr::UNKNOWN_ATTRIBUTES);
    ensure(named == Some(&[0x7f, 0x01]), format!("named {named:?}"))
});

scenario!(a_retransmitted_allocate_gets_the_same_success_again, subject => {
    let mut client = subject.alice(Kind::Udp);
    client.challenge()?;
    let request = client.seal(allocate_request());
    let first = is_success(client.exchange(&request)?)?;
    let again = is_success(client.exchange(&request)?)?;
    let relayed = |reply: &Message| reply.xor_addr(attr::XOR_RELAYED_ADDRESS);
    ensure(relayed(&first) == relayed(&again) && relayed(&first).is_some(), "another relayed address")
});

scenario!(a_second_allocate_on_a_5_tuple_gets_437, subject => {
    on_every_transport(subject, |mut client| {
        client.allocate()?;
        is_code(&client.exchange(&client.seal(allocate_request()))?, 437)
    })
});

scenario!(requests_without_an_allocation_get_437, subject => {
    on_every_transport(subject, |mut client| {
        let addr = addr("127.0.0.1:9");
        client.challenge()?;
        is_code(&client.refresh(600)?, 437)?;
        is_code(&client.permit(addr)?, 437)?;
        is_code(&client.bind_channel(0x4000, addr)?, 437)
    })
});

scenario!(another_user_on_an_allocation_gets_441, subject => {
    on_every_transport(subject, |mut client| {
        client.allocate()?;
        client.username = "bob".into();
        client.password = "builder".into();
        is_code(&client.refresh(600)?, 441)?;
        is_code(&client.permit(addr("127.0.0.1:9"))?, 441)?;
        is_code(&client.bind_channel(0x4000, addr("127.0.0.1:9"))?, 441)
    })
});

scenario!(allocate_without_requested_transport_gets_400_and_an_unsupported_one_442, subject => {
    let mut client = subject.alice(Kind::Udp);
    client.challenge()?;
    is_code(&client.request(stun::ALLOCATE, |writer| writer)?, 400)?;
    let other = |w: Writer| w.attr(attr::REQUESTED_TRANSPORT, &[132, 0, 0, 0]);
    is_code(&client.request(stun::ALLOCATE, other)?, 442)
});

scenario!(contradicting_attributes_get_400, subject => {
    type Add = fn(Writer) -> Writer;
    let contradictions: [(&str, Add); 4] = [
        ("EVEN-PORT and RESERVATION-TOKEN", |w| {
            w.attr(attr::EVEN_PORT, &[0x80]).attr(attr::RESERVATION_TOKEN, &[1; 8])
        }),
        ("REQUESTED- and ADDITIONAL-ADDRESS-FAMILY", |w| {
            w.attr(attr::REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0])
                .attr(attr::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0])
        }),
        ("REQUESTED-ADDRESS-FAMILY and RESERVATION-TOKEN", |w| {
            w.attr(attr::REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0])
                .attr(attr::RESERVATION_TOKEN, &[1; 8])
        }),
        ("EVEN-PORT with R and ADDITIONAL-ADDRESS-FAMILY", |w| {
            w.attr(attr::EVEN_PORT, &[0x80]).attr(attr::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0])
        }),
    ];
    let mut client = subject.alice(Kind::Udp);
    for (what, add) in contradictions {
        let reply = client.request(stun::ALLOCATE, |w| add(w.attr(attr::REQUESTED_TRANSPORT, &UDP)))?;
        is_code(&reply, 400).map_err(|fault| format!("{what}: {fault}"))?;
    }
    Ok(())
});

scenario!(an_unknown_reservation_token_gets_508, subject => {
    let mut client = subject.alice(Kind::Udp);
    let with = |w: Writer| {
        w.attr(attr::REQUESTED_TRANSPORT, &UDP).attr(attr::RESERVATION_TOKEN, &[7; 8])
    };
    is_code(&client.request(stun::ALLOCATE, with)?, 508)
});

scenario!(no_port_left_gets_508_until_one_is_free, crate::play, small(), subject => {
    let mut clients: Vec<Client> = (0..3).map(|_| subject.alice(Kind::Udp)).collect();
    clients[0].allocate()?;
    clients[1].allocate()?;
    let ask = |client: &mut Client| {
        client.request(stun::ALLOCATE, |w| w.attr(attr::REQUESTED_TRANSPORT, &UDP))
    };
    is_code(&ask(&mut clients[2])?, 508)?;
    is_success(clients[0].refresh(0)?)?;
    is_success(ask(&mut clients[2])?).map(drop)
});

scenario!(even_port_keeps_the_next_port_for_the_token, crate::play, small(), subject => {
    let mut first = subject.alice(Kind::Udp);
    let with = |w: Writer| w.attr(attr::REQUESTED_TRANSPORT, &UDP).attr(attr::EVEN_PORT, &[0x80]);
    let reply = is_success(first.request(stun::ALLOCATE, with)?)?;
    let relayed = reply.xor_addr(attr::XOR_RELAYED_ADDRESS).ok_or("no relayed address")?;
    let token = reply.get(attr::RESERVATION_TOKEN).ok_or("no token")?.to_vec();
    ensure(relayed.port().is_multiple_of(2), format!("{relayed} is not even"))?;
    // The only other port of the range is kept.
    let mut other = subject.bob(Kind::Udp);
    let plain = |w: Writer| w.attr(attr::REQUESTED_TRANSPORT, &UDP);
    is_code(&other.request(stun::ALLOCATE, plain)?, 508)?;
    let mut second = subject.alice(Kind::Udp);
    let kept = second.allocate_with(|w| w.attr(attr::RESERVATION_TOKEN, &token))?;
    ensure(kept.port() == relayed.port() + 1, format!("{kept} does not follow {relayed}"))
});

scenario!(an_unknown_family_gets_440_and_a_peer_of_the_other_family_443, subject => {
    let mut client = subject.alice(Kind::Udp);
    let with = |w: Writer| {
        w.attr(attr::REQUESTED_TRANSPORT, &UDP).attr(attr::REQUESTED_ADDRESS_FAMILY, &[3, 0, 0, 0])
    };
    is_code(&client.request(stun::ALLOCATE, with)?, 440)?;
    client.allocate()?;
    is_code(&client.permit(addr("[::1]:9"))?, 443)?;
    is_code(&client.bind_channel(0x4000, addr("[::1]:9"))?, 443)
});

scenario!(a_denied_peer_gets_403_and_nothing_is_sent_to_it, crate::play,
    Setup { deny: vec!["127.0.0.66/32"], ..Setup::default() }, subject => {
    let (denied, allowed) = (peer("127.0.0.66"), peer("127.0.0.1"));
    let denied_addr = denied.local_addr().expect("bound");
    let allowed_addr = allowed.local_addr().expect("bound");
    let mut client = subject.alice(Kind::Udp);
    client.allocate()?;
    is_code(&client.permit(denied_addr)?, 403)?;
    is_code(&client.bind_channel(0x4000, denied_addr)?, 403)?;
    is_success(client.permit(allowed_addr)?)?;
    client.send_to(denied_addr, b"no")?;
    client.send_channel(0x4000, b"no")?;
    client.send_to(allowed_addr, b"yes")?;
    ensure(peer_receive(&allowed)?.0 == b"yes", "the allowed peer got something else")?;
    ensure(peer_is_empty(&denied), "the denied peer got a packet")
});

scenario!(
    /// Only asked for permissions, so that no packet is ever sent there.
    special_addresses_are_denied_in_every_disguise, crate::play_relayd, Setup::default(), subject => {
    let mut four = subject.alice(Kind::Udp);
    four.allocate()?;
    let mut six = subject.alice(Kind::Udp);
    six.allocate_with(|w| w.attr(attr::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]))?;
    for peer in ["10.0.0.1:9", "0.0.0.0:9", "169.254.169.254:80", "192.168.0.1:9", "224.0.0.1:9", ELSEWHERE] {
        is_code(&four.permit(addr(peer))?, 403).map_err(|fault| format!("{peer}: {fault}"))?;
        is_code(&four.bind_channel(0x4001, addr(peer))?, 403).map_err(|fault| format!("{peer}: {fault}"))?;
    }
    for peer in ["[::]:9", "[fe80::1]:9", "[64:ff9b::a00:1]:9", "[2002:a00:1::]:9", "[fc00::1]:9"] {
        is_code(&six.permit(addr(peer))?, 403).map_err(|fault| format!("{peer}: {fault}"))?;
    }
    Ok(())
});

scenario!(the_servers_own_listeners_are_no_peers, crate::play_relayd, Setup::default(), subject => {
    let mut client = subject.alice(Kind::Udp);
    client.allocate()?;
    let own = subject.addr(Kind::Udp, "127.0.0.1");
    is_code(&client.bind_channel(0x4000, own)?, 403)
});

scenario!(a_users_quota_gets_486, crate::play,
    Setup { per_user: 2, ..Setup::default() }, subject => {
    let mut alices: Vec<Client> = (0..3).map(|_| subject.alice(Kind::Udp)).collect();
    alices[0].allocate()?;
    alices[1].allocate()?;
    let ask = |client: &mut Client| {
        client.request(stun::ALLOCATE, |w| w.attr(attr::REQUESTED_TRANSPORT, &UDP))
    };
    is_code(&ask(&mut alices[2])?, 486)?;
    subject.bob(Kind::Udp).allocate()?;
    is_success(alices[0].refresh(0)?)?;
    is_success(ask(&mut alices[2])?).map(drop)
});

scenario!(the_total_quota_gets_508, crate::play,
    Setup { total: 2, ..Setup::default() }, subject => {
    let mut held = [subject.alice(Kind::Udp), subject.bob(Kind::Tcp)];
    for client in &mut held {
        client.allocate()?;
    }
    let mut late = subject.bob(Kind::Udp);
    is_code(&late.request(stun::ALLOCATE, |w| w.attr(attr::REQUESTED_TRANSPORT, &UDP))?, 508)
});

scenario!(wrong_channel_bindings_get_400, subject => {
    let (one, two) = (addr("127.0.0.1:7001"), addr("127.0.0.1:7002"));
    let mut client = subject.alice(Kind::Udp);
    client.allocate()?;
    for number in [0x3fff, 0x8000, 0xffff, 0] {
        is_code(&client.bind_channel(number, one)?, 400).map_err(|fault| format!("{number:#x}: {fault}"))?;
    }
    is_code(&client.request(stun::CHANNEL_BIND, |w| w.attr(attr::CHANNEL_NUMBER, &[0x40, 0, 0, 0]))?, 400)?;
    is_code(&client.request(stun::CHANNEL_BIND, |w| w.xor_addr(attr::XOR_PEER_ADDRESS, one))?, 400)?;
    is_success(client.bind_channel(0x4000, one)?)?;
    is_code(&client.bind_channel(0x4000, two)?, 400)?;
    is_code(&client.bind_channel(0x4001, one)?, 400)?;
    is_success(client.bind_channel(0x4000, one)?).map(drop)
});

scenario!(create_permission_without_a_peer_gets_400, subject => {
    let mut client = subject.alice(Kind::Udp);
    client.allocate()?;
    is_code(&client.request(stun::CREATE_PERMISSION, |w| w)?, 400)
});

scenario!(refresh_with_0_closes_the_port_and_frees_the_5_tuple_at_once, subject => {
    on_every_transport(subject, |mut client| {
        let relayed = client.allocate()?;
        let reply = is_success(client.refresh(0)?)?;
        ensure(reply.u32(attr::LIFETIME) == Some(0), "another LIFETIME")?;
        UdpSocket::bind(relayed).map_err(|error| format!("{relayed} is still bound: {error}"))?;
        is_code(&client.refresh(600)?, 437)?;
        client.allocate().map(drop)
    })
});

scenario!(a_closed_connection_frees_its_allocation, crate::play, small(), subject => {
    for kind in Kind::STREAMS {
        let mut held = [subject.alice(kind), subject.alice(kind)];
        for client in &mut held {
            client.allocate()?;
        }
        drop(held);
        // The close and this request race on different sockets; a port must come free without a timer's help.
        let mut next = subject.bob(Kind::Udp);
        let mut tries = 0;
        loop {
            let reply = next.request(stun::ALLOCATE, |w| w.attr(attr::REQUESTED_TRANSPORT, &UDP))?;
            if reply.class == Class::Success {
                break;
            }
            is_code(&reply, 508)?;
            tries += 1;
            ensure(tries < 20_000, format!("{kind:?}: the port is never given back"))?;
        }
        is_success(next.refresh(0)?)?;
    }
    Ok(())
});

scenario!(attributes_after_the_integrity_count_for_nothing, subject => {
    let mut client = subject.alice(Kind::Udp);
    client.allocate()?;
    let refresh = Writer::new(Class::Request, stun::REFRESH, transaction_id());
    let signed = client.sign(refresh);
    let reply = client.exchange(&signed.attr(attr::LIFETIME, &[0; 4]).attr(0x7f01, b"x").bytes())?;
    let reply = is_success(reply)?;
    ensure(reply.u32(attr::LIFETIME) != Some(0), "an unprotected LIFETIME was obeyed")
});

scenario!(sha256_and_userhash_work_and_cannot_be_bid_down, crate::play_relayd, Setup::default(), subject => {
    for userhash in [false, true] {
        let mut client = subject.alice(Kind::Udp);
        client.sha256 = true;
        client.challenge()?;
        client.userhash = userhash;
        client.allocate()?;
        is_success(client.refresh(600)?)?;
    }
    // RFC 8489 §9.2.4: an offer that was cut down on its way is noticed.
    let mut client = subject.alice(Kind::Udp);
    client.challenge()?;
    let writer = allocate_request()
        .attr(attr::USERNAME, b"alice")
        .attr(attr::REALM, client.realm.as_bytes())
        .attr(attr::NONCE, client.nonce.as_bytes())
        .attr(attr::PASSWORD_ALGORITHMS, &[0, 1, 0, 0])
        .attr(attr::PASSWORD_ALGORITHM, &[0, 1, 0, 0])
        .integrity(&Integrity::Sha1(stun::key_md5("alice", REALM, "wonderland")));
    is_code(&client.exchange(&writer.bytes())?, 400)
});

scenario!(a_user_known_by_its_md5_key_is_let_in, crate::play_relayd, keyed(), subject => {
    Client::new(subject.wire(Kind::Udp), "dave", "hashed").allocate().map(drop)
});

fn keyed() -> Setup {
    let key = stun::key_md5("dave", REALM, "hashed");
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let text: &'static str = Box::leak(format!("key:{hex}").into_boxed_str());
    Setup {
        users: vec![("dave", text)],
        ..Setup::default()
    }
}

scenario!(a_dual_allocation_relays_in_both_families, subject => {
    let mut client = subject.alice(Kind::Udp);
    let with = |w: Writer| {
        w.attr(attr::REQUESTED_TRANSPORT, &UDP).attr(attr::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0])
    };
    let reply = is_success(client.request(stun::ALLOCATE, with)?)?;
    let relayed: Vec<SocketAddr> =
        reply.xor_addrs(attr::XOR_RELAYED_ADDRESS).into_iter().flatten().collect();
    ensure(relayed.len() == 2, format!("relayed {relayed:?}"))?;
    for ip in ["127.0.0.1", "::1"] {
        let peer = peer(ip);
        let peer_addr = peer.local_addr().expect("bound");
        is_success(client.permit(peer_addr)?)?;
        client.send_to(peer_addr, b"over there")?;
        let (payload, from) = peer_receive(&peer)?;
        ensure(payload == b"over there" && relayed.contains(&from), format!("from {from}"))?;
        peer.send_to(b"and back", from).map_err(|error| error.to_string())?;
        let (source, _, payload) = client.receive_data()?;
        ensure(source == Some(peer_addr) && payload == b"and back", format!("from {source:?}"))?;
    }
    Ok(())
});

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("a literal transport address")
}
