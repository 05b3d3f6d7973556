//! What real clients do and need (libwebrtc, nICEr and others): breaking one of these drops calls.

use super::scenario;
use super::support::client::{
    Client, Kind, Outcome, UDP, Wire, ensure, is_code, is_success, peer, peer_receive,
    transaction_id,
};
use super::support::stun::{self, Class, Message, Writer, attr};
use super::support::subject::{Setup, Subject};
use std::net::{SocketAddr, UdpSocket};

scenario!(allocate_success_tells_what_libwebrtc_needs, subject => {
    for kind in Kind::ALL {
        let mut client = subject.alice(kind);
        let with = |w: Writer| w.attr(attr::REQUESTED_TRANSPORT, &UDP).attr(0xff05, &[1, 2]);
        let reply = is_success(client.request(stun::ALLOCATE, with)?)?;
        let mapped = reply.xor_addr(attr::XOR_MAPPED_ADDRESS);
        ensure(mapped == Some(client.wire.local_addr()), format!("{kind:?}: mapped {mapped:?}"))?;
        ensure(reply.xor_addr(attr::XOR_RELAYED_ADDRESS).is_some(), "no relayed address")?;
        let lifetime_s = reply.u32(attr::LIFETIME);
        ensure(lifetime_s == Some(600), format!("{kind:?}: LIFETIME {lifetime_s:?}"))?;
        ensure(!reply.has(attr::SOFTWARE), "SOFTWARE although nobody switched it on")?;
    }
    Ok(())
});

scenario!(firefox_gets_the_3600_s_that_it_asks_for_and_no_more, subject => {
    let mut client = subject.alice(Kind::Udp);
    let asking = |lifetime_s: u32| move |w: Writer| {
        w.attr(attr::REQUESTED_TRANSPORT, &UDP).attr(attr::LIFETIME, &lifetime_s.to_be_bytes())
    };
    let reply = is_success(client.request(stun::ALLOCATE, asking(3600))?)?;
    ensure(reply.u32(attr::LIFETIME) == Some(3600), format!("{:?}", reply.u32(attr::LIFETIME)))?;
    let reply = is_success(client.refresh(1_000_000)?)?;
    ensure(reply.u32(attr::LIFETIME) == Some(3600), format!("{:?}", reply.u32(attr::LIFETIME)))
});

scenario!(the_relayed_family_is_ipv4_by_default_on_an_ipv6_listener_too, subject => {
    for kind in Kind::ALL {
        let server = subject.addr(kind, "::1");
        let wire = Wire::open(kind, server).map_err(|error| format!("{kind:?} {server}: {error}"))?;
        let mut client = Client::new(wire, "alice", "wonderland");
        let relayed = client.allocate().map_err(|fault| format!("{kind:?}: {fault}"))?;
        ensure(relayed.is_ipv4(), format!("{kind:?}: relayed {relayed}"))?;
    }
    Ok(())
});

scenario!(
    /// Clients drop what comes from another address than the one they asked: the socket is connected, so that the kernel does too.
    answers_leave_from_the_address_that_was_asked, crate::play_relayd, Setup::default(), subject => {
    for ip in ["127.0.0.2", "127.0.0.1", "127.9.9.9", "::1"] {
        let server = subject.addr(Kind::Udp, ip);
        let wire = Wire::open(Kind::Udp, server).map_err(|error| error.to_string())?;
        let mut client = Client::new(wire, "alice", "wonderland");
        client.fence().map_err(|fault| format!("{ip}: {fault}"))?;
        let relayed = client.allocate().map_err(|fault| format!("{ip}: {fault}"))?;
        let peer = peer("127.0.0.1");
        let peer_addr = peer.local_addr().expect("bound");
        is_success(client.permit(peer_addr)?)?;
        peer.send_to(b"data too", relayed).map_err(|error| error.to_string())?;
        ensure(client.receive_data()?.2 == b"data too", format!("{ip}: other data"))?;
    }
    Ok(())
});

scenario!(a_binding_request_gets_the_reflexive_address_over_every_transport, subject => {
    for kind in Kind::ALL {
        for ip in ["127.0.0.1", "::1"] {
            let wire = Wire::open(kind, subject.addr(kind, ip)).map_err(|error| error.to_string())?;
            let mut client = Client::new(wire, "", "");
            let mapped = client.fence().map_err(|fault| format!("{kind:?} {ip}: {fault}"))?;
            ensure(mapped == client.wire.local_addr(), format!("{kind:?} {ip}: {mapped}"))?;
        }
    }
    Ok(())
});

scenario!(a_client_of_rfc_3489_gets_mapped_address, subject => {
    let mut client = subject.alice(Kind::Udp);
    let id = [9; 16];
    client.send(&Writer::rfc3489(stun::BINDING, id).bytes())?;
    let mut buf = [0; 512];
    let len = client.wire.read(&mut buf).map_err(|error| error.to_string())?;
    let reply = Message::read(&buf[..len])?;
    ensure(!reply.cookie && reply.class == Class::Success && buf[4..20] == id, format!("{reply:?}"))?;
    let mapped = reply.plain_addr(attr::MAPPED_ADDRESS);
    ensure(mapped == Some(client.wire.local_addr()), format!("mapped {mapped:?}"))
});

scenario!(a_fingerprint_is_answered_with_one_and_only_then, subject => {
    for fingerprint in [true, false] {
        let mut client = subject.alice(Kind::Udp);
        client.fingerprint = fingerprint;
        // `exchange` holds every answer against the rule.
        client.allocate()?;
        is_success(client.permit(addr("127.0.0.1:9"))?)?;
        is_code(&client.bind_channel(1, addr("127.0.0.1:9"))?, 400)?;
        is_success(client.refresh(0)?)?;
    }
    Ok(())
});

scenario!(every_channel_number_from_0x4000_to_0x7fff_can_be_bound, subject => {
    let mut client = subject.alice(Kind::Udp);
    client.allocate()?;
    for (index, number) in [0x4000, 0x4fff, 0x5000, 0x6abc, 0x7fff].into_iter().enumerate() {
        let peer = SocketAddr::from(([127, 0, 0, 1], 7000 + index as u16));
        is_success(client.bind_channel(number, peer)?).map_err(|fault| format!("{number:#x}: {fault}"))?;
    }
    Ok(())
});

scenario!(a_generous_number_of_permissions_is_granted, subject => {
    let mut client = subject.alice(Kind::Udp);
    client.allocate()?;
    for block in 0..16_u8 {
        let peers = (1..=60).map(|host| SocketAddr::from(([127, 1, block, host], 9)));
        let peers: Vec<SocketAddr> = peers.collect();
        let with = |w: Writer| {
            peers.iter().fold(w, |w, peer| w.xor_addr(attr::XOR_PEER_ADDRESS, *peer))
        };
        is_success(client.request(stun::CREATE_PERMISSION, with)?)
            .map_err(|fault| format!("block {block}: {fault}"))?;
    }
    Ok(())
});

scenario!(
    /// The limit is 1024 for an allocation, and what is there already can still be renewed.
    permissions_and_channels_end_at_a_limit, crate::play_relayd, Setup::default(), subject => {
    let mut client = subject.alice(Kind::Udp);
    client.allocate()?;
    let peer = |index: u16| {
        let [high, low] = index.to_be_bytes();
        SocketAddr::from(([127, 2, high, low], 9))
    };
    for index in 0..1024 {
        is_success(client.bind_channel(0x4000 + index, peer(index))?)
            .map_err(|fault| format!("channel {index}: {fault}"))?;
    }
    is_code(&client.bind_channel(0x4000 + 1024, peer(1024))?, 508)?;
    is_code(&client.permit(peer(1024))?, 508)?;
    is_success(client.bind_channel(0x4000, peer(0))?)?;
    is_success(client.permit(peer(7))?).map(drop)
});

scenario!(
    /// A nonce of a 401 is good for the next Allocate: libwebrtc does not try a third time.
    a_nonce_survives_a_reload, crate::play_relayd, Setup::default(), subject => {
    let mut clients: Vec<Client> = (0..8).map(|_| subject.alice(Kind::Udp)).collect();
    for client in &mut clients {
        client.challenge()?;
    }
    let mut changed = Setup::default();
    changed.users.push(("carol", "came later"));
    subject.reload(&changed);
    wait_for_user(subject, "carol", "came later")?;
    for client in &mut clients {
        client.allocate()?;
    }
    Ok(())
});

/// Returns once a user of the new configuration is let in, by whichever worker.
///
/// A few tries, since workers take over settings one by one; not many, since guesses are soon not looked at.
fn wait_for_user(subject: &Subject, name: &str, password: &str) -> Outcome {
    subject.wait_for_line("reloaded")?;
    let mut last = String::new();
    for _ in 0..6 {
        match Client::new(subject.wire(Kind::Udp), name, password).allocate() {
            Ok(_) => return Ok(()),
            Err(fault) => last = fault,
        }
    }
    Err(format!("the reload has no effect: {last}"))
}

scenario!(
    /// An error to a Refresh drops a call: an allocation keeps the key it was made with.
    a_live_allocation_outlives_the_removal_of_its_user, crate::play_relayd, Setup::default(), subject => {
    let mut caller = subject.bob(Kind::Udp);
    caller.allocate()?;
    let changed = Setup {
        users: vec![("alice", "changed"), ("carol", "came later")],
        ..Setup::default()
    };
    let mut alice = subject.alice(Kind::Tcp);
    alice.allocate()?;
    subject.reload(&changed);
    wait_for_user(subject, "carol", "came later")?;
    is_success(caller.refresh(600)?)?;
    is_success(caller.permit(addr("127.0.0.1:9"))?)?;
    is_success(alice.refresh(600)?)?;
    let mut removed = subject.bob(Kind::Udp);
    removed.challenge()?;
    is_code(&removed.request(stun::ALLOCATE, |w| w.attr(attr::REQUESTED_TRANSPORT, &UDP))?, 401)
});

scenario!(two_clients_of_one_server_call_each_other, subject => {
    let (mut alice, mut bob) = (subject.alice(Kind::Udp), subject.bob(Kind::Tcp));
    let (to_alice, to_bob) = (alice.allocate()?, bob.allocate()?);
    is_success(alice.permit(to_bob)?)?;
    is_success(bob.bind_channel(0x4000, to_alice)?)?;
    alice.send_to(to_bob, b"hello, Bob")?;
    let (_, number, payload) = bob.receive_data()?;
    ensure(number == Some(0x4000) && payload == b"hello, Bob", format!("{number:?}"))?;
    bob.send_channel(0x4000, b"hello, Alice")?;
    let (from, _, payload) = alice.receive_data()?;
    ensure(from == Some(to_bob) && payload == b"hello, Alice", format!("{from:?}"))
});

scenario!(an_icmp_error_of_a_peer_does_not_end_the_allocation, subject => {
    let mut client = subject.alice(Kind::Udp);
    client.allocate()?;
    // A port that was just given back: the kernel answers with port unreachable.
    let gone = UdpSocket::bind("127.0.0.1:0").expect("loopback can be bound");
    let gone_addr = gone.local_addr().expect("bound");
    drop(gone);
    let there = peer("127.0.0.1");
    is_success(client.permit(gone_addr)?)?;
    for _ in 0..3 {
        client.send_to(gone_addr, b"anybody?")?;
        client.fence()?;
    }
    client.send_to(there.local_addr().expect("bound"), b"still here")?;
    ensure(peer_receive(&there)?.0 == b"still here", "other data")?;
    is_success(client.refresh(600)?).map(drop)
});

scenario!(a_binding_indication_is_swallowed, subject => {
    for kind in Kind::ALL {
        let mut client = subject.alice(kind);
        client.fence()?;
        client.send(&Writer::new(Class::Indication, stun::BINDING, transaction_id()).bytes())?;
        client.fence().map_err(|fault| format!("{kind:?}: {fault}"))?;
    }
    Ok(())
});

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("a literal transport address")
}
