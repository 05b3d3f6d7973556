//! Payload both ways: indications and channels, over every transport, of every size.

use super::scenario;
use super::support::client::{
    Client, Kind, Outcome, ensure, is_success, peer, peer_is_empty, peer_receive,
};
use super::support::subject::Subject;
use std::net::SocketAddr;

const SIZES: [usize; 9] = [0, 1, 2, 3, 4, 172, 1200, 1471, 4096];

fn payload(size: usize) -> Vec<u8> {
    (0..size).map(|index| (index * 7 + size) as u8).collect()
}

fn each_family(subject: &Subject, each: impl Fn(Client, &str) -> Outcome) -> Outcome {
    for kind in Kind::ALL {
        for (family, ip) in [(1, "127.0.0.1"), (2, "::1")] {
            let mut client = subject.alice(kind);
            let relayed = client.allocate_with(|w| {
                w.attr(
                    super::support::stun::attr::REQUESTED_ADDRESS_FAMILY,
                    &[family, 0, 0, 0],
                )
            })?;
            ensure(
                relayed.is_ipv4() == (family == 1),
                format!("relayed {relayed}"),
            )?;
            each(client, ip).map_err(|fault| format!("{kind:?}, peer on {ip}: {fault}"))?;
        }
    }
    Ok(())
}

scenario!(indications_carry_payload_of_every_size_both_ways, subject => {
    each_family(subject, |mut client, ip| {
        let peer = peer(ip);
        let peer_addr = peer.local_addr().expect("bound");
        is_success(client.permit(peer_addr)?)?;
        for size in SIZES {
            let sent = payload(size);
            client.send_to(peer_addr, &sent)?;
            let (got, relayed) = peer_receive(&peer)?;
            ensure(got == sent, format!("{size} bytes to the peer became {}", got.len()))?;
            peer.send_to(&sent, relayed).map_err(|error| error.to_string())?;
            let (from, number, got) = client.receive_data()?;
            ensure(from == Some(peer_addr) && number.is_none(), format!("from {from:?} {number:?}"))?;
            ensure(got == sent, format!("{size} bytes to the client became {}", got.len()))?;
        }
        Ok(())
    })
});

scenario!(channels_carry_payload_of_every_size_both_ways, subject => {
    each_family(subject, |mut client, ip| {
        let peer = peer(ip);
        let peer_addr = peer.local_addr().expect("bound");
        is_success(client.bind_channel(0x4abc, peer_addr)?)?;
        for size in SIZES {
            let sent = payload(size);
            client.send_channel(0x4abc, &sent)?;
            let (got, relayed) = peer_receive(&peer)?;
            ensure(got == sent, format!("{size} bytes to the peer became {}", got.len()))?;
            peer.send_to(&sent, relayed).map_err(|error| error.to_string())?;
            let (_, number, got) = client.receive_data()?;
            ensure(number == Some(0x4abc) && got == sent, format!("{size} bytes by {number:?}"))?;
        }
        Ok(())
    })
});

scenario!(
    /// RFC 8656 §2.3: a permission is for an address, whatever the port; a channel is for one port.
    a_permission_covers_every_port_of_its_address_and_no_other_address, subject => {
    let (bound, neighbour, stranger) = (peer("127.0.0.1"), peer("127.0.0.1"), peer("127.0.0.3"));
    let addr_of = |socket: &std::net::UdpSocket| socket.local_addr().expect("bound");
    let mut client = subject.alice(Kind::Udp);
    let relayed = client.allocate()?;
    is_success(client.bind_channel(0x4000, addr_of(&bound))?)?;
    let relayed = SocketAddr::new(relayed.ip(), relayed.port());
    for (socket, text) in [(&stranger, b"no"), (&neighbour, b"2."), (&bound, b"1.")] {
        socket.send_to(text, relayed).map_err(|error| error.to_string())?;
    }
    let (from, number, payload) = client.receive_data()?;
    ensure(from == Some(addr_of(&neighbour)) && payload == b"2.", format!("{from:?} {number:?}"))?;
    let (_, number, payload) = client.receive_data()?;
    ensure(number == Some(0x4000) && payload == b"1.", format!("{number:?}"))?;
    client.send_to(addr_of(&stranger), b"no")?;
    client.send_to(addr_of(&neighbour), b"yes")?;
    ensure(peer_receive(&neighbour)?.0 == b"yes", "other data")?;
    ensure(peer_is_empty(&stranger), "a peer without permission got a packet")
});

scenario!(an_unbound_channel_relays_nothing, subject => {
    for kind in Kind::ALL {
        let peer = peer("127.0.0.1");
        let peer_addr = peer.local_addr().expect("bound");
        let mut client = subject.alice(kind);
        client.allocate()?;
        is_success(client.bind_channel(0x4000, peer_addr)?)?;
        client.send_channel(0x4001, b"no")?;
        client.send_channel(0x4000, b"yes")?;
        ensure(peer_receive(&peer)?.0 == b"yes", format!("{kind:?}: other data"))?;
    }
    Ok(())
});

scenario!(many_clients_are_never_mixed_up, subject => {
    let peer = peer("127.0.0.1");
    let peer_addr = peer.local_addr().expect("bound");
    let mut clients = Vec::new();
    for index in 0..24 {
        let mut client = subject.alice(Kind::ALL[index % 3]);
        let relayed = client.allocate()?;
        is_success(client.bind_channel(0x4000, peer_addr)?)?;
        clients.push((client, relayed));
    }
    for (index, (client, relayed)) in clients.iter_mut().enumerate() {
        client.send_channel(0x4000, &payload(index))?;
        let (got, from) = peer_receive(&peer)?;
        ensure(got == payload(index) && from == *relayed, format!("client {index} from {from}"))?;
    }
    for (index, (_, relayed)) in clients.iter().enumerate() {
        peer.send_to(&payload(index + 100), relayed).map_err(|error| error.to_string())?;
    }
    for (index, (client, _)) in clients.iter_mut().enumerate() {
        let (_, number, got) = client.receive_data()?;
        ensure(number == Some(0x4000) && got == payload(index + 100), format!("client {index} got {} bytes", got.len()))?;
    }
    Ok(())
});
