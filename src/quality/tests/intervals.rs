//! When intervals end, what is shown meanwhile, and what is told at the end.

use super::*;

#[test]
fn nothing_that_can_be_measured_makes_no_record_and_is_counted_all_the_same() {
    let mut relay = Relay::default();
    for bytes in [&b"hello"[..], b"", &[16; 40], &[70; 40], &[0x80; 4]] {
        relay.pass(Side::Client, 0, bytes);
    }
    assert!(relay.call.is_none());
    assert_eq!(relay.counts.side(Side::Client).packets(Kind::Other), 5);
    let mut dtls = vec![22; 40];
    relay.pass(Side::Peer, 0, &dtls);
    dtls[0] = 70;
    relay.pass(Side::Peer, 0, &dtls);
    let report = relay.report(0);
    let side = report.side(Side::Peer);
    assert_eq!(
        (side.packets(Kind::Dtls), side.packets(Kind::Other)),
        (1, 1)
    );
    assert_eq!(side.interval, Interval::default(), "too early to say");
}

#[test]
fn the_first_interval_is_shown_while_it_goes_on_but_not_at_once() {
    let mut relay = Relay::default();
    for n in 0..100 {
        relay.pass(Side::Client, n * 20 * MS, &audio(7, n).bytes());
    }
    assert_eq!(relay.interval(Side::Client, 500 * MS), Interval::default());
    let interval = relay.interval(Side::Client, 2 * S);
    assert_eq!(
        (interval.packets_per_s, interval.loss_ratio),
        (Some(50.0), Some(0.0))
    );
    assert_eq!(relay.streams(2 * S)[0].interval.packets_per_s, Some(50.0));
    assert_eq!(
        relay
            .report(2 * S)
            .details
            .expect("asked for")
            .history
            .steps
            .len(),
        1
    );
}

#[test]
fn a_stream_that_falls_silent_shows_no_old_rate_although_no_packet_ends_its_interval() {
    let mut relay = Relay::default();
    for n in 0..750 {
        relay.pass(Side::Client, n * 20 * MS, &audio(7, n).bytes());
    }
    assert_eq!(
        relay.interval(Side::Client, 15 * S).packets_per_s,
        Some(50.0)
    );
    assert_eq!(
        relay.interval(Side::Client, 20 * S).packets_per_s,
        Some(25.0)
    );
    for at_ns in [30 * S, 40 * S, 3600 * S] {
        let interval = relay.interval(Side::Client, at_ns);
        assert_eq!(
            (interval.packets_per_s, interval.loss_ratio),
            (Some(0.0), None)
        );
        let stream = &relay.streams(at_ns)[0];
        assert_eq!(stream.interval.packets_per_s, Some(0.0));
        assert_eq!(stream.interval.bits_per_s, Some(0.0));
        assert!((stream.idle_s - (at_ns as f64 / 1e9 - 14.98)).abs() < 1e-6);
    }
    let history = relay.report(3600 * S).details.expect("asked for").history;
    assert_eq!(history.steps.len() as f64 * history.step_s, 3600.0);
}

#[test]
fn the_last_step_of_a_history_says_what_it_covers_and_how_old_it_is() {
    let mut relay = Relay::default();
    for n in 0..65_000 {
        relay.pass(Side::Client, n * 20 * MS, &audio(7, n).bytes());
    }
    let history = |relay: &Relay, at_ns: u64| {
        let history = relay.report(at_ns).details.expect("asked for").history;
        let before = (history.steps.len() - 1) as f64 * history.step_s;
        let whole = before + history.last_step_s + history.age_s;
        assert!((whole - at_ns as f64 / 1e9).abs() < 1e-6, "{whole}");
        [history.step_s, history.last_step_s, history.age_s]
    };
    // 130 intervals: 32 steps of four, and half a one.
    assert_eq!(history(&relay, 1303 * S), [40.0, 20.0, 3.0]);
    assert_eq!(history(&relay, 1320 * S), [40.0, 40.0, 0.0]);
    let mut relay = Relay::default();
    for n in 0..10 {
        relay.pass(Side::Client, n * 20 * MS, &audio(7, n).bytes());
    }
    assert_eq!(history(&relay, 4 * S), [10.0, 4.0, 0.0], "under way");
    assert_eq!(history(&relay, 14 * S), [10.0, 10.0, 4.0]);
}

/// Whether it is looked at each interval, or for the first time after all of them.
#[test]
fn a_call_that_is_idle_for_long_is_shown_as_if_it_had_been_watched() {
    let idle = || {
        let mut relay = Relay::default();
        for n in 0..750 {
            relay.pass(Side::Client, n * 20 * MS, &audio(7, n).bytes());
        }
        relay
    };
    let mut watched = idle();
    let call = watched.call.as_mut().expect("something was measured");
    for interval in 2..=5 * 360 {
        let now_ns = START_NS + interval * 10 * S + 3 * S;
        call.finish(now_ns, &mut watched.counts);
    }
    let at_ns = 5 * 3600 * S + 3 * S;
    assert_eq!(watched.report(at_ns), idle().report(at_ns));

    let year_ns = 365 * 24 * 3600 * S;
    let mut relay = idle();
    let history = relay.report(year_ns).details.expect("asked for").history;
    assert!((30..=60).contains(&history.steps.len()), "{history:?}");
    relay.pass(Side::Client, year_ns, &audio(7, 750).bytes());
    let interval = relay.interval(Side::Client, year_ns);
    assert_eq!(interval.packets_per_s, Some(0.0));
}

#[test]
fn trouble_follows_the_last_interval() {
    let mut relay = Relay::default();
    for n in 0..2000 {
        // In the second interval every twentieth packet is lost.
        if (500..1000).contains(&n) && n % 20 == 10 {
            continue;
        }
        relay.pass(Side::Peer, n * 20 * MS, &audio(7, n).bytes());
        let at_ns = n * 20 * MS;
        if n == 999 {
            assert_eq!(relay.trouble(at_ns), 0);
            assert_eq!(relay.trouble(20 * S), 60);
        }
        if n == 1400 {
            let trouble = relay.report(at_ns).trouble;
            assert_eq!(
                (trouble.score, trouble.worst),
                (60, Some((Side::Peer, Cause::Loss)))
            );
        }
    }
    assert_eq!(relay.trouble(40 * S), 0);
}

#[test]
fn the_loss_of_a_few_packets_is_shown_and_neither_judged_nor_observed() {
    let mut relay = Relay::default();
    for n in (0..31).filter(|n| *n != 10) {
        relay.pass(Side::Client, n * S, &audio(7, n).bytes());
    }
    let report = relay.report(21 * S);
    assert_eq!(report.side(Side::Client).totals.lost, 1);
    let history = report.details.expect("asked for").history;
    assert!(is_near(history.steps[1][0].loss_ratio, 0.1, 0.02));
    let client = relay.counts.side(Side::Client);
    assert_eq!(client.loss_ratio.count(), 0);
    let mut relay = Relay::default();
    for n in [0, 1, 3, 4] {
        relay.pass(Side::Client, n * S, &audio(7, n).bytes());
    }
    assert_eq!(relay.interval(Side::Client, 5 * S).loss_ratio, Some(0.2));
    assert_eq!(relay.trouble(5 * S), 0);
}

#[test]
fn each_interval_of_each_side_is_one_observation() {
    let mut relay = Relay::default();
    for n in 0..1501 {
        relay.pass(Side::Client, n * 20 * MS, &audio(7, n).bytes());
        if n % 100 == 50 {
            relay.pass(Side::Client, n * 20 * MS, &check(1, n as u8));
            relay.pass(Side::Peer, (n * 20 + 30) * MS, &check(0x0101, n as u8));
        }
    }
    let client = relay.counts.side(Side::Client);
    assert_eq!(client.loss_ratio.count(), 3);
    assert_eq!(client.jitter.count(), 3);
    assert_eq!(client.round_trip.count(), 0);
    let peer = relay.counts.side(Side::Peer);
    assert_eq!((peer.loss_ratio.count(), peer.round_trip.count()), (0, 3));
    assert!((peer.round_trip.sum() - 0.09).abs() < 1e-6);
    assert_eq!(client.packets(Kind::Rtp), 1501);
    assert_eq!(
        (client.packets(Kind::Stun), peer.packets(Kind::Stun)),
        (15, 15)
    );
}

#[test]
fn the_end_of_a_call_is_observed_with_the_interval_under_way() {
    for (seconds, later_s, observed) in [
        (0, 0, 0),
        (4, 0, 1),
        (9, 3, 1),
        (23, 0, 3),
        // The last interval under way is already silent.
        (23, 10, 3),
        (20, 0, 2),
        // Ended a minute ago; one before that was noticed in time.
        (15, 66, 1),
        (15, 600, 1),
    ] {
        let mut relay = Relay::default();
        for n in 0..=seconds * 50 {
            relay.pass(Side::Client, n * 20 * MS, &audio(7, n).bytes());
        }
        let mut call = relay.call.take().expect("something was measured");
        let now_ns = START_NS + (seconds + later_s) * S;
        call.finish(now_ns, &mut relay.counts);
        let client = relay.counts.side(Side::Client);
        let count = client.loss_ratio.count();
        assert_eq!(count, observed, "{seconds} s, {later_s} s later");
        assert_eq!(relay.counts.side(Side::Peer).loss_ratio.count(), 0);
    }
}

#[test]
fn a_late_end_of_an_interval_is_not_taken_for_the_present() {
    for (pause_s, observed) in [(45, 1), (200, 0)] {
        let mut relay = Relay::default();
        for n in 0..=400 {
            relay.pass(Side::Client, n * 20 * MS, &audio(7, n).bytes());
        }
        let at_ns = (8 + pause_s) * S;
        relay.pass(Side::Client, at_ns, &audio(7, 401).bytes());
        let client = relay.counts.side(Side::Client);
        assert_eq!(client.loss_ratio.count(), observed, "{pause_s}");
    }
}

#[test]
fn a_round_trip_is_that_of_the_side_that_answers() {
    let mut relay = Relay::default();
    relay.pass(Side::Client, 0, &check(1, 1));
    relay.pass(Side::Peer, 5 * MS, &check(1, 2));
    relay.pass(Side::Client, 25 * MS, &check(0x0101, 2));
    relay.pass(Side::Peer, 80 * MS, &check(0x0101, 1));
    let report = relay.report(2 * S);
    for (side, ms) in [(Side::Client, 20.0), (Side::Peer, 80.0)] {
        let interval = report.side(side).interval;
        assert_eq!(interval.round_trip_ms, Some(ms));
        assert_eq!(interval.round_trip_from, Some(RoundTripFrom::Stun));
    }
    // An answer after half a minute is none.
    relay.pass(Side::Client, 3 * S, &check(1, 3));
    relay.pass(Side::Peer, 33 * S, &check(0x0101, 3));
    assert_eq!(relay.interval(Side::Peer, 35 * S).round_trip_ms, None);
}

#[test]
fn reports_in_the_clear_tell_round_trips_where_checks_do_not() {
    let mut sender = vec![0x80, 200, 0, 6];
    sender.extend([1; 24]);
    let mut receiver = vec![0x81, 201, 0, 7];
    receiver.extend([0; 20]);
    receiver.extend([1, 1, 1, 1, 0, 0, 0x80, 0]);
    let mut relay = Relay::default();
    relay.pass(Side::Peer, 0, &sender);
    relay.pass(Side::Client, 560 * MS, &receiver);
    let interval = relay.interval(Side::Client, 2 * S);
    assert_eq!(interval.round_trip_ms, Some(60.0));
    assert_eq!(interval.round_trip_from, Some(RoundTripFrom::Rtcp));
    assert_eq!(
        relay.report(2 * S).side(Side::Client).packets(Kind::Rtcp),
        1
    );
}

#[test]
fn the_summary_is_of_the_whole_call_with_its_unfinished_interval() {
    let mut relay = Relay::default();
    for n in (0..1100).filter(|n| *n < 2 || n % 10 != 5) {
        relay.pass(Side::Client, n * 20 * MS, &audio(7, n).bytes());
    }
    for (n, ms) in [(1, 10), (2, 30)] {
        relay.pass(Side::Client, 22 * S, &check(1, n));
        relay.pass(Side::Peer, 22 * S + ms * MS, &check(0x0111, n));
    }
    let call = relay.call.expect("something was measured");
    let summary = call.summary();
    let (client, peer) = (summary.side(Side::Client), summary.side(Side::Peer));
    assert_eq!(client.loss_ratio(), Some(0.1));
    assert_eq!(client.jitter_ms(), Some(0.0));
    assert_eq!(
        (client.round_trip_ms(), peer.round_trip_ms()),
        (None, Some(20.0))
    );
    assert_eq!((peer.loss_ratio(), peer.jitter_ms()), (None, None));
}
