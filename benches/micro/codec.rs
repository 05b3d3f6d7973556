//! Reading and writing frames and messages.

use crate::bench::Runner;
use crate::wire::{self, Writer};
use relayd::stun::indication::{DATA_HEADER_LEN_MAX, data_header, parse_send};
use relayd::stun::integrity::{Algorithm, md5_key};
use relayd::stun::message::{Message, Reply};
use relayd::stun::{channel_data, framing};
use std::hint::black_box;
use std::net::SocketAddrV4;

const PAYLOAD: [u8; 172] = [7; 172];

pub fn run(runner: &mut Runner) {
    let peer: SocketAddrV4 = "8.8.8.8:5000".parse().expect("an address");
    let frame = [
        &channel_data::header(0x4000, PAYLOAD.len()).expect("short")[..],
        &PAYLOAD,
    ]
    .concat();
    let send = Writer::new(wire::SEND, 1)
        .add_peer(peer)
        .add(wire::DATA, &PAYLOAD)
        .plain();
    let key = md5_key("user", "realm", "password");
    let allocate = Writer::new(wire::ALLOCATE, 2)
        .add(wire::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
        .add(wire::USERNAME, b"user")
        .add(wire::REALM, b"realm")
        .add(wire::NONCE, &[b'n'; 32])
        .protected(&key);
    let stream = [&frame[..], &send, &frame, &allocate].concat();

    runner.bench("codec/channel_data_read", || {
        channel_data::parse(black_box(&frame))
    });
    runner.bench("codec/channel_data_header", || {
        channel_data::header(0x4000, black_box(172))
    });
    runner.bench("codec/send_indication_read", || {
        parse_send(black_box(&send)).map(|read| read.payload)
    });
    runner.bench("codec/data_indication_header", || {
        let mut out = [0; DATA_HEADER_LEN_MAX];
        data_header(&mut out, [9; 12], black_box(peer.into()), 172);
        out
    });
    runner.bench("codec/stream_of_4_cut", || {
        let (mut at, mut frames) = (0, 0);
        while let Ok(framing::Framing::Message { padded_len, .. }) =
            framing::next(black_box(&stream[at..]))
        {
            at += padded_len;
            frames += 1;
        }
        assert_eq!(frames, 4);
    });
    runner.bench("codec/allocate_read", || {
        Message::parse(black_box(&allocate)).is_ok()
    });
    runner.bench("codec/allocate_integrity", || {
        let message = Message::parse(&allocate).expect("whole");
        assert!(message.is_protected_by(Algorithm::Sha1, black_box(&key)));
    });
    runner.bench("codec/success_written_and_protected", || {
        let message = Message::parse(&allocate).expect("whole");
        let mut reply = Reply::success(&message);
        reply.add_raw(wire::LIFETIME, &600_u32.to_be_bytes());
        reply.finish(Some((Algorithm::Sha1, black_box(&key))))
    });
}
