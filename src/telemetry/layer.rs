//! From an event to the queue: what may be said, what is folded, and nothing that waits.

use super::Clock;
use super::fold::{self, Folds, Verdict};
use super::metrics::Metrics;
use super::privacy::Reader;
use super::queue::Queue;
use super::record::Record;
use crate::time::Now;
use arc_swap::ArcSwap;
use std::sync::Arc;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer};

/// What decides what a line says; changed as a whole.
#[derive(Debug)]
pub(super) struct Rules {
    pub privacy: bool,
    pub targets: Targets,
}

pub(super) struct Events {
    pub rules: Arc<ArcSwap<Rules>>,
    pub folds: Arc<Folds>,
    pub queue: Arc<Queue>,
    pub metrics: Metrics,
    pub clock: Clock,
}

impl<S: Subscriber> Layer<S> for Events {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let now = (self.clock)();
        // `tracing` orders levels by how much they let through: ERROR is the least.
        if *event.metadata().level() > Level::WARN {
            self.queue.push(self.record(event, now), &self.metrics);
            return;
        }
        let (verdict, due) = self.folds.observe(fold::key(event), now.instant());
        for summary in due {
            self.queue.push(summary, &self.metrics);
        }
        match verdict {
            Verdict::Write => self.queue.push(self.record(event, now), &self.metrics),
            Verdict::Keep(key) => {
                let late = self.folds.keep(&key, self.record(event, now));
                if let Some(record) = late {
                    self.queue.push(record, &self.metrics);
                }
                self.queue.wake();
            }
            Verdict::Fold => {}
        }
    }
}

impl Events {
    fn record(&self, event: &Event<'_>, now: Now) -> Record {
        let rules = self.rules.load();
        let metadata = event.metadata();
        let reader = Reader::new(*metadata.level(), rules.privacy);
        Record::new(event, now, reader)
    }
}
