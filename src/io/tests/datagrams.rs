//! Clients over UDP.

use super::client::{Client, binding_request, channel_data, data_indication};
use super::{serve, settings, turn_settings, until};
use crate::io::{BindError, Media, Settings};
use crate::sys::rng::SystemRng;
use crate::sys::send::{Datagram, SendCounts, Sender};
use crate::turn;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;

#[test]
fn a_client_learns_the_address_it_comes_from_in_both_families() {
    let server = serve(Settings {
        udp: ["127.0.0.1:0", "[::1]:0"]
            .map(|addr| addr.parse().expect("valid"))
            .to_vec(),
        ..settings()
    });
    for (bind, addr) in ["127.0.0.1:0", "[::1]:0"].iter().zip(&server.udp) {
        let mut client = Client::udp(bind, *addr);
        let local = client.link.local_addr().expect("bound");
        assert_eq!(client.binding(), local);
    }
}

/// Browsers drop answers from another address than the one they asked.
#[test]
fn a_wildcard_listener_answers_from_the_address_that_was_asked() {
    let server = serve(Settings {
        udp: ["0.0.0.0:0", "[::]:0"]
            .map(|addr| addr.parse().expect("valid"))
            .to_vec(),
        ..settings()
    });
    let client = socket("127.0.0.1:0");
    for ip in ["127.0.0.2", "127.0.0.3"] {
        let asked = SocketAddr::new(ip.parse().expect("valid"), server.udp[0].port());
        client.send_to(&binding_request(), asked).expect("sent");
        let (_, from) = client.recv_from(&mut [0; 1500]).expect("answered");
        assert_eq!(from, asked);
    }
    let asked = SocketAddr::new("::1".parse().expect("valid"), server.udp[1].port());
    let mut client = Client::udp("[::1]:0", asked);
    assert_eq!(client.binding(), client.link.local_addr().expect("bound"));

    let asked = SocketAddr::new("127.0.0.4".parse().expect("valid"), server.udp[0].port());
    let mut client = Client::udp("127.0.0.1:0", asked);
    let peer = socket("127.0.0.1:0");
    let relayed = client.allocate(&[]).expect("allocated");
    assert_eq!(
        relayed.ip(),
        asked.ip(),
        "relays on the address that was asked"
    );
    client
        .bind_channel(0x4000, peer.local_addr().expect("bound"))
        .expect("bound");
    for payload in [&b"one"[..], b"two", b"six"] {
        peer.send_to(payload, relayed).expect("sent");
        // The client's socket is connected, so what comes has come from the address that was asked.
        assert_eq!(client.receive(), Some(channel_data(0x4000, payload)));
    }
}

#[test]
fn a_channel_carries_payload_of_any_length_both_ways() {
    for (bind, listen) in [("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:0", "[::1]:0")] {
        let server = serve(Settings {
            udp: vec![listen.parse().expect("valid")],
            ..settings()
        });
        let mut client = Client::udp(bind, server.udp[0]);
        let peer = socket(bind);
        let family = if peer.local_addr().expect("bound").is_ipv4() {
            1
        } else {
            2
        };
        let relayed = client
            .allocate(&[(0x0017, &[family, 0, 0, 0])])
            .expect("allocated");
        client
            .bind_channel(0x4001, peer.local_addr().expect("bound"))
            .expect("bound");
        let bytes: Vec<u8> = (0..60_000u32).map(|n| (n % 251) as u8).collect();
        // Up to what fits a slot, just beyond it, and far beyond it.
        for len in [
            0, 1, 3, 172, 1200, 2040, 2041, 2044, 2045, 2048, 2049, 9000, 60_000,
        ] {
            client.send_channel(0x4001, &bytes[..len]);
            let mut buffer = vec![0; 65536];
            let (got, from) = peer.recv_from(&mut buffer).expect("relayed");
            assert_eq!(from, relayed);
            assert!(buffer[..got] == bytes[..len], "{len} to the peer");
            peer.send_to(&bytes[..len], relayed).expect("sent");
            let expected = channel_data(0x4001, &bytes[..len]);
            let received = client.receive().expect("relayed");
            assert!(received == expected, "{len} to the client");
        }
    }
}

/// Runs of one length, as video has: once they are seen again and again, the kernel hands them over merged, and each
/// datagram arrives as it was sent.
#[test]
fn runs_that_are_received_merged_leave_as_the_datagrams_they_were() {
    const RUN: usize = 20;
    for listen in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
        let server = serve(Settings {
            udp: vec![listen.parse().expect("valid")],
            ..settings()
        });
        let mut asked = server.udp[0];
        if asked.ip().is_unspecified() {
            asked.set_ip("127.0.0.1".parse().expect("valid"));
        }
        let any = SocketAddr::new(asked.ip(), 0).to_string();
        let mut client = Client::udp(&any, asked);
        let peer = socket(&any);
        let peer_addr = peer.local_addr().expect("bound");
        let family = if asked.is_ipv4() { 1 } else { 2 };
        let relayed = client.allocate(&[(0x0017, &[family, 0, 0, 0])]);
        let relayed = relayed.expect("allocated");
        client.bind_channel(0x4001, peer_addr).expect("bound");
        let mut runs = Sender::new();
        let mut number = 0u32;
        let merged = |kind: &str| {
            server.metric(&format!(
                "relayd_media_merged_datagrams_total{{socket=\"{kind}\"}}"
            ))
        };
        while merged("listener") == 0 || merged("relay") == 0 {
            assert!(number < 100_000, "runs are never merged");
            let len = [1200, 172, 1000][number as usize / RUN % 3];
            let payloads: Vec<Vec<u8>> = (0..RUN as u32)
                .map(|at| [(number + at).to_be_bytes().to_vec(), vec![7; len - 4]].concat())
                .collect();
            number += RUN as u32;
            let framed: Vec<_> = payloads
                .iter()
                .map(|payload| channel_data(0x4001, payload))
                .collect();
            send_run(&mut runs, &client.link, asked, &framed);
            send_run(&mut runs, &peer, relayed, &payloads);
            for (payload, framed) in payloads.iter().zip(&framed) {
                let mut buffer = vec![0; 65536];
                let (got, from) = peer.recv_from(&mut buffer).expect("relayed");
                assert_eq!(from, relayed);
                assert!(buffer[..got] == payload[..], "to the peer");
                let received = client.receive().expect("relayed");
                assert!(received == *framed, "to the client");
            }
        }
        // Parts that are longer than a slot: loopback carries them.
        let cut = |socket: &UdpSocket, bytes| {
            crate::sys::socket::UdpSocket::cut_what_is_sent(socket.as_fd(), bytes).expect("set");
        };
        let payloads = [1, 2, 3].map(|byte| vec![byte; 5000]);
        let framed = payloads
            .each_ref()
            .map(|payload| channel_data(0x4001, payload));
        cut(&client.link, 5004);
        cut(&peer, 5000);
        client.link.send(&framed.concat()).expect("sent");
        peer.send_to(&payloads.concat(), relayed).expect("sent");
        for (payload, framed) in payloads.iter().zip(&framed) {
            let mut buffer = vec![0; 65536];
            let (got, _) = peer.recv_from(&mut buffer).expect("relayed");
            assert!(buffer[..got] == payload[..], "to the peer");
            assert!(
                client.receive().expect("relayed") == *framed,
                "to the client"
            );
        }
    }
}

fn send_run(sender: &mut Sender, socket: &UdpSocket, to: SocketAddr, run: &[Vec<u8>]) {
    let datagrams = run.iter().map(|bytes| Datagram {
        bytes,
        to,
        from: None,
    });
    let mut counts = SendCounts::default();
    sender.send(socket.as_fd(), datagrams, &mut counts);
    assert_eq!(counts.sent, run.len() as u64);
}

/// Firefox sends all media so.
#[test]
fn indications_carry_payload_both_ways() {
    for (bind, listen) in [("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:0", "[::1]:0")] {
        let server = serve(Settings {
            udp: vec![listen.parse().expect("valid")],
            ..settings()
        });
        let mut client = Client::udp(bind, server.udp[0]);
        let peer = socket(bind);
        let peer_addr = peer.local_addr().expect("bound");
        let family = if peer_addr.is_ipv4() { 1 } else { 2 };
        let relayed = client
            .allocate(&[(0x0017, &[family, 0, 0, 0])])
            .expect("allocated");
        client.permit(peer_addr).expect("permitted");
        for (len, dont_fragment) in [(1, false), (999, true), (1200, false), (8000, true)] {
            let payload = vec![len as u8; len];
            client.send_indication(peer_addr, &payload, dont_fragment);
            let mut buffer = vec![0; 65536];
            let (got, from) = peer.recv_from(&mut buffer).expect("relayed");
            assert_eq!((from, &buffer[..got]), (relayed, &payload[..]));
            peer.send_to(&payload, relayed).expect("sent");
            let received = client.receive().expect("relayed");
            assert_eq!(data_indication(&received), (peer_addr, payload));
        }
    }
}

/// RFC 8656 §11.5: an ICMP error for what was sent to a peer is told to the client.
#[test]
fn a_closed_port_of_a_peer_is_told_to_the_client() {
    let server = serve(settings());
    let mut client = server.udp_client();
    let gone = socket("127.0.0.1:0").local_addr().expect("bound");
    client.allocate(&[]).expect("allocated");
    client.permit(gone).expect("permitted");
    client.send_indication(gone, b"anyone?", false);
    let told = client.receive().expect("told");
    let told = stun_types::message::Message::from_bytes(&told).expect("STUN");
    let icmp = stun_types::attribute::AttributeType::new(0x8004);
    let icmp = told.raw_attribute(icmp).expect("an ICMP attribute");
    // 7 bits of type and 9 of code (RFC 8656 §18.13): destination unreachable, port unreachable.
    let type_and_code = u16::from_be_bytes([icmp.value[2], icmp.value[3]]);
    assert_eq!((type_and_code >> 9, type_and_code & 0x1ff), (3, 3));
    until("counted", || {
        server.metric("relayd_media_icmp_errors_total") == 1
    });
}

#[test]
fn all_workers_serve_the_same_port() {
    let server = serve(Settings {
        workers: 3,
        ..settings()
    });
    let mut clients: Vec<_> = (0..48).map(|_| server.udp_client()).collect();
    for client in &mut clients {
        assert_eq!(client.binding(), client.link.local_addr().expect("bound"));
        // The nonce of one worker must be good on any other, and a client stays on its own.
        client.allocate(&[]).expect("allocated");
    }
    until("48 allocations", || server.handle.allocation_count() == 48);
    for client in &mut clients {
        client.refresh(0).expect("deleted");
    }
    until("no allocation", || server.handle.allocation_count() == 0);
}

#[test]
fn thousands_of_allocations_relay_at_once_and_give_their_ports_back() {
    const COUNT: usize = 2000;
    crate::sys::limits::raise_open_files().expect("raised");
    let server = serve(Settings {
        workers: 2,
        ..settings()
    });
    let peer = socket("127.0.0.1:0");
    let peer_addr = peer.local_addr().expect("bound");
    let mut clients: Vec<_> = (0..COUNT).map(|_| server.udp_client()).collect();
    let mut relayed = Vec::new();
    for client in &mut clients {
        relayed.push(client.allocate(&[]).expect("allocated"));
        client.bind_channel(0x4000, peer_addr).expect("bound");
    }
    until("all there", || server.handle.allocation_count() == COUNT);
    for (number, (client, relayed)) in clients.iter_mut().zip(&relayed).enumerate() {
        let payload = number.to_be_bytes();
        peer.send_to(&payload, relayed).expect("sent");
        assert_eq!(client.receive(), Some(channel_data(0x4000, &payload)));
    }
    server.handle.stop();
    server.handle.join();
    assert_eq!(server.handle.allocation_count(), 0);
    let ended = "relayd_turn_allocations_ended_total{reason=\"stopped\"}";
    assert_eq!(server.metric(ended), COUNT as u64);
    for addr in relayed {
        UdpSocket::bind(addr).expect("the port is free again");
    }
}

#[test]
fn a_draining_server_refuses_allocations_and_serves_the_others() {
    let server = serve(settings());
    let mut old = server.udp_client();
    let peer = socket("127.0.0.1:0");
    let relayed = old.allocate(&[]).expect("allocated");
    old.bind_channel(0x4000, peer.local_addr().expect("bound"))
        .expect("bound");
    server.handle.drain();
    until("refused", || server.udp_client().allocate(&[]) == Err(508));
    peer.send_to(b"still here", relayed).expect("sent");
    assert_eq!(old.receive(), Some(channel_data(0x4000, b"still here")));
}

#[test]
fn a_changed_password_counts_for_the_next_allocation() {
    let server = serve(settings());
    let mut old = server.udp_client();
    old.allocate(&[]).expect("allocated");
    server.handle.set_settings(Arc::new(turn::Settings {
        users: Default::default(),
        ..turn_settings()
    }));
    until("refused", || server.udp_client().allocate(&[]) == Err(401));
    old.refresh(600).expect("a live allocation keeps its key");
}

#[test]
fn a_port_in_use_is_an_error_that_names_its_holder() {
    let taken = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let addr = taken.local_addr().expect("bound");
    let settings = Settings {
        udp: vec![addr],
        ..settings()
    };
    let shared = turn::Shared::new(&mut SystemRng);
    let failed = Media::bind(&settings, Arc::new(turn_settings()), shared).map(|_| ());
    let error = failed.expect_err("in use");
    assert!(
        matches!(&error, BindError::UdpInUse { holder, .. } if holder.pid == std::process::id())
    );
    assert!(
        error
            .to_string()
            .starts_with(&format!("cannot listen on udp {addr}: already used by "))
    );
}

#[test]
fn an_even_port_and_its_reserved_neighbour_are_given() {
    let server = serve(Settings {
        workers: 2,
        ..settings()
    });
    let mut rtp = server.udp_client();
    let token = rtp
        .allocate_for(&[(0x0018, &[0x80])], 0x0022)
        .expect("allocated");
    let mut rtcp = server.udp_client();
    let next = rtcp.allocate(&[(0x0022, &token)]).expect("reserved");
    assert_eq!(next.port() % 2, 1);
    let again = server.udp_client().allocate(&[(0x0022, &token)]);
    assert_eq!(again, Err(508));
}

#[test]
fn garbage_is_dropped_and_the_server_lives_on() {
    let server = serve(settings());
    let socket = socket("127.0.0.1:0");
    for garbage in [
        &b""[..],
        b"\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 1500],
        &[0; 20],
        &[0x40; 4],
    ] {
        socket.send_to(garbage, server.udp[0]).expect("sent");
    }
    assert_eq!(
        server.udp_client().binding().ip(),
        server.udp[0].ip(),
        "one address has them both"
    );
}

fn socket(bind: &str) -> UdpSocket {
    let socket = UdpSocket::bind(bind).expect("bound");
    socket
        .set_read_timeout(Some(super::client::PATIENCE))
        .expect("set");
    socket
}
