//! Keeping the kernel's tick on while a worker wakes up thousands of times a second.
//!
//! A core that goes idle stops its periodic tick and starts it again when it wakes up. That is meant for long sleeps: each
//! way programs the timer's hardware, which in a virtual machine is the host's, and for a worker that sleeps 20 us at a
//! time it is dearer than the packets. At 20 000 packets/s it was half of the CPU time of relaying them, and 10 us of
//! latency (benches/README.md). The tick stays on while the core has something to free after an RCU grace period, which
//! closing a pipe leaves behind, for a few milliseconds. A pipe costs 3 us of CPU.
//!
//! Where the kernel does otherwise (callbacks offloaded to other cores, a tick that is never stopped) nothing is gained, and
//! a thousandth of a core lost; the same where a worker is too busy to sleep. At low rates nothing is done.

use std::time::{Duration, Instant};

/// A tick at 250 a second. What one pipe leaves behind lasts until the next one or longer.
const EVERY: Duration = Duration::from_millis(4);

/// Rounds of a worker in that time from which on it pays: each saves some microseconds.
const ROUNDS_MIN: u32 = 8;

/// When one worker last did it.
pub struct Tick {
    since: Instant,
    rounds: u32,
}

impl Tick {
    pub fn new(now: Instant) -> Self {
        Self {
            since: now,
            rounds: 0,
        }
    }

    /// To be called after each round of the worker.
    pub fn keep_on(&mut self, now: Instant) {
        if self.is_due(now) {
            // Without descriptors left the tick just stops.
            drop(std::io::pipe());
        }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        self.rounds += 1;
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < EVERY {
            return false;
        }
        let is_due = elapsed <= EVERY * self.rounds / ROUNDS_MIN;
        *self = Self::new(now);
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tick_is_kept_on_while_rounds_are_many() {
        for (rounds_per_s, expected) in [(100, 0), (1_000, 0), (4_000, 250), (30_000, 250)] {
            let start = Instant::now();
            let mut tick = Tick::new(start);
            let at = |round| start + Duration::from_secs(1) * round / rounds_per_s;
            let due = (1..=rounds_per_s).filter(|round| tick.is_due(at(*round)));
            let due = due.count();
            assert!(
                due.abs_diff(expected) <= expected / 8,
                "{rounds_per_s}: {due}"
            );
        }
    }

    /// Rounds before a pause say nothing about those after it.
    #[test]
    fn after_a_pause_it_is_let_go() {
        let start = Instant::now();
        let mut tick = Tick::new(start);
        (0..100).for_each(|_| assert!(!tick.is_due(start)));
        assert!(!tick.is_due(start + Duration::from_secs(1)));
        assert!(!tick.is_due(start + Duration::from_secs(2)));
    }
}
