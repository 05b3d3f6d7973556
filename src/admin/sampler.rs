//! Takes a sample for the history every few seconds, on the admin listener's thread, from its start on.

use super::AdminState;
use super::history::SAMPLE_EVERY;
use crate::sys::clock;
use std::sync::Arc;
use tokio::time::{MissedTickBehavior, interval};

/// Runs until it is dropped. A sample is some loads and two small files of /proc: well below a millisecond.
pub(super) async fn run(state: Arc<AdminState>) {
    let mut ticks = interval(SAMPLE_EVERY);
    // Late samples are followed by punctual ones: a step is one of the clock.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        // Nothing to ask while the server starts.
        if let Some(control) = state.control() {
            let now = clock::now();
            state.remember(now, &control.sample());
        }
    }
}
