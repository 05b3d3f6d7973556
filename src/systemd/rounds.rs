//! When the watchdog is fed: only after every thread has answered. Pure; the clock is passed in.
//!
//! A round begins twice in each interval of the manager: every thread is asked once, which wakes it once. The manager
//! is told as soon as all of them have answered; while one does not, no new round begins and nothing is told, so that the
//! interval runs out. Absent: how a thread is asked.

use std::time::{Duration, Instant};

/// Rounds in one interval: a whole one may be late before the interval runs out.
const ROUNDS: u32 = 2;

/// How often a round's answers are looked at, in each interval. That costs the threads nothing.
const LOOKS: u32 = 50;

/// However short the interval is, the main thread has other things to do between two looks.
const LOOK_MIN: Duration = Duration::from_millis(5);

/// Looks without an answer, after which a thread is reported as stuck: half of an interval.
const PATIENCE: u32 = LOOKS / 2;

/// What is to be done at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask every thread for a sign of life.
    Ask,
    /// Wait for the answers.
    Wait,
    /// The same, and say which threads have not answered; once a round.
    Report,
    /// Tell the manager that all is well.
    Feed,
}

#[derive(Debug)]
pub struct Rounds {
    interval: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// All have answered.
    Idle { next: Instant },
    /// Asked at `asked`.
    Asked { asked: Instant, looks: u32 },
}

impl Rounds {
    pub fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            state: State::Idle { next: now },
        }
    }

    /// How long to wait for the next look.
    pub fn wait(&self, now: Instant) -> Duration {
        match self.state {
            State::Idle { next } => next.saturating_duration_since(now),
            State::Asked { .. } => (self.interval / LOOKS).max(LOOK_MIN),
        }
    }

    /// One look: `answered` tells whether nobody owes an answer.
    pub fn look(&mut self, now: Instant, answered: bool) -> Step {
        match &mut self.state {
            State::Idle { next } if now < *next => Step::Wait,
            State::Idle { .. } => {
                self.state = State::Asked {
                    asked: now,
                    looks: 0,
                };
                Step::Ask
            }
            State::Asked { asked, .. } if answered => {
                let next = (*asked + self.interval / ROUNDS).max(now);
                self.state = State::Idle { next };
                Step::Feed
            }
            State::Asked { looks, .. } => {
                *looks = looks.saturating_add(1);
                if *looks == PATIENCE {
                    Step::Report
                } else {
                    Step::Wait
                }
            }
        }
    }
}
