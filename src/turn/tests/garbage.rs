//! Bytes from the network never panic and never leave the tables inconsistent.

use super::*;
use proptest::prelude::*;

/// A client with an allocation, a permission and a channel, so that every path is open to what comes.
fn busy() -> (World, Client) {
    let mut world = World::with(|settings| {
        settings.limits.unauthenticated_per_s_per_address = 0;
    });
    let mut client = world.allocated();
    client.permit(&mut world, PEER);
    client.bind(&mut world, 0x4000, PEER);
    (world, client)
}

fn valid_messages(client: &mut Client) -> Vec<Vec<u8>> {
    client.fingerprint = true;
    let udp = RequestedTransport::new(17);
    let number = ChannelNumber::new(0x4000);
    let both = AdditionalAddressFamily::new(stun_types::AddressFamily::IPV6);
    vec![
        client.plain(ALLOCATE, &[&udp]),
        client.signed(
            ALLOCATE,
            &[&udp, &both, &EvenPort::new(true), &Lifetime::new(700)],
        ),
        client.signed(REFRESH, &[&Lifetime::new(700)]),
        client.signed(CHANNEL_BIND, &[&number]),
        client.signed(CREATE_PERMISSION, &[]),
        client.signed(CONNECT, &[]),
        client.signed(CONNECTION_BIND, &[&ConnectionId::new(1)]),
        send_indication(PEER, b"payload", &[&DontFragment::new()]),
        channel_data(0x4000, b"payload"),
        [&[0, 1, 0, 0][..], &[5; 16]].concat(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn arbitrary_bytes_leave_the_server_sound(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 1..10),
    ) {
        let (mut world, client) = busy();
        for packet in packets {
            world.send(&client.tuple, &packet);
        }
        prop_assert_eq!(world.server.allocation_count(), 1);
    }

    #[test]
    fn cut_and_flipped_messages_leave_the_server_sound(
        pick in any::<prop::sample::Index>(),
        flips in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        transport in prop_oneof![Just(Transport::Udp), Just(Transport::Tcp)],
    ) {
        let (mut world, mut client) = busy();
        let messages = valid_messages(&mut client);
        let mut bytes = messages[pick.index(messages.len())].clone();
        for flip in flips {
            let bit = flip.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let mut tuple = client.tuple;
        tuple.transport = transport;
        world.send(&tuple, &bytes);
        world.pass(seconds(7200));
        prop_assert_eq!(world.server.allocation_count(), 0);
        prop_assert_eq!(world.server.poll_timeout(), None);
    }
}

#[test]
fn messages_that_are_not_for_a_server_are_dropped() {
    let mut world = World::new();
    let client = Client::new(1);
    let message = |kind: [u8; 2]| [&kind[..], &[0, 0, 0x21, 0x12, 0xa4, 0x42], &[5; 12]].concat();
    for (kind, reason) in [
        ([0x01, 0x01], DropReason::UnexpectedMessage),
        ([0x01, 0x11], DropReason::UnexpectedMessage),
        ([0x00, 0x17], DropReason::UnexpectedMessage),
        ([0x00, 0x02], DropReason::UnknownMethod),
        ([0x3e, 0xef], DropReason::UnknownMethod),
    ] {
        let verdict = world.verdict(&client.tuple, &message(kind));
        assert_eq!(verdict, Verdict::Drop(reason), "{kind:x?}");
    }
}

#[test]
fn a_wrong_fingerprint_is_dropped() {
    let mut world = World::new();
    let mut client = Client::new(1);
    client.fingerprint = true;
    let mut bytes = client.plain(ALLOCATE, &[]);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let verdict = world.verdict(&client.tuple, &bytes);
    assert_eq!(verdict, Verdict::Drop(DropReason::Malformed));
}

/// RFC 8489 §14.5: nobody can add to a request after its integrity.
#[test]
fn what_follows_message_integrity_is_ignored() {
    let mut world = World::new();
    let mut client = world.allocated();
    let mut bytes = client.signed(REFRESH, &[]);
    bytes.extend([0x00, 0x0d, 0, 4, 0, 0, 0, 0]);
    let length = u16::try_from(bytes.len() - 20).expect("short");
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    let answer = world.ask(&client.tuple, &bytes);
    assert_eq!(
        (answer.code(), answer.lifetime()),
        (0, 600),
        "LIFETIME 0 did not count"
    );
    assert_eq!(world.server.allocation_count(), 1);
}
