//! When to ask for a certificate. Pure: time and chance are arguments.
//!
//! Two clocks, for two things. A certificate lives by the wall clock, which may jump: so the time to renew is computed
//! afresh at each look, and a look comes every [`LOOK_S`] at the latest. Pauses between attempts are measured by the monotonic
//! clock, which does not: a jump can bring an attempt forward, and none is repeated for it.
//!
//! Let's Encrypt refuses a name after 5 failed validations in an hour, and a set of names after 5 certificates in a week. Here are at
//! most [`FAILURES_PER_HOUR`], and [`SPACING_MAX_S`] between two certificates; both survive a restart in [`History`].

use crate::entropy::Entropy;
use crate::time::Now;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Pause after the first failure, doubled after each further one, in seconds.
const PAUSE_FIRST_S: u64 = 300;
/// Longest pause after a failure, but for what the authority asks for.
const PAUSE_MAX_S: u64 = 12 * 3600;
/// Longest pause that an authority may ask for.
pub(super) const RETRY_AFTER_MAX_S: u64 = 7 * 86_400;
/// Attempts without success that restarts can bring together in an hour.
const FAILURES_PER_HOUR: usize = 4;
const HOUR_S: u64 = 3600;
/// Least time between two certificates for the same names, unless a third of their lifetime is less: 5 of them take more than a week.
const SPACING_MAX_S: u64 = 36 * 3600;
/// Longest time without a look at the wall clock.
const LOOK_S: u64 = 600;
/// A renewal comes up to this part of the lifetime after two thirds of it, so that not all servers come at once.
const JITTER_PART: u64 = 30;

/// Validity of a certificate, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: u64,
    pub not_after: u64,
}

impl Validity {
    /// From what a certificate says; one from before 1970 counts as of 1970.
    pub fn new(not_before: i64, not_after: i64) -> Self {
        let not_before = u64::try_from(not_before).unwrap_or(0);
        Self {
            not_before,
            not_after: u64::try_from(not_after).unwrap_or(0).max(not_before),
        }
    }

    fn lifetime_s(self) -> u64 {
        self.not_after - self.not_before
    }

    /// Two thirds of the lifetime, and some chance.
    fn renewal(self, rng: &mut dyn Entropy) -> u64 {
        let lifetime = self.lifetime_s();
        let third = lifetime / 3;
        let chance = below(rng, lifetime / JITTER_PART + 1);
        self.not_before
            .saturating_add(lifetime - third)
            .saturating_add(chance)
    }

    /// Least time to the next certificate after this one was obtained.
    fn spacing_s(self) -> u64 {
        (self.lifetime_s() / 3).min(SPACING_MAX_S)
    }
}

/// What of the past bounds the future, on disk: seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Attempts that have not succeeded, of the last hour.
    attempts: Vec<u64>,
    /// Failures since the last success.
    failures: u32,
    /// The last certificate and what was asked for.
    issued: Option<Issued>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Issued {
    at: u64,
    spacing_s: u64,
    names: Vec<String>,
}

impl History {
    /// Notes an attempt before it is made, so that one which ends with the process counts too.
    pub fn begin(&mut self, now: Now) {
        let now_s = now.unix_s();
        // What lies ahead was noted under a clock that was wrong.
        self.attempts
            .retain(|at| (*at..at.saturating_add(HOUR_S)).contains(&now_s));
        self.attempts.push(now_s);
        let surplus = self.attempts.len().saturating_sub(FAILURES_PER_HOUR);
        self.attempts.drain(..surplus);
    }

    pub fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    pub fn succeed(&mut self, now: Now, validity: Validity, names: &[String]) {
        self.attempts.clear();
        self.failures = 0;
        self.issued = Some(Issued {
            at: now.unix_s(),
            spacing_s: validity.spacing_s(),
            names: names.to_vec(),
        });
    }

    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// How long a process that has just started, or been told other names, must not ask.
    fn hold_s(&self, now: Now, names: &[String]) -> u64 {
        let left = |at: u64, pause: u64| match now.unix_s().checked_sub(at) {
            Some(passed) => pause.saturating_sub(passed),
            None => 0,
        };
        let full = self.attempts.len() >= FAILURES_PER_HOUR;
        let oldest = self.attempts.first().filter(|_| full);
        let by_attempts = oldest.map_or(0, |at| left(*at, HOUR_S));
        let same = self.issued.as_ref().filter(|issued| issued.names == names);
        let by_issued = same.map_or(0, |issued| {
            left(issued.at, issued.spacing_s.min(SPACING_MAX_S))
        });
        by_attempts.max(by_issued)
    }
}

/// When the next attempt is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// By the wall clock; 0: there is nothing to wait for.
    due_s: u64,
    /// Not before, by the monotonic clock.
    hold: Instant,
}

impl Schedule {
    /// `validity` is that of a certificate in use that is good for all names.
    pub fn start(
        now: Now,
        validity: Option<Validity>,
        history: &History,
        names: &[String],
        rng: &mut dyn Entropy,
    ) -> Self {
        let hold_s = match validity {
            Some(_) => history.hold_s(now, names),
            // Nothing usable is served: another certificate for the same names is better than none.
            None => history.hold_s(now, &[]),
        };
        Self {
            due_s: validity.map_or(0, |validity| validity.renewal(rng)),
            hold: later(now, hold_s),
        }
    }

    pub fn succeeded(&mut self, now: Now, validity: Validity, rng: &mut dyn Entropy) {
        self.due_s = validity.renewal(rng);
        // A certificate that is due as it comes means a wrong clock, here or there.
        self.hold = later(now, validity.spacing_s().max(1));
    }

    /// After a failure; `history` counts it already. The authority's own wish goes before a shorter pause.
    pub fn failed(
        &mut self,
        now: Now,
        history: &History,
        retry_after: Option<Duration>,
        rng: &mut dyn Entropy,
    ) {
        let doublings = history.failures.saturating_sub(1).min(16);
        let pause = (PAUSE_FIRST_S << doublings).min(PAUSE_MAX_S);
        let pause = pause + below(rng, pause / 4 + 1);
        let asked = retry_after.map_or(0, |wait| wait.as_secs().saturating_add(1));
        self.hold = later(now, pause.max(asked.min(RETRY_AFTER_MAX_S)));
    }

    /// How long to wait; zero: now is the time. Never longer than to the next look at the clock.
    pub fn wait(&self, now: Now) -> Duration {
        let by_wall = Duration::from_secs(self.due_s.saturating_sub(now.unix_s()));
        let by_hold = self.hold.saturating_duration_since(now.instant());
        by_wall.max(by_hold).min(Duration::from_secs(LOOK_S))
    }

    /// The same as a time of day, in seconds since 1970, for people and metrics.
    pub fn next_s(&self, now: Now) -> u64 {
        let held = self.hold.saturating_duration_since(now.instant());
        // Up to the second: a wait that has not ended is no wait of 0 s.
        let held_s = held.as_secs() + u64::from(held.subsec_nanos() > 0);
        self.due_s.max(now.unix_s().saturating_add(held_s))
    }
}

fn later(now: Now, seconds: u64) -> Instant {
    now.instant() + Duration::from_secs(seconds)
}

/// A number below `bound`, which is at least 1. Not quite even, which jitter need not be.
fn below(rng: &mut dyn Entropy, bound: u64) -> u64 {
    let mut bytes = [0; 8];
    rng.fill(&mut bytes);
    u64::from_le_bytes(bytes) % bound.max(1)
}
