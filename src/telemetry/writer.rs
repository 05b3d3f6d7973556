//! The log thread: takes records from the queue and writes them; says what was lost as soon as writing works again.
//!
//! The one thread of relayd that may be slow with a slow disk: nobody waits for it but the end of the process, and that
//! for [`super::PATIENCE`] at most.

use super::Clock;
use super::fold::Folds;
use super::metrics::{Lost, Metrics};
use super::queue::{Item, Queue, Taken};
use super::record::{Record, Value};
use super::sink::Sink;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::Level;

/// Pause between two attempts to say that lines were lost when nothing else is logged.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    pub queue: Arc<Queue>,
    pub folds: Arc<Folds>,
    pub sink: Box<dyn Sink>,
    pub metrics: Metrics,
    pub clock: Clock,
    /// Lines that were lost since the log last said so.
    pub lost: u64,
}

impl Writer {
    /// Until the queue is stopped; then what is left.
    pub fn run(mut self) {
        while self.round() {}
        self.queue.finished();
    }

    /// Waits for something to do and does it; false when it was the last time.
    fn round(&mut self) -> bool {
        let retry = (self.lost > 0).then(|| (self.clock)().instant() + RETRY);
        let until = retry.into_iter().chain(self.folds.next_due()).min();
        let taken = self.queue.take(until, || (self.clock)().instant());
        self.write(taken)
    }

    pub(super) fn write(&mut self, taken: Taken) -> bool {
        for item in taken.items {
            match item {
                Item::Record(record) => self.line(&record),
                Item::Output(sink) => self.sink = sink,
                Item::Reopened(file) => self.sink.reopened(file),
            }
        }
        // Counted in the metrics when they found no room.
        self.lost += taken.lost;
        let now = self.now();
        let summaries = match taken.stopping {
            true => self.folds.drain(),
            false => self.folds.expire(now),
        };
        for summary in summaries {
            self.line(&summary);
        }
        if self.lost > 0 {
            self.say_what_was_lost(now);
        }
        !taken.stopping
    }

    fn line(&mut self, record: &Record) {
        let now = self.now();
        let works = self.lost == 0 || self.say_what_was_lost(now);
        if !works || self.sink.write(record, now).is_err() {
            self.lost += 1;
            self.metrics.lose(Lost::WriteFailed, 1);
        }
    }

    /// False when this could not be written either.
    fn say_what_was_lost(&mut self, now: Instant) -> bool {
        let notice = Record {
            at: (self.clock)().unix(),
            level: Level::WARN,
            target: "relayd::telemetry",
            file: Some(file!()),
            line: Some(line!()),
            message: "log lines were lost: they could not be written".to_owned(),
            fields: vec![("lost", Value::Unsigned(self.lost))],
        };
        let works = self.sink.write(&notice, now).is_ok();
        if works {
            self.lost = 0;
        }
        works
    }

    fn now(&self) -> Instant {
        (self.clock)().instant()
    }
}
