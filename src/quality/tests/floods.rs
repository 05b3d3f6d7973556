//! What strangers may send: anything, in any number.

use super::*;
use proptest::prelude::*;

#[test]
fn a_flood_of_made_up_streams_displaces_none_and_takes_no_memory() {
    let mut relay = Relay::default();
    let mut rng = Rng(11);
    for n in 0..2000_u64 {
        relay.pass(Side::Client, n * 20 * MS, &audio(7, n).bytes());
        for _ in 0..50 {
            let media = Media {
                ssrc: rng.next() as u32,
                payload_type: 96,
                sequence: rng.next() as u16,
                timestamp: rng.next() as u32,
                len: 60,
            };
            relay.pass(Side::Client, n * 20 * MS, &media.bytes());
        }
    }
    let streams = relay.streams(40 * S);
    assert_eq!(streams.len(), 1, "{streams:?}");
    assert_eq!((streams[0].ssrc, streams[0].totals.lost), (7, 0));
    // It had to wait for its turn.
    assert!(streams[0].totals.expected > 1500, "{streams:?}");
}

#[test]
fn the_longest_idle_stream_makes_room_and_its_sums_stay() {
    let mut relay = Relay::default();
    for ssrc in 0..20_u32 {
        for n in [0, 1, 3] {
            let at_ns = (u64::from(ssrc) * 100 + n) * MS;
            relay.pass(Side::Peer, at_ns, &audio(ssrc, n).bytes());
        }
    }
    let report = relay.report(2 * S);
    let totals = report.side(Side::Peer).totals;
    assert_eq!((totals.expected, totals.lost), (80, 20));
    let details = report.details.expect("asked for");
    let mut ssrcs: Vec<u32> = details.streams.iter().map(|stream| stream.ssrc).collect();
    ssrcs.sort_unstable();
    assert_eq!(ssrcs, (4..20).collect::<Vec<u32>>());
    assert_eq!(details.streams_forgotten, 4);
}

/// A large conference: what finds no room must not cost the others their measure.
#[test]
fn more_live_streams_than_there_is_room_for_leave_the_measured_ones_as_they_are() {
    let mut relay = Relay::default();
    for n in 0..3000_u64 {
        for ssrc in (0..20_u32).filter(|ssrc| (n + u64::from(*ssrc)) % 20 != 19) {
            let at_ns = (n * 20 + u64::from(ssrc)) * MS;
            relay.pass(Side::Peer, at_ns, &audio(ssrc, n).bytes());
        }
    }
    let report = relay.report(60 * S);
    let side = report.side(Side::Peer);
    assert!(is_near(side.interval.loss_ratio, 0.05, 1e-3), "{side:?}");
    assert!(is_near(side.interval.jitter_ms, 0.0, 0.01), "{side:?}");
    assert_eq!(side.packets(Kind::Rtp), 3000 * 19);
    assert_eq!(side.interval.packets_per_s, Some(20.0 * 47.5));
    let details = report.details.expect("asked for");
    assert_eq!((details.streams.len(), details.streams_forgotten), (16, 0));
    for stream in &details.streams {
        assert!(stream.totals.expected > 2900, "{stream:?}");
        assert_eq!(stream.clock_rate_hz, Some(48_000), "{stream:?}");
    }
}

/// With a second packet each, which is what makes a stream.
#[test]
fn made_up_streams_that_come_in_pairs_displace_no_live_one() {
    let mut relay = Relay::default();
    for n in 0..1000_u64 {
        for ssrc in 1..=3 {
            relay.pass(Side::Client, n * 20 * MS, &audio(ssrc, n).bytes());
        }
        // Who comes first has the room.
        for made_up in (0..20_u32).filter(|_| n > 5) {
            let ssrc = 1000 + 20 * n as u32 + made_up;
            for second in 0..2 {
                relay.pass(Side::Client, n * 20 * MS, &audio(ssrc, second).bytes());
            }
        }
    }
    let streams = relay.streams(20 * S);
    assert_eq!(streams.len(), 16);
    for ssrc in 1..=3 {
        let stream = streams.iter().find(|stream| stream.ssrc == ssrc);
        let stream = stream.expect("it was there first");
        let Totals { expected, lost, .. } = stream.totals;
        assert!((expected > 990, lost) == (true, 0), "{stream:?}");
    }
}

/// Several begin at once, packet by packet in turn.
#[test]
fn streams_that_begin_together_are_all_found() {
    let mut relay = Relay::default();
    for n in 0..10 {
        for ssrc in 0..4 {
            relay.pass(Side::Client, n * 20 * MS, &audio(ssrc, n).bytes());
        }
    }
    let streams = relay.streams(2 * S);
    assert_eq!(streams.len(), 4);
    assert!(streams.iter().all(|stream| stream.packets == 10));
    let report = relay.report(2 * S);
    assert_eq!(report.side(Side::Client).totals.expected, 40);
}

/// The record with what a video call has: audio, video, retransmissions and a second layer up, audio and video down.
#[test]
fn the_record_of_a_long_call_stays_small() {
    let mut relay = Relay::default();
    for n in 0..100_000_u64 {
        for (side, ssrcs) in [(Side::Client, 0..4), (Side::Peer, 10..12)] {
            for ssrc in ssrcs {
                relay.pass(side, n * 20 * MS, &audio(ssrc, n).bytes());
            }
        }
    }
    let call = relay.call.expect("something was measured");
    println!("{} + {}", size_of::<Call>(), call.heap_bytes());
    assert!(size_of::<Call>() <= 1024, "{}", size_of::<Call>());
    assert!(size_of::<Call>() + call.heap_bytes() <= 3400);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_bytes_at_any_time_panic_and_figures_stay_in_their_bounds(
        packets in prop::collection::vec(
            (any::<bool>(), 0_u64..20_000, prop::collection::vec(any::<u8>(), 0..64), 0_u8..5), 1..200,
        )
    ) {
        let mut relay = Relay::default();
        let mut at_ns = 0;
        for (from_client, pause_ms, mut bytes, shape) in packets {
            at_ns += pause_ms * MS;
            // Mostly something that is looked into.
            if let Some(first) = bytes.first_mut() {
                *first = [0x80, 0x90, 0x00, *first, 0x81][usize::from(shape)];
            }
            if shape < 2 && bytes.len() >= 12 {
                let ssrc = bytes[11] & 3;
                bytes[8..12].copy_from_slice(&[0, 0, 0, ssrc]);
            }
            relay.pass(if from_client { Side::Client } else { Side::Peer }, at_ns, &bytes);
            if relay.call.is_some() {
                let report = relay.report(at_ns + 3000 * MS);
                prop_assert!(report.trouble.score <= 100);
                for side in Side::ALL {
                    let side = report.side(side);
                    prop_assert!(side.totals.lost <= side.totals.expected);
                    prop_assert!(side.interval.loss_ratio.is_none_or(|ratio| (0.0..=1.0).contains(&ratio)));
                    prop_assert!(side.interval.jitter_ms.is_none_or(|ms| ms >= 0.0 && ms.is_finite()));
                }
            }
        }
    }
}
