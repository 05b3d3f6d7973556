//! A deadline that is pushed back often and reached seldom: pushing it back costs no timer operation.
//!
//! Invariant: the timer never stands later than the deadline.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Longest wait that is armed: beyond it a sum of instants could overflow.
const WAIT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

pub(super) struct Deadline {
    at: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Deadline {
    pub(super) fn after(wait: Duration) -> Self {
        let at = Instant::now() + wait.min(WAIT_MAX);
        Self {
            at,
            timer: Box::pin(sleep_until(at)),
        }
    }

    /// Moves the deadline to `wait` from this moment.
    pub(super) fn set(&mut self, wait: Duration) {
        self.set_from(Instant::now(), wait);
    }

    /// Moves the deadline to `wait` after `start`.
    pub(super) fn set_from(&mut self, start: Instant, wait: Duration) {
        self.at = start + wait.min(WAIT_MAX);
        if self.at < self.timer.deadline() {
            self.timer.as_mut().reset(self.at);
        }
    }

    /// Ready once the deadline has passed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if self.timer.deadline() >= self.at {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    fn paused(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime")
            .block_on(test);
    }

    #[test]
    fn a_deadline_that_was_pushed_back_is_not_reached_at_its_first_time() {
        paused(async {
            let mut deadline = Deadline::after(Duration::from_millis(1));
            deadline.set(Duration::from_millis(20));
            let due = deadline.at;
            poll_fn(|cx| deadline.poll(cx)).await;
            assert!(Instant::now() >= due);
        });
    }

    #[test]
    fn a_deadline_can_be_moved_to_an_earlier_time() {
        paused(async {
            let mut deadline = Deadline::after(Duration::from_secs(3600));
            deadline.set(Duration::from_millis(1));
            poll_fn(|cx| deadline.poll(cx)).await;
        });
    }

    #[test]
    fn an_endless_wait_does_not_overflow() {
        paused(async {
            let mut deadline = Deadline::after(Duration::MAX);
            deadline.set(Duration::MAX);
            let polled = poll_fn(|cx| Poll::Ready(deadline.poll(cx))).await;
            assert!(polled.is_pending());
        });
    }
}
