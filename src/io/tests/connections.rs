//! Clients over TCP and TLS.

use super::client::{
    Client, Link, StreamLink, binding_request, channel_data, data_indication, tcp,
};
use super::{accepted, handshake, serve, settings, until};
use crate::addr::ClientAddr;
use crate::io::Settings;
use std::io::{Read, Write};
use std::net::{Shutdown, UdpSocket};

#[test]
fn channels_and_indications_work_over_tcp_and_tls() {
    let server = serve(settings());
    relay_both_ways(&mut server.tcp_client());
    relay_both_ways(&mut server.tls_client());
}

fn relay_both_ways<L: Link>(client: &mut Client<L>) {
    let peer = UdpSocket::bind("127.0.0.1:0").expect("bound");
    peer.set_read_timeout(Some(super::client::PATIENCE))
        .expect("set");
    let peer_addr = peer.local_addr().expect("bound");
    let relayed = client.allocate(&[]).expect("allocated");
    client.permit(peer_addr).expect("permitted");
    peer.send_to(b"by indication", relayed).expect("sent");
    let received = client.receive().expect("relayed");
    assert_eq!(
        data_indication(&received),
        (peer_addr, b"by indication".to_vec())
    );
    client.bind_channel(0x4000, peer_addr).expect("bound");
    let bytes: Vec<u8> = (0..60_000u32).map(|n| (n % 251) as u8).collect();
    for len in [0, 1, 2, 3, 4, 5, 172, 1201, 2047, 30_001, 60_000] {
        client.send_channel(0x4000, &bytes[..len]);
        let mut buffer = vec![0; 65536];
        let (got, from) = peer.recv_from(&mut buffer).expect("relayed");
        assert_eq!(from, relayed);
        assert!(buffer[..got] == bytes[..len], "{len} to the peer");
        peer.send_to(&bytes[..len], relayed).expect("sent");
        let received = client.receive().expect("relayed");
        assert!(
            received == channel_data(0x4000, &bytes[..len]),
            "{len} to the client"
        );
    }
    // Many frames at once, whatever writes and records they travel in.
    for number in 0..100u8 {
        peer.send_to(&vec![number; usize::from(number)], relayed)
            .expect("sent");
    }
    for number in 0..100u8 {
        let expected = channel_data(0x4000, &vec![number; usize::from(number)]);
        assert_eq!(client.receive(), Some(expected));
    }
}

/// What was read to tell the protocol apart comes first, wherever it was cut.
#[test]
fn messages_are_whole_wherever_the_stream_is_cut() {
    let server = serve(settings());
    let first = binding_request();
    let second = binding_request();
    let stream = [&first[..], &second].concat();
    for cut in 0..=stream.len() {
        let (client, end) = server.connection();
        server.take_over(accepted(end, None, stream[..cut].to_vec()));
        let mut client = tcp(client);
        (&client.link.stream)
            .write_all(&stream[cut..])
            .expect("written");
        for request in [&first, &second] {
            let answer = client.receive().expect("answered");
            assert_eq!(answer[4..20], request[4..20], "cut at {cut}");
        }
    }
}

#[test]
fn plaintext_that_tls_had_ready_is_served_without_another_byte() {
    let server = serve(settings());
    let (client, end) = server.connection();
    let (mut client, mut server_tls) = handshake(client, &end);
    let [early, ready] = [(); 2].map(|()| binding_request());
    client.write_all(&early).expect("written");
    client.write_all(&ready).expect("written");
    client.flush().expect("flushed");
    // The listener reads the first byte alone; the rest lies decrypted or not in its TLS state.
    let mut first = [0];
    while server_tls.reader().read(&mut first).is_err() {
        server_tls.read_tls(&mut &end).expect("read");
        server_tls.process_new_packets().expect("decrypted");
    }
    server.take_over(accepted(end, Some(server_tls), first.to_vec()));
    let mut client = Client::new(StreamLink::new(client));
    for request in [early, ready] {
        let answer = client.receive().expect("answered");
        assert_eq!(answer[4..20], request[4..20]);
    }
}

#[test]
fn bytes_that_are_no_message_close_the_connection_and_are_counted() {
    let server = serve(settings());
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0x80],
        &[0, 1, 0, 0, 0, 0, 0, 0],
    ] {
        let (client, end) = server.connection();
        server.take_over(accepted(end, None, Vec::new()));
        let mut client = tcp(client);
        (&client.link.stream).write_all(garbage).expect("written");
        assert_eq!(client.receive(), None);
    }
    until("counted", || {
        server.metric("relayd_media_streams_ended_total{reason=\"unparseable\"}") == 3
    });
}

#[test]
fn a_stranger_may_not_leave_a_long_message_unfinished() {
    let server = serve(settings());
    let mut client = server.tcp_client();
    let header = [0, 1, 0xff, 0xfc, 0x21, 0x12, 0xa4, 0x42];
    (&client.link.stream).write_all(&header).expect("written");
    // It may close before all is written.
    let _ = (&client.link.stream).write_all(&[0; 16 << 10]);
    assert_eq!(client.receive(), None);
}

/// RFC 8656 §3.1: the allocation ends with its connection.
#[test]
fn the_end_of_a_connection_frees_its_allocation_at_once() {
    let server = serve(settings());
    let mut finished = server.tcp_client();
    finished.allocate(&[]).expect("allocated");
    until("one", || server.handle.allocation_count() == 1);
    finished
        .link
        .stream
        .shutdown(Shutdown::Write)
        .expect("shut down");
    assert_eq!(finished.receive(), None);
    until("none after FIN", || server.handle.allocation_count() == 0);

    let mut noticed = server.tls_client();
    noticed.allocate(&[]).expect("allocated");
    noticed.link.stream.conn.send_close_notify();
    noticed.link.stream.flush().expect("flushed");
    assert_eq!(noticed.receive(), None);
    until("none after close_notify", || {
        server.handle.allocation_count() == 0
    });

    let mut reset = server.tcp_client();
    reset.allocate(&[]).expect("allocated");
    let socket = socket2::SockRef::from(&reset.link.stream);
    socket
        .set_linger(Some(std::time::Duration::ZERO))
        .expect("set");
    drop(reset);
    until("none after RST", || server.handle.allocation_count() == 0);
    until("no connection", || server.handle.stream_count() == 0);
}

#[test]
fn an_answer_leaves_although_the_client_has_finished_writing() {
    let server = serve(settings());
    let (client, end) = server.connection();
    let mut client = tcp(client);
    client.link.send(&binding_request());
    client
        .link
        .stream
        .shutdown(Shutdown::Write)
        .expect("shut down");
    server.take_over(accepted(end, None, Vec::new()));
    assert!(client.receive().is_some());
    assert_eq!(client.receive(), None);
}

#[test]
fn a_connection_without_an_allocation_is_closed_after_its_time() {
    let server = serve(Settings {
        stream_idle_s: 2,
        ..settings()
    });
    let mut busy = server.tcp_client();
    busy.allocate(&[]).expect("allocated");
    let mut silent = server.tls_client();
    assert_eq!(silent.receive(), None);
    let peer = UdpSocket::bind("127.0.0.1:0").expect("bound");
    busy.permit(peer.local_addr().expect("bound"))
        .expect("still open");
    busy.refresh(0).expect("deleted");
    assert_eq!(busy.receive(), None, "closed when its allocation was gone");
    until("counted", || {
        server.metric("relayd_media_streams_ended_total{reason=\"idle\"}") == 2
    });
}

/// Behind a proxy a client's port may be used again before the old connection's end was seen.
#[test]
fn a_connection_with_the_same_5_tuple_replaces_the_older_one() {
    let server = serve(Settings {
        workers: 4,
        ..settings()
    });
    let shown = ClientAddr::new("198.51.100.7:40000".parse().expect("valid"));
    let mut older = None;
    for _ in 0..5 {
        let (client, end) = server.connection();
        let mut stream = accepted(end, None, Vec::new());
        stream.five_tuple.client = shown;
        stream.five_tuple.server = "203.0.113.9:443".parse().expect("valid");
        server.take_over(stream);
        let mut client = tcp(client);
        assert_eq!(client.binding(), shown.socket_addr());
        if let Some(mut older) = older.replace(client) {
            assert_eq!(older.receive(), None);
        }
    }
    until("one is left", || server.handle.stream_count() == 1);
}

#[test]
fn connections_are_spread_over_the_workers_and_refused_after_stop() {
    let server = serve(Settings {
        workers: 2,
        ..settings()
    });
    let mut clients: Vec<_> = (0..10).map(|_| server.tcp_client()).collect();
    for client in &mut clients {
        client.binding();
    }
    assert_eq!(server.handle.stream_count(), 10);
    server.handle.stop();
    for client in &mut clients {
        assert_eq!(client.receive(), None);
    }
    let (_client, end) = server.connection();
    let stream = accepted(end, None, Vec::new());
    assert!(server.handle.take_over(stream).is_err());
    server.handle.join();
    assert_eq!(server.handle.stream_count(), 0);
}
