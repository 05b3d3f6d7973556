//! The way from the threads that log to the thread that writes: bounded in records and in bytes, and never waiting.
//!
//! Whoever logs holds the lock for as long as it takes to append one pointer-sized record, and the writer for as long as
//! it takes to swap two lists; no system call is made under it but the wake-up of a sleeping writer. A record that
//! finds the queue full is dropped and counted. Orders to the writer (a new output, a reopened file) are few and are
//! never refused; they keep their place among the records.

use super::metrics::{Lost, Metrics};
use super::record::Record;
use super::sink::Sink;
use std::collections::VecDeque;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Records that may wait for the writer.
pub(super) const RECORDS_MAX: usize = 8192;
/// What they may take in memory, in bytes.
pub(super) const BYTES_MAX: usize = 8 << 20;

pub(super) enum Item {
    Record(Box<Record>),
    /// From here on lines go there.
    Output(Box<dyn Sink>),
    /// From here on lines go to a file of the same name that has just been opened.
    Reopened(std::fs::File),
}

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    records: usize,
    bytes: usize,
    /// Records that found no room since the writer last looked.
    lost: u64,
    /// The writer has something to do beside the items.
    woken: bool,
    stopping: bool,
    finished: bool,
}

/// What the writer took from the queue.
#[derive(Default)]
pub(super) struct Taken {
    pub items: VecDeque<Item>,
    pub lost: u64,
    pub stopping: bool,
}

impl Queue {
    /// Appends a record, or counts it as lost.
    pub fn push(&self, record: Record, metrics: &Metrics) {
        let bytes = record.bytes();
        let record = Box::new(record);
        let mut state = self.state();
        if state.records >= RECORDS_MAX || state.bytes + bytes > BYTES_MAX {
            state.lost += 1;
            drop(state);
            metrics.lose(Lost::QueueFull, 1);
            return;
        }
        state.records += 1;
        state.bytes += bytes;
        state.items.push_back(Item::Record(record));
        // The writer takes all there is: later records find it awake or already called.
        let first = state.items.len() == 1;
        drop(state);
        if first {
            self.changed.notify_all();
        }
    }

    pub fn order(&self, item: Item) {
        self.state().items.push_back(item);
        self.changed.notify_all();
    }

    /// Lets the writer look at the folds again.
    pub fn wake(&self) {
        self.state().woken = true;
        self.changed.notify_all();
    }

    /// Everything that waits; returns at `until` at the latest, and at once when there is something.
    pub fn take(&self, until: Option<Instant>, now: impl Fn() -> Instant) -> Taken {
        let mut state = self.state();
        while state.items.is_empty() && !state.woken && !state.stopping {
            state = match until.map(|until| until.saturating_duration_since(now())) {
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(pause) => {
                    let waited = self.changed.wait_timeout(state, pause);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.woken = false;
        state.records = 0;
        state.bytes = 0;
        Taken {
            items: mem::take(&mut state.items),
            lost: mem::take(&mut state.lost),
            stopping: state.stopping,
        }
    }

    /// Asks the writer to write what there is and to end; waits for that until `patience` is over.
    pub fn stop(&self, patience: Duration) -> bool {
        let mut state = self.state();
        state.stopping = true;
        self.changed.notify_all();
        let waited = self
            .changed
            .wait_timeout_while(state, patience, |state| !state.finished);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.finished
    }

    pub fn finished(&self) {
        self.state().finished = true;
        self.changed.notify_all();
    }

    /// The state is whole after every statement, so a panic elsewhere leaves nothing to repair.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
