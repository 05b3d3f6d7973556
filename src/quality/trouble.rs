//! One number for how bad a call is: the worst of what was measured, against what people notice.

use super::report::{Interval, Trouble};
use super::{Cause, Side};

/// From where it is noticed, and from where it is bad.
struct Thresholds {
    noticeable: f32,
    bad: f32,
}

/// Ratio: codecs conceal little more than one packet in a hundred.
const LOSS: Thresholds = Thresholds {
    noticeable: 0.01,
    bad: 0.05,
};
/// Milliseconds: above it, jitter buffers grow or run dry.
const JITTER: Thresholds = Thresholds {
    noticeable: 30.0,
    bad: 100.0,
};
/// Milliseconds. ITU-T G.114: 150 ms one way, which has two such legs, disturb nobody; 400 ms are too much.
const ROUND_TRIP: Thresholds = Thresholds {
    noticeable: 150.0,
    bad: 400.0,
};

const SCORE_NOTICEABLE: f32 = 25.0;
const SCORE_BAD: f32 = 60.0;

impl Thresholds {
    /// 0 up to half of what is noticed, 25 there, 60 where it is bad, 100 at four times that.
    fn score(&self, value: f32) -> u8 {
        let points = [
            (self.noticeable / 2.0, 0.0),
            (self.noticeable, SCORE_NOTICEABLE),
            (self.bad, SCORE_BAD),
            (self.bad * 4.0, 100.0),
        ];
        let mut score = 0.0;
        for pair in points.windows(2) {
            let [(low, from), (high, to)] = [pair[0], pair[1]];
            let part = ((value - low) / (high - low)).clamp(0.0, 1.0);
            score += part * (to - from);
        }
        score.round() as u8
    }
}

/// Of the client's side and the peer's.
pub fn trouble(sides: &[Interval; 2]) -> Trouble {
    let mut worst = Trouble::default();
    for (side, interval) in Side::ALL.into_iter().zip(sides) {
        for (cause, thresholds, value) in [
            (Cause::Loss, &LOSS, interval.weighty_loss()),
            (Cause::Jitter, &JITTER, interval.jitter_ms),
            (Cause::RoundTrip, &ROUND_TRIP, interval.round_trip_ms),
        ] {
            let score = value.map_or(0, |value| thresholds.score(value));
            if score > worst.score {
                worst = Trouble {
                    score,
                    worst: Some((side, cause)),
                };
            }
        }
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::super::report::EXPECTED_MIN;
    use super::*;

    #[test]
    fn scores_go_through_the_thresholds() {
        for (value, score) in [
            (0.0, 0),
            (0.005, 0),
            (0.0075, 13),
            (0.01, 25),
            (0.03, 43),
            (0.05, 60),
            (0.2, 100),
            (1.0, 100),
        ] {
            assert_eq!(LOSS.score(value), score, "{value}");
        }
        assert_eq!((JITTER.score(30.0), JITTER.score(100.0)), (25, 60));
        assert_eq!((ROUND_TRIP.score(150.0), ROUND_TRIP.score(400.0)), (25, 60));
    }

    #[test]
    fn the_worst_side_and_cause_are_named() {
        let mut sides = [Interval::default(); 2];
        assert_eq!(trouble(&sides), Trouble::default());
        sides[0].jitter_ms = Some(50.0);
        sides[0].round_trip_ms = Some(20.0);
        sides[1].loss_ratio = Some(0.04);
        sides[1].expected = EXPECTED_MIN - 1;
        let found = trouble(&sides);
        assert_eq!(found.worst, Some((Side::Client, Cause::Jitter)));
        sides[1].expected = EXPECTED_MIN;
        let found = trouble(&sides);
        assert_eq!(found.worst, Some((Side::Peer, Cause::Loss)));
        assert_eq!(found.score, 51);
    }
}
