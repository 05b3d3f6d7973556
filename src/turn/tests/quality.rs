//! What is measured of a call is what is relayed, on the side that it comes from.

use super::*;
use crate::quality::{Kind, Report, Side, Trouble};

const OTHER_PEER: &str = "8.8.8.8:6000";

/// The nth packet of a stream, every 20 ms.
fn rtp(ssrc: u32, n: u32) -> Vec<u8> {
    let mut bytes = vec![0x80, 111];
    bytes.extend((n as u16).to_be_bytes());
    bytes.extend((960 * n).to_be_bytes());
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend([0xa5; 88]);
    bytes
}

impl World {
    fn quality(&self) -> Option<Report> {
        let mut found = Vec::new();
        self.server.visit(self.now.instant(), 0, 100, |view| {
            let report = view.quality(true);
            let trouble = report.as_ref().map_or(0, |report| report.trouble.score);
            assert_eq!(view.trouble(), trouble);
            found.push(report);
        });
        assert_eq!(found.len(), 1, "one allocation");
        found.remove(0)
    }
}

/// Channels up, both ways of sending down: what is lost on a way shows on the side where it comes from.
#[test]
fn relayed_media_fills_the_side_that_it_comes_from() {
    let mut world = World::new();
    world.checked = false;
    let mut client = world.allocated();
    client.bind(&mut world, 0x4000, PEER);
    client.permit(&mut world, OTHER_PEER);
    assert_eq!(world.quality(), None);
    for n in 0..1000 {
        // The channel loses 1 in 10, the Send indications 1 in 5, the peer nothing.
        if n % 10 != 3 {
            client.channel_data(&mut world, 0x4000, &rtp(1, n));
        }
        if n % 5 != 3 {
            client.send(&mut world, OTHER_PEER, &rtp(2, n));
        }
        world.peer_sends(client.relay(), PEER, &rtp(3, n));
        world.pass(Duration::from_millis(20));
    }
    let report = world.quality().expect("measured");
    let (of_client, of_peer) = (report.side(Side::Client), report.side(Side::Peer));
    assert_eq!(
        (of_client.totals.expected, of_client.totals.lost),
        (2000, 300)
    );
    assert_eq!((of_peer.totals.expected, of_peer.totals.lost), (1000, 0));
    assert_eq!(of_client.interval.loss_ratio, Some(0.15));
    assert_eq!(of_peer.interval.bits_per_s, Some(40_000.0));
    assert_eq!(of_client.packets(Kind::Rtp), 1700);
    assert!(report.trouble.score > 60);
    let streams = report.details.expect("asked for").streams;
    let told: Vec<_> = streams
        .iter()
        .map(|stream| (stream.from, stream.ssrc, stream.peer, stream.totals.lost))
        .collect();
    let expected = [
        (Side::Client, 1, peer(PEER), 100),
        (Side::Client, 2, peer(OTHER_PEER), 200),
        (Side::Peer, 3, peer(PEER), 0),
    ];
    assert_eq!(told, expected);
    let counts = &world.server.counters().quality;
    assert_eq!(counts.side(Side::Client).packets(Kind::Rtp), 1700);
    assert_eq!(counts.side(Side::Peer).packets(Kind::Rtp), 1000);

    // Two whole intervals, of which the second one ends with the call.
    let observed = |world: &World| {
        let counts = &world.server.counters().quality;
        Side::ALL.map(|side| counts.side(side).loss_ratio.count())
    };
    assert_eq!(observed(&world), [1, 1]);
    client.refresh(&mut world, 0);
    assert_eq!(observed(&world), [2, 2]);
    let end = world.ends().remove(0);
    let quality = end.quality.expect("measured");
    assert_eq!(quality.side(Side::Client).loss_ratio(), Some(0.15));
    assert_eq!(quality.side(Side::Peer).loss_ratio(), Some(0.0));
    assert_eq!(quality.side(Side::Peer).jitter_ms(), Some(0.0));
    assert_eq!(quality.side(Side::Peer).round_trip_ms(), None);
}

#[test]
fn a_call_that_is_not_media_has_no_quality() {
    let mut world = World::new();
    let mut client = world.allocated();
    client.bind(&mut world, 0x4000, PEER);
    client.channel_data(&mut world, 0x4000, b"hello");
    world.peer_sends(client.relay(), PEER, b"hello");
    assert_eq!(world.quality(), None);
    client.refresh(&mut world, 0);
    assert_eq!(world.ends().remove(0).quality, None);
}

/// What arrives and is not relayed has been lost by nobody on the way.
#[test]
fn what_the_servers_own_limit_drops_is_no_loss_and_what_no_permission_covers_is_not_looked_at() {
    let mut world = World::with(|settings| settings.limits.bytes_per_s_per_allocation = 2000);
    world.checked = false;
    let mut client = world.allocated();
    client.bind(&mut world, 0x4000, PEER);
    for n in 0..200 {
        client.channel_data(&mut world, 0x4000, &rtp(1, n));
        world.peer_sends(client.relay(), "8.8.4.4:1", &rtp(9, n));
        world.pass(Duration::from_millis(20));
    }
    assert!(world.drops(DropReason::AllocationBandwidth) > 50);
    let report = world.quality().expect("measured");
    let totals = report.side(Side::Client).totals;
    assert_eq!((totals.expected, totals.lost), (200, 0));
    assert_eq!(report.side(Side::Peer).packets(Kind::Rtp), 0);
}

#[test]
fn switching_it_off_drops_the_records_and_on_begins_anew() {
    let mut world = World::new();
    let mut client = world.allocated();
    client.bind(&mut world, 0x4000, PEER);
    for n in 0..100 {
        client.channel_data(&mut world, 0x4000, &rtp(1, n));
        world.pass(Duration::from_millis(20));
    }
    assert!(world.quality().is_some());
    world.reload(|settings| settings.call_quality = false);
    assert_eq!(world.quality(), None);
    client.channel_data(&mut world, 0x4000, &rtp(1, 100));
    assert_eq!(world.quality(), None);
    let counted = world.server.counters().quality;
    assert_eq!(counted.side(Side::Client).packets(Kind::Rtp), 100);
    let observed = counted.side(Side::Client).loss_ratio.count();
    assert_eq!(observed, 1, "the interval under way");
    world.reload(|settings| settings.call_quality = true);
    for n in 200..202 {
        client.channel_data(&mut world, 0x4000, &rtp(1, n));
    }
    let report = world.quality().expect("measured");
    assert_eq!(report.side(Side::Client).totals.expected, 2);
    assert_eq!(report.trouble, Trouble::default());
}
