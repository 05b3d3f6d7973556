//! The way from the threads that make spans to the one that sends them: bounded, and never waiting.
//!
//! The lock is held for as long as it takes to append one span or to take a batch; the sender is woken for the first span
//! of a batch and for the one that fills it, not for each.

use super::otlp::Span;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// Spans that are sent together, at most.
pub(super) const BATCH_SPANS_MAX: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is something to send, or to stop.
    changed: Notify,
    /// The settings are others: what waits for its next attempt need not wait.
    looks: watch::Sender<()>,
    stopping: Notify,
}

#[derive(Debug, Default)]
struct State {
    spans: VecDeque<Span>,
    /// When the process ends, whatever is left.
    end: Option<Instant>,
}

impl Queue {
    /// False where there is no room.
    pub fn push(&self, span: Span, spans_max: usize) -> bool {
        let mut state = self.state();
        if state.spans.len() >= spans_max {
            return false;
        }
        state.spans.push_back(span);
        let waiting = state.spans.len();
        drop(state);
        if waiting == 1 || waiting == BATCH_SPANS_MAX {
            self.changed.notify_one();
        }
        true
    }

    /// The oldest.
    pub fn take(&self) -> Vec<Span> {
        let mut state = self.state();
        let count = state.spans.len().min(BATCH_SPANS_MAX);
        state.spans.drain(..count).collect()
    }

    pub fn len(&self) -> usize {
        self.state().spans.len()
    }

    /// Until so many wait, or everything is to end.
    pub async fn filled(&self, count: usize) {
        while self.len() < count && self.end().is_none() {
            self.changed.notified().await;
        }
    }

    /// When everything is to have ended; `None`: it goes on.
    pub fn end(&self) -> Option<Instant> {
        self.state().end
    }

    pub fn stop(&self, patience: Duration) {
        self.state().end = Some(Instant::now() + patience);
        self.changed.notify_one();
        self.stopping.notify_waiters();
        self.look_again();
    }

    /// Until the time of a stop is over.
    pub async fn over(&self) {
        let mut stopping = std::pin::pin!(self.stopping.notified());
        stopping.as_mut().enable();
        if self.end().is_none() {
            stopping.await;
        }
        if let Some(end) = self.end() {
            tokio::time::sleep_until(end.into()).await;
        }
    }

    pub fn look_again(&self) {
        self.looks.send_replace(());
    }

    /// Changes when there is a reason to try again at once.
    pub fn looks(&self) -> watch::Receiver<()> {
        self.looks.subscribe()
    }

    /// The state is whole after every statement, so a panic elsewhere leaves nothing to repair.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
