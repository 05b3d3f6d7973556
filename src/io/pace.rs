//! When a worker rests between two rounds, so that what arrives meanwhile shares one wake-up and its system calls.
//!
//! A packet's own work costs about 2 us, being woken for it two or three times that. So at high rates it pays to let
//! packets gather, and at low ones, or when rounds are full anyway, it only costs time. No rest is longer than
//! [`REST`], which is what a packet may be delayed by at most: there is none while a socket may have more waiting. Where a sleep itself is dear, as in a virtual machine whose
//! timers are its host's, gathering costs more than it saves: measured once, when the worker starts.

use std::time::{Duration, Instant};

/// How long the rate is measured before it counts.
const WINDOW: Duration = Duration::from_millis(5);

/// Packets per second from which on a worker rests, and below which it stops.
const RATE_ON: u64 = 50_000;
const RATE_OFF: u64 = 40_000;

/// The rest at a high rate.
pub const REST: Duration = Duration::from_micros(90);

/// CPU time of one sleep, up to which resting at a high rate pays: it saves two or three wake-ups of 5 us.
const SLEEP_COST_MAX: Duration = Duration::from_micros(10);

/// A round with so many packets needs no more of them.
const FULL_ROUND: u64 = 24;

/// The rest of a worker with streams, whose writes cost most, after a round that read many relay sockets for little each.
const REST_WITH_STREAMS: Duration = Duration::from_micros(60);

/// Relay sockets that such a round has read, and the datagrams a call brings from which on it carries enough.
const BUSY_CALLS: u64 = 32;
const FULL_CALL: u64 = 4;

/// What a worker has read so far, or in one round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Datagrams from clients and peers.
    pub packets: u64,
    pub relay_calls: u64,
    pub relay_datagrams: u64,
    /// Calls that brought all they asked for: more may be waiting.
    pub full_calls: u64,
}

/// One worker's rate, and what follows from it.
pub struct Pace {
    sleep_is_cheap: bool,
    before: Reads,
    window_start: Instant,
    packets_at_start: u64,
    is_fast: bool,
}

impl Pace {
    /// `sleep_cost`: CPU time of one sleep.
    pub fn new(now: Instant, sleep_cost: Duration) -> Self {
        Self {
            sleep_is_cheap: sleep_cost <= SLEEP_COST_MAX,
            before: Reads::default(),
            window_start: now,
            packets_at_start: 0,
            is_fast: false,
        }
    }

    /// How long to rest after a round that began at `now` and left the worker with these counts.
    pub fn rest(&mut self, now: Instant, total: Reads, streams: bool) -> Option<Duration> {
        let round = Reads {
            packets: total.packets - self.before.packets,
            relay_calls: total.relay_calls - self.before.relay_calls,
            relay_datagrams: total.relay_datagrams - self.before.relay_datagrams,
            full_calls: total.full_calls - self.before.full_calls,
        };
        self.before = total;
        self.measure(now, total.packets);
        let thin = round.relay_calls >= BUSY_CALLS
            && round.relay_datagrams < round.relay_calls * FULL_CALL;
        if streams && thin {
            return Some(REST_WITH_STREAMS);
        }
        let gathers = round.packets < FULL_ROUND && round.full_calls == 0;
        let pays = self.sleep_is_cheap && self.is_fast && gathers;
        pays.then_some(REST)
    }

    fn measure(&mut self, now: Instant, packets: u64) {
        let elapsed = now.saturating_duration_since(self.window_start);
        if elapsed < WINDOW {
            return;
        }
        let arrived = packets - self.packets_at_start;
        let elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let rate = arrived.saturating_mul(1_000_000) / elapsed_us.max(1);
        self.is_fast = rate >= if self.is_fast { RATE_OFF } else { RATE_ON };
        self.window_start = now;
        self.packets_at_start = packets;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_rests_at_high_rates_only_and_until_the_rate_has_clearly_fallen() {
        let mut world = World::new();
        assert_eq!(world.run(20_000), 0);
        assert_eq!(world.run(RATE_ON - 2_000), 0);
        assert!(world.run(RATE_ON + 5_000) > 0);
        assert!(world.run(RATE_OFF + 5_000) > 0, "once on, it stays on");
        world.run(RATE_OFF - 5_000);
        assert_eq!(world.run(RATE_OFF - 5_000), 0);
    }

    #[test]
    fn a_worker_whose_sleeps_are_dear_does_not_rest_for_datagrams() {
        let mut world = World::new();
        world.pace = Pace::new(world.now, SLEEP_COST_MAX + Duration::from_nanos(1));
        assert_eq!(world.run(200_000), 0);
    }

    #[test]
    fn rounds_that_are_full_are_followed_by_no_rest() {
        let mut world = World::new();
        world.packets_a_round = FULL_ROUND;
        assert_eq!(world.run(400_000), 0);
    }

    #[test]
    fn a_round_that_may_have_left_something_waiting_is_followed_by_no_rest() {
        let mut world = World::new();
        assert!(world.run(100_000) > 0);
        world.full_calls_a_round = 1;
        assert_eq!(world.run(100_000), 0);
    }

    #[test]
    fn an_idle_hour_is_no_rate() {
        let mut world = World::new();
        assert!(world.run(100_000) > 0);
        world.now += Duration::from_secs(3600);
        assert_eq!(world.round(), None, "the rate over that hour");
    }

    /// A stream's write costs much more than a datagram, so here the calls decide, at any rate.
    #[test]
    fn a_worker_with_streams_rests_after_a_round_of_many_thin_reads() {
        let mut pace = Pace::new(Instant::now(), Duration::ZERO);
        let mut total = Reads::default();
        for (calls, datagrams, streams, expected) in [
            (
                BUSY_CALLS,
                BUSY_CALLS * FULL_CALL - 1,
                true,
                Some(REST_WITH_STREAMS),
            ),
            (BUSY_CALLS, BUSY_CALLS * FULL_CALL - 1, false, None),
            (BUSY_CALLS, BUSY_CALLS * FULL_CALL, true, None),
            (BUSY_CALLS - 1, 0, true, None),
        ] {
            total.relay_calls += calls;
            total.relay_datagrams += datagrams;
            assert_eq!(pace.rest(pace.window_start, total, streams), expected);
        }
    }

    struct World {
        pace: Pace,
        now: Instant,
        total: Reads,
        packets_a_round: u64,
        full_calls_a_round: u64,
    }

    impl World {
        fn new() -> Self {
            let now = Instant::now();
            Self {
                pace: Pace::new(now, SLEEP_COST_MAX),
                now,
                total: Reads::default(),
                packets_a_round: 2,
                full_calls_a_round: 0,
            }
        }

        fn round(&mut self) -> Option<Duration> {
            self.total.packets += self.packets_a_round;
            self.total.full_calls += self.full_calls_a_round;
            self.pace.rest(self.now, self.total, false)
        }

        /// A tenth of a second at `rate` packets per second; how many rests there were.
        fn run(&mut self, rate: u64) -> usize {
            let end = self.now + Duration::from_millis(100);
            let mut rests = 0;
            while self.now < end {
                self.now += Duration::from_nanos(1_000_000_000 * self.packets_a_round / rate);
                rests += usize::from(self.round().is_some());
            }
            rests
        }
    }
}
