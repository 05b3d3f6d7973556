//! Folding: a warning or error that repeats is written once at once, and once more with `repeated=N` when its window
//! has passed.
//!
//! Two events are the same when they come from the same place in the code and agree in the fields of [`KEY_FIELDS`],
//! as far as they have them: "cannot reach upstream" for two hosts are two. The second line shows the first repeat,
//! with its own time and fields. Levels below `warn` are never folded.
//!
//! The table holds at most [`ENTRIES_MAX`] events. When it is full, events are the same when they come from the same
//! place, whatever their fields: the number of places is fixed when relayd is built.

use super::record::{Record, Value};
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::Event;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};

/// Fields that tell two events of one place in the code apart.
const KEY_FIELDS: [&str; 10] = [
    "key", "host", "upstream", "address", "path", "reason", "error", "cause", "warning", "report",
];

/// Different events that are watched at once.
const ENTRIES_MAX: usize = 256;

/// The events that were written lately, and how often they came again.
pub(super) struct Folds {
    window: Duration,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    entries: HashMap<Key, Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    callsite: Identifier,
    /// Hash of the key fields; 0 for all events of a place while the table is full.
    fields: u64,
}

struct Entry {
    until: Instant,
    /// Events that were not written.
    repeated: u64,
    /// The first of them.
    first: Option<Record>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Write,
    /// Folded, and the first to be: its record is wanted.
    Keep(Key),
    Fold,
}

impl Folds {
    pub fn new(window: Duration) -> Self {
        Self {
            window,
            table: Mutex::default(),
        }
    }

    /// Judges one event; also returns the summaries that are due.
    pub fn observe(&self, mut key: Key, now: Instant) -> (Verdict, Vec<Record>) {
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
                    first: None,
                };
                table.entries.insert(key, entry);
                (Verdict::Write, due)
            }
        }
    }

    /// Hands over the record that [`Verdict::Keep`] asked for; back when its window has passed meanwhile.
    pub fn keep(&self, key: &Key, first: Record) -> Option<Record> {
        match self.table().entries.get_mut(key) {
            Some(entry) if entry.repeated > 0 => {
                entry.first = Some(first);
                None
            }
            Some(_) | None => Some(first),
        }
    }

    /// Summaries whose window has passed: the first repeat with its count in `repeated`.
    pub fn expire(&self, now: Instant) -> Vec<Record> {
        self.table().expire(now)
    }

    /// All summaries, due or not: there will be no more events.
    pub fn drain(&self) -> Vec<Record> {
        let mut table = self.table();
        table.entries.values_mut().filter_map(Entry::take).collect()
    }

    /// When the first summary comes due.
    pub fn next_due(&self) -> Option<Instant> {
        let table = self.table();
        let talking = table.entries.values().filter(|entry| entry.repeated > 0);
        talking.map(|entry| entry.until).min()
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
    fn expire(&mut self, now: Instant) -> Vec<Record> {
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
}

impl Entry {
    fn take(&mut self) -> Option<Record> {
        let repeated = std::mem::take(&mut self.repeated);
        // Missing between the verdict and the record's arrival: that thread writes the record itself.
        let mut summary = self.first.take()?;
        summary.fields.push(("repeated", Value::Unsigned(repeated)));
        Some(summary)
    }
}

/// What an event is told from others by.
pub(super) fn key(event: &Event<'_>) -> Key {
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
