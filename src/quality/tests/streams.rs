//! Loss, jitter and clock rates of single streams.

use super::*;

#[test]
fn a_clean_stream_has_no_loss_its_clock_and_its_rates() {
    let mut relay = Relay::default();
    for n in 0..=1000 {
        relay.pass(Side::Client, n * 20 * MS, &audio(7, n).bytes());
    }
    let interval = relay.interval(Side::Client, 20 * S);
    assert_eq!(interval.loss_ratio, Some(0.0));
    assert_eq!(interval.packets_per_s, Some(50.0));
    assert_eq!(interval.bits_per_s, Some(50.0 * 100.0 * 8.0));
    assert!(is_near(interval.jitter_ms, 0.0, 1e-3), "{interval:?}");
    let streams = relay.streams(20 * S);
    let [stream] = &streams[..] else {
        panic!("one stream: {streams:?}");
    };
    assert_eq!((stream.from, stream.peer), (Side::Client, peer()));
    assert_eq!((stream.ssrc, stream.payload_type), (7, 111));
    assert_eq!(stream.clock_rate_hz, Some(48_000));
    assert_eq!((stream.packets, stream.bytes), (1001, 100_100));
    assert_eq!(stream.totals.expected, 1001);
    assert_eq!(stream.interval.bits_per_s, Some(40_000.0));
    let other = relay.report(20 * S);
    let other = other.side(Side::Peer);
    assert_eq!(other.totals, Totals::default());
    assert_eq!(other.interval.loss_ratio, None);
    assert_eq!(other.interval.jitter_ms, None);
}

#[test]
fn two_percent_of_random_loss_are_counted_to_the_packet() {
    let seed = 0x5eed_2026;
    println!("seed {seed:#x}");
    let mut rng = Rng(seed);
    let mut relay = Relay::default();
    let (mut lost, mut last) = (0, 0);
    for n in 0..200_000_u64 {
        // The first two make the stream.
        if n > 1 && rng.below(50) == 0 {
            lost += u64::from(n < 199_999);
            continue;
        }
        last = n;
        relay.pass(Side::Peer, n * 2 * MS, &audio(7, n).bytes());
    }
    // What is lost after the last packet nobody can know.
    let unknown = 199_999 - last;
    let totals = relay.report(400 * S).side(Side::Peer).totals;
    assert_eq!(totals.expected, 200_000 - unknown);
    assert_eq!(totals.lost + unknown.saturating_sub(1), lost);
    assert_eq!(totals.reordered + totals.duplicates + totals.restarts, 0);
    let interval = relay.interval(Side::Peer, 400 * S);
    assert!(is_near(interval.loss_ratio, 0.02, 0.006), "{interval:?}");
}

/// RFC 3550 §6.4.1, written down as it stands there: whole timestamp units, every packet.
fn jitter_of_the_rfc(packets: &[(u64, u32)], hz: f64) -> f64 {
    let mut jitter = 0.0;
    for pair in packets.windows(2) {
        let [(before_ns, before), (now_ns, now)] = [pair[0], pair[1]];
        let arrival = (now_ns as f64 - before_ns as f64) / 1e9 * hz;
        let difference = arrival - f64::from(now.wrapping_sub(before).cast_signed());
        jitter += (difference.abs() - jitter) / 16.0;
    }
    jitter / hz * 1e3
}

/// The record shows the mean of the estimator over an interval, so the same is done with the independent one.
#[test]
fn jitter_is_that_of_rfc_3550() {
    let seed = 0x5eed_0017;
    println!("seed {seed:#x}");
    let mut rng = Rng(seed);
    let mut relay = Relay::default();
    let mut packets = Vec::new();
    for n in 0..1501_u64 {
        let at_ns = n * 20 * MS + rng.below(40 * MS) / 2;
        relay.pass(Side::Client, at_ns, &audio(7, n).bytes());
        packets.push((at_ns, audio(7, n).timestamp));
    }
    let is_last = |(at_ns, _): &(u64, u32)| (20 * S..30 * S).contains(at_ns);
    let first = packets.iter().position(&is_last).expect("some");
    let last = packets.iter().rposition(is_last).expect("some");
    let each = (first..=last).map(|at| jitter_of_the_rfc(&packets[..=at], 48_000.0));
    let expected = each.sum::<f64>() / (last - first + 1) as f64;
    let found = relay.interval(Side::Client, 30 * S + 25 * MS).jitter_ms;
    println!("{found:?}, {expected}");
    assert!((5.0..8.0).contains(&expected), "{expected}");
    assert!(
        is_near(found, expected as f32, 0.01),
        "{found:?}, not {expected}"
    );
}

/// A frame's packets have one timestamp and are sent one after the other: that is no jitter.
#[test]
fn the_packets_of_a_video_frame_are_no_jitter_and_its_clock_is_found() {
    let mut relay = Relay::default();
    let mut sequence = 0;
    for frame in 0..900_u64 {
        for part in 0..8_u64 {
            let media = Media {
                ssrc: 9,
                payload_type: 96,
                sequence,
                timestamp: (frame * 3000) as u32,
                len: 1100,
            };
            sequence = sequence.wrapping_add(1);
            let at_ns = frame * S / 30 + part * 3 * MS;
            relay.pass(Side::Peer, at_ns, &media.bytes());
        }
    }
    let [stream] = &relay.streams(30 * S)[..] else {
        panic!("one stream");
    };
    assert_eq!(stream.clock_rate_hz, Some(90_000));
    assert!(is_near(stream.interval.jitter_ms, 0.0, 1e-3), "{stream:?}");
    let side = relay.interval(Side::Peer, 30 * S);
    assert!(is_near(side.bits_per_s, 30.0 * 8.0 * 1100.0 * 8.0, 1e4));
}

/// Retransmissions have the timestamps of what was lost: back and forth.
#[test]
fn a_stream_whose_timestamps_go_back_has_no_clock_and_no_jitter() {
    let mut relay = Relay::default();
    let mut rng = Rng(3);
    for n in 0..1500_u64 {
        let mut media = audio(7, n);
        media.timestamp = media.timestamp.wrapping_sub(960 * rng.below(10) as u32);
        relay.pass(Side::Client, n * 20 * MS, &media.bytes());
    }
    let [stream] = &relay.streams(30 * S)[..] else {
        panic!("one stream");
    };
    assert_eq!(
        (stream.clock_rate_hz, stream.interval.jitter_ms),
        (None, None)
    );
    assert_eq!(stream.totals.lost, 0);
    assert_eq!(relay.interval(Side::Client, 30 * S).jitter_ms, None);
}

/// A layer that is switched off, or a muted microphone.
#[test]
fn a_pause_is_neither_loss_nor_jitter() {
    let mut relay = Relay::default();
    for n in 0..3000_u64 {
        // After 20 s nothing for 20 s; the numbers go on, the timestamps as the clock does.
        let pause = u64::from(n >= 1000);
        let mut media = audio(7, n);
        media.timestamp = media.timestamp.wrapping_add(960 * 1000 * pause as u32);
        relay.pass(Side::Client, (n + 1000 * pause) * 20 * MS, &media.bytes());
    }
    let report = relay.report(80 * S);
    assert_eq!(report.side(Side::Client).totals.expected, 3000);
    assert_eq!(report.side(Side::Client).totals.lost, 0);
    assert_eq!(report.side(Side::Client).totals.restarts, 0);
    let history = report.details.expect("asked for").history;
    for (at, [client, _]) in history.steps.iter().enumerate() {
        let is_pause = (2..4).contains(&at);
        assert_eq!(client.loss_ratio.is_none(), is_pause, "{at}");
        assert!(client.jitter_ms.is_none_or(|ms| ms < 0.01), "{at}");
        assert_eq!(client.bits_per_s == Some(0.0), is_pause, "{at}");
    }
}

/// An SFU that goes over to another source without a new SSRC.
#[test]
fn a_source_that_jumps_is_a_restart_and_no_loss() {
    let mut relay = Relay::default();
    for n in 0..1000_u64 {
        let mut media = audio(7, n);
        if n >= 500 {
            media.sequence = media.sequence.wrapping_add(20_000);
            media.timestamp = media.timestamp.wrapping_add(1 << 30);
        }
        relay.pass(Side::Peer, n * 20 * MS, &media.bytes());
    }
    let totals = relay.report(20 * S).side(Side::Peer).totals;
    assert_eq!(
        (totals.expected, totals.lost, totals.restarts),
        (1000, 0, 1)
    );
}

/// 5 s at 1000 packets a second are more than RFC 3550 takes for a gap.
#[test]
fn an_outage_of_a_fast_stream_is_loss() {
    let mut relay = Relay::default();
    for n in 0..20_000_u64 {
        let media = Media {
            ssrc: 9,
            payload_type: 96,
            sequence: n as u16,
            timestamp: (n * 90) as u32,
            len: 1200,
        };
        if !(10_000..15_000).contains(&n) {
            relay.pass(Side::Client, n * MS, &media.bytes());
        }
    }
    let totals = relay.report(20 * S).side(Side::Client).totals;
    assert_eq!(
        (totals.expected, totals.lost, totals.restarts),
        (20_000, 5000, 0)
    );
}

#[test]
fn late_packets_of_the_next_interval_take_back_what_the_last_one_lacked() {
    let mut relay = Relay::default();
    let order = (0..499).chain([500, 499]).chain(501..1001);
    for (place, n) in order.enumerate() {
        relay.pass(Side::Client, place as u64 * 20 * MS, &audio(7, n).bytes());
    }
    let report = relay.report(20 * S);
    let side = report.side(Side::Client);
    assert_eq!((side.totals.lost, side.totals.reordered), (0, 1));
    assert_eq!(side.interval.loss_ratio, Some(0.0));
}

/// The clock is read once a batch, so packets come in bunches of 4 ms.
#[test]
fn a_coarse_clock_is_little_jitter() {
    let mut relay = Relay::default();
    for n in 0..1500_u64 {
        let at_ns = n * 20 * MS + n * 7919 % 1000 * 1000;
        relay.pass(
            Side::Client,
            at_ns / (4 * MS) * 4 * MS,
            &audio(7, n).bytes(),
        );
    }
    let interval = relay.interval(Side::Client, 30 * S);
    assert!(is_near(interval.jitter_ms, 0.0, 4.0), "{interval:?}");
}
