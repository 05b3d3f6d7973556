//! Clients that read slowly: what they lose, and what they never lose.

use super::{accepted, handshake, serve, settings};
use crate::io::stream::{Stream, StreamEnd};
use std::io::{IoSlice, Read};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

const QUEUE_BYTES_MAX: usize = 64 << 10;
const FRAME_LEN: usize = 1200;

/// A frame that says what it is and which it is.
fn frame(number: u32, media: bool) -> Vec<u8> {
    let mut frame = vec![number as u8; FRAME_LEN];
    frame[..4].copy_from_slice(&number.to_be_bytes());
    frame[4] = u8::from(media);
    frame
}

/// Sends frames, every tenth a reply, until media had to go; returns how many were sent and how many went.
fn overfill(stream: &mut Stream) -> (u32, u64) {
    let mut number = 0;
    let mut dropped = 0;
    while dropped < 20 {
        let media = number % 10 != 9;
        let bytes = frame(number, media);
        dropped += stream
            .send(&[IoSlice::new(&bytes)], &[media])
            .expect("still open");
        number += 1;
    }
    (number, dropped)
}

/// Reads and lets the server write until `total` frames less `dropped` have come.
fn drain(stream: &mut Stream, mut client: impl Read, frames: usize) -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    while bytes.len() < frames * FRAME_LEN {
        let len = client.read(&mut chunk).expect("readable");
        assert!(len > 0, "the stream stays open");
        bytes.extend(&chunk[..len]);
        stream.send_queued().expect("still open");
    }
    assert_eq!(bytes.len() % FRAME_LEN, 0);
    bytes.chunks(FRAME_LEN).map(<[u8]>::to_vec).collect()
}

fn check(frames: &[Vec<u8>], sent: u32) {
    let number = |frame: &Vec<u8>| u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
    let numbers: Vec<u32> = frames.iter().map(number).collect();
    assert!(numbers.is_sorted(), "order is kept");
    for bytes in frames {
        assert_eq!(
            *bytes,
            frame(number(bytes), bytes[4] == 1),
            "a frame arrives whole"
        );
    }
    let replies = frames.iter().filter(|frame| frame[4] == 0).count();
    assert_eq!(replies, sent as usize / 10, "no reply is lost");
    assert_eq!(numbers.last(), Some(&(sent - 1)), "the newest is there");
}

#[test]
fn a_slow_client_over_tcp_loses_its_oldest_media_only() {
    let (client, server) = connection();
    let accepted = accepted(server, None, Vec::new());
    let mut stream = Stream::new(accepted, QUEUE_BYTES_MAX, Instant::now());
    let (sent, dropped) = overfill(&mut stream);
    assert!(stream.is_blocked());
    let frames = drain(&mut stream, client, sent as usize - dropped as usize);
    check(&frames, sent);
    assert!(!stream.is_blocked());
}

#[test]
fn a_slow_client_over_tls_loses_its_oldest_media_only() {
    let (client, server) = connection();
    let (client, tls) = handshake(client, &server);
    let accepted = accepted(server, Some(tls), Vec::new());
    let mut stream = Stream::new(accepted, QUEUE_BYTES_MAX, Instant::now());
    let (sent, dropped) = overfill(&mut stream);
    assert!(stream.is_blocked());
    let frames = drain(&mut stream, client, sent as usize - dropped as usize);
    check(&frames, sent);
    assert!(!stream.is_blocked());
}

#[test]
fn a_client_that_asks_and_never_reads_is_given_up() {
    let (_client, server) = connection();
    let accepted = accepted(server, None, Vec::new());
    let mut stream = Stream::new(accepted, QUEUE_BYTES_MAX, Instant::now());
    let reply = frame(0, false);
    let end = std::iter::repeat_with(|| stream.send(&[IoSlice::new(&reply)], &[false]))
        .find_map(Result::err);
    assert_eq!(end, Some(StreamEnd::RepliesOverflow));
}

/// The whole way: a flood from a peer to a client that does not read costs frames, not the server.
#[test]
fn a_flood_for_a_client_that_does_not_read_is_dropped_and_counted() {
    let server = serve(crate::io::Settings {
        stream_queue_bytes_max: QUEUE_BYTES_MAX,
        ..settings()
    });
    let mut slow = server.tls_client();
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
    let relayed = slow.allocate(&[]).expect("allocated");
    slow.bind_channel(0x4000, peer.local_addr().expect("bound"))
        .expect("bound");
    super::until("dropped", || {
        for _ in 0..64 {
            peer.send_to(&[7; FRAME_LEN], relayed).expect("sent");
        }
        server.metric("relayd_media_stream_dropped_frames_total") > 100
    });
    assert_eq!(server.udp_client().binding().ip(), relayed.ip());
    // What does arrive is in step.
    for _ in 0..100 {
        let expected = super::client::channel_data(0x4000, &[7; FRAME_LEN]);
        assert_eq!(slow.receive(), Some(expected));
    }
    slow.refresh(600).expect("answers come through");
}

/// A connection with small socket buffers; the server end does not block.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
    let (server, _) = listener.accept().expect("accepted");
    let small = socket2::SockRef::from(&server);
    small.set_send_buffer_size(16 << 10).expect("set");
    client
        .set_read_timeout(Some(super::client::PATIENCE))
        .expect("set");
    (client, server)
}
