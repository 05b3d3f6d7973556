//! The system's clocks; everything else gets a `Now`.

use crate::time::Now;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Reads both clocks. A wall clock before 1970 counts as 1970.
pub fn now() -> Now {
    let unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    Now::new(Instant::now(), unix)
}
