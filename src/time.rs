//! `Now`: the time, as an argument. Only `sys::clock` asks the system.

use std::time::{Duration, Instant};

/// One reading of both clocks, taken once for each batch of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    instant: Instant,
    unix: Duration,
}

impl Now {
    pub fn new(instant: Instant, unix: Duration) -> Self {
        Self { instant, unix }
    }

    /// Monotonic time: lifetimes, timers, rates.
    pub fn instant(self) -> Instant {
        self.instant
    }

    /// Seconds since 1970 (UTC): expiry of time-limited credentials.
    pub fn unix_s(self) -> u64 {
        self.unix.as_secs()
    }

    /// Time since 1970 (UTC): what a log line and an answer of the admin listener are stamped with.
    pub fn unix(self) -> Duration {
        self.unix
    }

    /// Both clocks moved on by `step` (simulations).
    pub fn advanced(self, step: Duration) -> Self {
        Self {
            instant: self.instant + step,
            unix: self.unix + step,
        }
    }
}
