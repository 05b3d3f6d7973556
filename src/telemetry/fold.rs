//! Folding: a warning or error that repeats is written once at once, and once more with `repeated=N` when its window
//! has passed.
//!
//! Two events are the same when they come from the same place in the code and agree in the fields of [`KEY_FIELDS`],
//! as far as they have them: "cannot reach upstream" for two hosts are two. The second line shows the first repeat,
//! with its own time and fields. Levels below `warn` are never folded.
//!
//! The table holds at most [`ENTRIES_MAX`] events. When it is full, events are the same when they come from the same
//! place, whatever their fields: the number of places is fixed when relayd is built.

use super::Format;
use super::switch::Mode;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Fields that tell two events of one place in the code apart.
const KEY_FIELDS: [&str; 7] = [
    "key", "host", "upstream", "address", "path", "reason", "error",
];

/// Different events that are watched at once.
const ENTRIES_MAX: usize = 256;

/// The events that were written lately, and how often they came again.
pub(super) struct Folds {
    window: Duration,
    clock: Box<dyn Fn() -> Instant + Send + Sync>,
    table: Mutex<Table>,
    changed: Condvar,
}

#[derive(Default)]
struct Table {
    entries: HashMap<Key, Entry>,
    stopping: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    callsite: Identifier,
    /// Hash of the key fields; 0 for all events of a place while the table is full.
    fields: u64,
}

struct Entry {
    until: Instant,
    /// Events that were not written.
    repeated: u64,
    /// The first of them, formatted.
    line: String,
}

/// What is left to say about an event whose window has passed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Summary {
    line: String,
    repeated: u64,
}

impl Summary {
    /// The folded line with its count, ended by a newline.
    pub fn line(&self, format: Format) -> String {
        let line = self.line.trim_end();
        let repeated = self.repeated;
        // It may have been formatted before the format was switched.
        let object = line.strip_suffix('}').filter(|line| line.starts_with('{'));
        match (format, object) {
            (Format::Json, Some(open)) => format!("{open},\"repeated\":{repeated}}}\n"),
            (Format::Json, None) | (Format::Text, _) => format!("{line} repeated={repeated}\n"),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Write,
    /// Folded, and the first to be: its line is wanted.
    Keep(Key),
    Fold,
}

impl Folds {
    pub fn new(window: Duration, clock: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        Self {
            window,
            clock: Box::new(clock),
            table: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Judges one event; also returns the summaries that are due.
    fn observe(&self, mut key: Key) -> (Verdict, Vec<Summary>) {
        let now = (self.clock)();
        let mut table = self.table();
        let mut due = Vec::new();
        if !table.entries.contains_key(&key) && table.entries.len() >= ENTRIES_MAX {
            due = table.expire(now);
            if table.entries.len() >= ENTRIES_MAX {
                key.fields = 0;
            }
        }
        let until = now + self.window;
        match table.entries.get_mut(&key) {
            Some(entry) if now < entry.until => {
                entry.repeated += 1;
                let verdict = match entry.repeated {
                    1 => Verdict::Keep(key),
                    _ => Verdict::Fold,
                };
                (verdict, due)
            }
            Some(entry) => {
                due.extend(entry.take());
                entry.until = until;
                (Verdict::Write, due)
            }
            None => {
                let entry = Entry {
                    until,
                    repeated: 0,
                    line: String::new(),
                };
                table.entries.insert(key, entry);
                (Verdict::Write, due)
            }
        }
    }

    fn keep(&self, key: &Key, line: String) {
        if let Some(entry) = self.table().entries.get_mut(key) {
            entry.line = line;
        }
        self.changed.notify_all();
    }

    /// Summaries whose window has passed.
    fn expire(&self) -> Vec<Summary> {
        let now = (self.clock)();
        self.table().expire(now)
    }

    /// Writes summaries as they come due, until [`Folds::stop`]; then those that are left.
    pub fn run(&self, write: impl Fn(Summary)) {
        loop {
            let mut table = self.table();
            if table.stopping {
                let left: Vec<_> = table.entries.values_mut().filter_map(Entry::take).collect();
                drop(table);
                left.into_iter().for_each(&write);
                return;
            }
            let next = table.next_due();
            drop(match next {
                None => self
                    .changed
                    .wait(table)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(due) => {
                    let pause = due.saturating_duration_since((self.clock)());
                    self.changed
                        .wait_timeout(table, pause)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            });
            self.expire().into_iter().for_each(&write);
        }
    }

    pub fn stop(&self) {
        self.table().stopping = true;
        self.changed.notify_all();
    }

    /// The table is whole after every statement, so a panic elsewhere leaves nothing to repair.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Folds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Folds").finish_non_exhaustive()
    }
}

impl Table {
    fn expire(&mut self, now: Instant) -> Vec<Summary> {
        let mut due = Vec::new();
        self.entries.retain(|_, entry| {
            if now < entry.until {
                return true;
            }
            due.extend(entry.take());
            false
        });
        due
    }

    /// When the first entry that has something to say comes due.
    fn next_due(&self) -> Option<Instant> {
        let talking = self.entries.values().filter(|entry| entry.repeated > 0);
        talking.map(|entry| entry.until).min()
    }
}

impl Entry {
    fn take(&mut self) -> Option<Summary> {
        let repeated = std::mem::take(&mut self.repeated);
        let line = std::mem::take(&mut self.line);
        (repeated > 0).then_some(Summary { line, repeated })
    }
}

/// Formats events, but the folded ones as nothing.
pub(super) struct Folding<E> {
    inner: E,
    mode: Arc<Mode>,
    folds: Arc<Folds>,
}

impl<E> Folding<E> {
    pub fn new(inner: E, mode: Arc<Mode>, folds: Arc<Folds>) -> Self {
        Self { inner, mode, folds }
    }
}

impl<S, N, E> FormatEvent<S, N> for Folding<E>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    E: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // `tracing` orders levels by how much they let through: ERROR is the least.
        if *event.metadata().level() > Level::WARN {
            return self.inner.format_event(ctx, writer, event);
        }
        let (verdict, due) = self.folds.observe(key(event));
        for summary in due {
            writer.write_str(&summary.line(self.mode.get()))?;
        }
        match verdict {
            Verdict::Write => self.inner.format_event(ctx, writer, event),
            Verdict::Keep(key) => {
                let mut line = String::new();
                self.inner
                    .format_event(ctx, Writer::new(&mut line), event)?;
                self.folds.keep(&key, line);
                Ok(())
            }
            Verdict::Fold => Ok(()),
        }
    }
}

fn key(event: &Event<'_>) -> Key {
    let mut fields = KeyFields(DefaultHasher::new());
    event.record(&mut fields);
    Key {
        callsite: event.metadata().callsite(),
        fields: fields.0.finish(),
    }
}

struct KeyFields(DefaultHasher);

impl Visit for KeyFields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if KEY_FIELDS.contains(&field.name()) {
            field.name().hash(&mut self.0);
            format!("{value:?}").hash(&mut self.0);
        }
    }
}
