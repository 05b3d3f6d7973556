//! The clock rate of a stream, inferred: how far its timestamps go while time passes, snapped to a rate that codecs have.
//!
//! A payload type would say it, but what it means was agreed on out of sight. `None` until two windows in a row agree.

/// RFC 3551 and the payload formats of RFC 7587 (Opus), RFC 7741 and others (video).
const RATES_HZ: [u32; 6] = [8_000, 16_000, 24_000, 32_000, 48_000, 90_000];

/// Packets that come early and late shift a window's ends: its rate may be off by so much. Rates are 33 % apart or more.
const TOLERANCE: f64 = 0.08;

const WINDOW_NS: u64 = 1_500_000_000;

/// A stream that was silent for longer may have stopped its clock meanwhile.
const WINDOW_NS_MAX: u64 = 6_000_000_000;

#[derive(Clone, Debug)]
pub struct Clock {
    since_ns: u64,
    since: u32,
    /// 0: not known.
    hz: u32,
    /// What the last window said; 0: nothing that a codec has.
    voted_hz: u32,
}

impl Clock {
    pub fn new(now_ns: u64, timestamp: u32) -> Self {
        Self {
            since_ns: now_ns,
            since: timestamp,
            hz: 0,
            voted_hz: 0,
        }
    }

    pub fn hz(&self) -> Option<u32> {
        (self.hz != 0).then_some(self.hz)
    }

    /// Timestamps in order of sequence, which go forward. True at the end of a window.
    #[inline]
    pub fn advance(&mut self, now_ns: u64, timestamp: u32) -> bool {
        let is_over = now_ns.saturating_sub(self.since_ns) >= WINDOW_NS;
        if is_over {
            self.end_window(now_ns, timestamp);
        }
        is_over
    }

    fn end_window(&mut self, now_ns: u64, timestamp: u32) {
        let elapsed_ns = now_ns.saturating_sub(self.since_ns);
        let ticks = timestamp.wrapping_sub(self.since);
        (self.since_ns, self.since) = (now_ns, timestamp);
        if elapsed_ns > WINDOW_NS_MAX {
            return;
        }
        let hz = f64::from(ticks) * 1e9 / elapsed_ns as f64;
        let near = |rate: &u32| (hz - f64::from(*rate)).abs() < TOLERANCE * f64::from(*rate);
        let vote = RATES_HZ.into_iter().find(near).unwrap_or(0);
        if vote != 0 && vote == self.voted_hz {
            self.hz = vote;
        }
        self.voted_hz = vote;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// The rate after `count` frames, `every_ms` apart in time and `ticks` in timestamps, each late by up to `late_ms`.
    fn inferred(count: u64, every_ms: u64, ticks: u32, late_ms: u64) -> Option<u32> {
        let start = u32::MAX - 5 * ticks;
        let mut clock = Clock::new(0, start);
        for n in 1..count {
            let late = n * 7919 % (late_ms + 1);
            let timestamp = start.wrapping_add(ticks * n as u32);
            clock.advance((n * every_ms + late) * MS, timestamp);
        }
        clock.hz()
    }

    #[test]
    fn rates_of_audio_and_video_are_found_in_some_seconds_also_over_a_wrap() {
        for (every_ms, ticks, hz) in [
            (20, 960, 48_000),
            (20, 160, 8_000),
            (20, 320, 16_000),
            (20, 640, 32_000),
            (33, 2970, 90_000),
            (200, 18_000, 90_000),
            (400, 19_200, 48_000), // Opus with discontinuous transmission
        ] {
            let count = 4000 / every_ms;
            assert_eq!(inferred(count, every_ms, ticks, 0), Some(hz));
            assert_eq!(
                inferred(count, every_ms, ticks, 60),
                Some(hz),
                "{hz} with jitter"
            );
        }
    }

    #[test]
    fn nothing_is_said_before_two_windows_agree_nor_of_a_rate_that_no_codec_has() {
        assert_eq!(inferred(140, 20, 960, 0), None);
        assert_eq!(inferred(1000, 20, 1300, 0), None);
        assert_eq!(inferred(1000, 20, 0, 0), None);
        assert_eq!(inferred(1000, 7000, 7 * 48_000, 0), None, "too seldom");
    }

    #[test]
    fn another_rate_is_taken_after_two_windows() {
        let mut clock = Clock::new(0, 0);
        let (mut now, mut timestamp) = (0, 0_u32);
        let mut run = |ticks: u32, seconds: u64| {
            for _ in 0..seconds * 50 {
                (now, timestamp) = (now + 20 * MS, timestamp.wrapping_add(ticks));
                clock.advance(now, timestamp);
            }
            clock.hz()
        };
        assert_eq!(run(960, 4), Some(48_000));
        assert_eq!(run(160, 2), Some(48_000));
        assert_eq!(run(160, 4), Some(8_000));
    }
}
