//! Bytes in pieces, bytes that are nothing, connections that say nothing: over TCP, TLS and UDP alike.

use super::scenario;
use super::support::client::{
    Client, Kind, Outcome, UDP, Wire, connect, ensure, is_success, peer, peer_receive, secure,
    transaction_id,
};
use super::support::stun::{self, Class, Writer, attr};
use super::support::subject::{Setup, Subject};
use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};

fn binding() -> Vec<u8> {
    Writer::new(Class::Request, stun::BINDING, transaction_id()).bytes()
}

scenario!(messages_may_be_split_at_every_byte_and_sent_together, subject => {
    for kind in Kind::STREAMS {
        let peer = peer("127.0.0.1");
        let mut client = subject.alice(kind);
        client.allocate()?;
        is_success(client.bind_channel(0x4000, peer.local_addr().expect("bound"))?)?;
        let mut bytes = Vec::new();
        for size in 0..6 {
            bytes.extend(stun::channel_data(0x4000, &vec![size as u8; size], true));
            bytes.extend(Writer::new(Class::Indication, stun::BINDING, transaction_id()).bytes());
        }
        for split in 0..=bytes.len() {
            client.send(&bytes[..split])?;
            client.send(&bytes[split..])?;
            for size in 0..6 {
                let got = peer_receive(&peer)?.0;
                ensure(got == vec![size as u8; size], format!("{kind:?}, split at {split}: {got:?}"))?;
            }
        }
        for byte in &bytes {
            client.send(&[*byte])?;
        }
        for size in 0..6 {
            ensure(peer_receive(&peer)?.0.len() == size, format!("{kind:?}, byte by byte"))?;
        }
    }
    Ok(())
});

scenario!(a_first_message_may_come_byte_by_byte, subject => {
    for kind in Kind::STREAMS {
        let mut client = subject.alice(kind);
        let bytes = binding();
        for byte in &bytes[..bytes.len() - 1] {
            client.send(&[*byte])?;
        }
        let last = &bytes[bytes.len() - 1..];
        client.send(last)?;
        client.receive().map_err(|fault| format!("{kind:?}: {fault}"))?;
    }
    Ok(())
});

scenario!(garbage_on_a_stream_closes_it_and_nothing_else, subject => {
    for kind in Kind::STREAMS {
        let mut other = subject.bob(kind);
        other.allocate()?;
        // In the middle of an allocation's life, so that it is TURN and nothing else.
        for garbage in [&[0xff; 64][..], &[0x80, 1, 2, 3, 4, 5, 6, 7], &[0xc0; 4]] {
            let mut client = subject.alice(kind);
            client.allocate()?;
            client.send(garbage)?;
            client.wait_closed().map_err(|fault| format!("{kind:?} {garbage:x?}: {fault}"))?;
        }
        is_success(other.refresh(600)?)?;
    }
    Ok(())
});

scenario!(garbage_on_udp_is_dropped_and_the_server_lives_on, subject => {
    let mut client = subject.alice(Kind::Udp);
    client.allocate()?;
    for bytes in garbage() {
        client.send(&bytes)?;
        client.fence().map_err(|fault| format!("after {} bytes: {fault}", bytes.len()))?;
    }
    is_success(client.refresh(600)?).map(drop)
});

/// Empty, truncated, lying, oversized.
fn garbage() -> Vec<Vec<u8>> {
    let whole = binding();
    let mut all: Vec<Vec<u8>> = (0..whole.len()).map(|len| whole[..len].to_vec()).collect();
    let mut lying = whole.clone();
    lying[3] = 0xfc;
    let mut attribute = Writer::new(Class::Request, stun::ALLOCATE, transaction_id())
        .attr(attr::REQUESTED_TRANSPORT, &UDP)
        .bytes();
    attribute[23] = 0xff;
    all.extend([
        lying,
        attribute,
        vec![0xff; 1],
        vec![0x00; 1],
        vec![0x40; 3],
        vec![0x40, 0, 0xff, 0xff, 1],
        vec![0x00; 1500],
        vec![0xaa; 9000],
        vec![0x55; 60_000],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ]);
    all
}

scenario!(dropped_packets_are_counted, crate::play_relayd, Setup::default(), subject => {
    let drops = |name: &str| name.contains("drop");
    let before = subject.metric(drops)?;
    let mut client = subject.alice(Kind::Udp);
    for _ in 0..5 {
        client.send(&[0xff; 30])?;
    }
    client.fence()?;
    at_least(subject, drops, before + 5.0)
});

/// Counters of a worker may be published a moment later.
fn at_least(subject: &Subject, fits: impl Fn(&str) -> bool, wanted: f64) -> Outcome {
    let mut value = 0.0;
    for _ in 0..5000 {
        value = subject.metric(&fits)?;
        if value >= wanted {
            return Ok(());
        }
    }
    Err(format!("the metric stays at {value}, {wanted} expected"))
}

scenario!(a_frame_of_64_kib_passes_and_a_longer_one_cannot_be_said, subject => {
    for kind in Kind::STREAMS {
        let mut client = subject.alice(kind);
        client.allocate()?;
        // Longest ChannelData on an unbound channel: swallowed whole, the stream stays in step.
        client.send(&stun::channel_data(0x4000, &[7; 65_532], true))?;
        client.fence().map_err(|fault| format!("{kind:?}: {fault}"))?;
    }
    Ok(())
});

scenario!(silent_and_half_open_connections_hold_nobody_up, subject => {
    let mut silent = Vec::new();
    for kind in Kind::STREAMS {
        for _ in 0..40 {
            silent.push(connect(subject.addr(kind, "127.0.0.1")).map_err(|error| error.to_string())?);
        }
        let mut half = subject.alice(kind);
        half.send(&binding()[..10])?;
        let socket = half.wire.tcp().ok_or("a stream has a socket")?;
        socket.shutdown(std::net::Shutdown::Write).map_err(|error| error.to_string())?;
        subject.alice(kind).allocate().map_err(|fault| format!("{kind:?}: {fault}"))?;
    }
    Ok(())
});

scenario!(tls_is_served_on_the_plain_port_too, subject => {
    let socket = connect(subject.addr(Kind::Tcp, "127.0.0.1")).map_err(|error| error.to_string())?;
    let stream = secure(socket, &[]).map_err(|error| error.to_string())?;
    let mut client = Client::new(Wire::Tls(Box::new(stream)), "alice", "wonderland");
    client.allocate().map(drop)
});

scenario!(the_alpn_of_turn_is_turn, subject => {
    let socket = connect(subject.addr(Kind::Tls, "127.0.0.1")).map_err(|error| error.to_string())?;
    let stream = secure(socket, &[b"stun.turn"]).map_err(|error| error.to_string())?;
    let mut client = Client::new(Wire::Tls(Box::new(stream)), "alice", "wonderland");
    client.allocate().map(drop)
});

scenario!(http_and_turn_share_the_tls_port_and_the_plain_port, crate::play_relayd, Setup::default(), subject => {
    for kind in Kind::STREAMS {
        for alpn in [&[b"http/1.1".as_slice()][..], &[]] {
            let socket = connect(subject.addr(kind, "127.0.0.1")).map_err(|error| error.to_string())?;
            let mut stream = secure(socket, alpn).map_err(|error| error.to_string())?;
            let request = format!("GET /healthcheck HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", "relay.test");
            stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).map_err(|error| format!("{kind:?}: {error}"))?;
            ensure(&answer == b"HTTP/1.1 200", format!("{kind:?}: {}", String::from_utf8_lossy(&answer)))?;
        }
        subject.alice(kind).allocate()?;
    }
    Ok(())
});

fn behind_proxy() -> Setup {
    let line = "proxy_protocol_from = [\"127.0.0.1/32\"]".to_owned();
    Setup {
        extra: vec![("listen", line)],
        ..Setup::default()
    }
}

const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn proxy_v2(client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (client, server) else {
        panic!("these scenarios are over IPv4");
    };
    let mut bytes = V2_SIGNATURE.to_vec();
    bytes.extend([0x21, 0x11, 0, 12]);
    bytes.extend(from.ip().octets());
    bytes.extend(to.ip().octets());
    bytes.extend(from.port().to_be_bytes());
    bytes.extend(to.port().to_be_bytes());
    bytes
}

scenario!(a_proxy_header_tells_who_the_client_is, crate::play_relayd, behind_proxy(), subject => {
    let client: SocketAddr = "203.0.113.9:4321".parse().expect("a literal transport address");
    let server: SocketAddr = "198.51.100.7:443".parse().expect("a literal transport address");
    let v1 = format!("PROXY TCP4 {} {} {} {}\r\n", client.ip(), server.ip(), client.port(), server.port());
    for kind in Kind::STREAMS {
        for header in [v1.clone().into_bytes(), proxy_v2(client, server)] {
            let mut socket = connect(subject.addr(kind, "127.0.0.1")).map_err(|error| error.to_string())?;
            for byte in &header {
                socket.write_all(&[*byte]).map_err(|error| error.to_string())?;
            }
            let wire = match kind {
                Kind::Tls => Wire::Tls(Box::new(secure(socket, &[]).map_err(|error| error.to_string())?)),
                _ => Wire::Tcp(socket),
            };
            let mut proxied = Client::new(wire, "alice", "wonderland");
            let mapped = proxied.fence().map_err(|fault| format!("{kind:?}: {fault}"))?;
            ensure(mapped == client, format!("{kind:?}: reflexive address {mapped}"))?;
        }
    }
    Ok(())
});

scenario!(from_a_listed_network_the_proxy_header_is_required, crate::play_relayd, behind_proxy(), subject => {
    for kind in Kind::STREAMS {
        for bad in [binding(), b"PROXY TCP4 nonsense\r\n".to_vec(), vec![b'P'; 200]] {
            let socket = connect(subject.addr(kind, "127.0.0.1")).map_err(|error| error.to_string())?;
            let mut client = Client::new(Wire::Tcp(socket), "alice", "wonderland");
            client.send(&bad)?;
            client.wait_closed().map_err(|fault| format!("{kind:?}: {fault}"))?;
        }
    }
    Ok(())
});

scenario!(from_elsewhere_the_proxy_header_is_not_believed, crate::play_relayd, Setup::default(), subject => {
    let there: SocketAddr = "203.0.113.9:4321".parse().expect("a literal transport address");
    let mut client = subject.alice(Kind::Tcp);
    let mut bytes = proxy_v2(there, there);
    bytes.extend(binding());
    client.send(&bytes)?;
    client.wait_closed()
});

scenario!(
    /// A client that does not read loses its oldest media; the server's memory stays bounded and the others are served.
    a_slow_stream_client_loses_media_and_not_the_servers_memory, crate::play_relayd, Setup::default(), subject => {
    for kind in Kind::STREAMS {
        let peer = peer("127.0.0.1");
        let peer_addr = peer.local_addr().expect("bound");
        let mut slow = subject.alice(kind);
        let relayed = slow.allocate()?;
        is_success(slow.bind_channel(0x4000, peer_addr)?)?;
        let before = subject.rss_kib();
        let mut lively = subject.bob(kind);
        let lively_relayed = lively.allocate()?;
        is_success(lively.bind_channel(0x4000, peer_addr)?)?;
        let load = vec![0x5a; 1200];
        for round in 0..400 {
            flood(&peer, relayed, &load)?;
            peer.send_to(b"on time", lively_relayed).map_err(|error| error.to_string())?;
            let got = lively.receive_data().map_err(|fault| format!("{kind:?}, round {round}: {fault}"))?;
            ensure(got.2 == b"on time", "other data")?;
        }
        let grown = subject.rss_kib().saturating_sub(before);
        ensure(grown < 16 << 10, format!("{kind:?}: {grown} KiB more after 48 MB"))?;
        // Once it reads again, it is in step and gets what is sent to it.
        let marker = b"the end";
        let mut seen = 0_u64;
        for _ in 0..100_000 {
            peer.send_to(marker, relayed).map_err(|error| error.to_string())?;
            let (_, number, payload) = slow.receive_data()?;
            ensure(number == Some(0x4000), "out of step")?;
            if payload == marker {
                break;
            }
            ensure(payload == load, "damaged media")?;
            seen += 1;
        }
        ensure(seen < 40_000, format!("{kind:?}: all {seen} packets were kept"))?;
    }
    Ok(())
});

fn flood(peer: &UdpSocket, relayed: SocketAddr, load: &[u8]) -> Outcome {
    for _ in 0..100 {
        peer.send_to(load, relayed)
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}
