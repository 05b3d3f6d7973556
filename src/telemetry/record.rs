//! One event as the log keeps it: owned, bounded, and already without what may not be said (`privacy`).
//!
//! A record is made on the thread that logs and written by another, so nothing in it is borrowed. Spans are not
//! recorded: what belongs together carries an `id` field.

use super::privacy::{Reader, shown};
use crate::time::Now;
use std::fmt::{self, Write as _};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata};

/// A longer message or value is cut here, in bytes.
const VALUE_BYTES_MAX: usize = 16 << 10;
/// What stands where a value was cut.
const CUT: &str = "…";

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    /// Since 1970, UTC.
    pub at: Duration,
    pub level: Level,
    pub target: &'static str,
    pub file: Option<&'static str>,
    pub line: Option<u32>,
    pub message: String,
    /// In the order of the code.
    pub fields: Vec<(&'static str, Value)>,
}

/// A field's value. Texts arrive unescaped; the formats escape them.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A string: shown in quotes in the text format.
    Text(String),
    /// Anything that was given by its `Display` or `Debug`: shown as it is.
    Shown(String),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
}

impl Record {
    /// What `reader` may know of an event.
    pub fn new(event: &Event<'_>, now: Now, reader: Reader) -> Self {
        let metadata: &'static Metadata<'static> = event.metadata();
        let mut record = Self {
            at: now.unix(),
            level: *metadata.level(),
            target: metadata.target(),
            file: metadata.file(),
            line: metadata.line(),
            message: String::new(),
            fields: Vec::with_capacity(metadata.fields().len()),
        };
        event.record(&mut Collect {
            record: &mut record,
            reader,
        });
        record
    }

    /// About what it takes in memory, in bytes.
    pub fn bytes(&self) -> usize {
        let texts: usize = self.fields.iter().map(|(_, value)| value.bytes()).sum();
        size_of::<Self>() + self.message.len() + self.fields.capacity() * FIELD_BYTES + texts
    }
}

const FIELD_BYTES: usize = size_of::<(&'static str, Value)>();

impl Value {
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) | Self::Shown(text) => text.len(),
            Self::Unsigned(_) | Self::Signed(_) | Self::Float(_) | Self::Bool(_) => 0,
        }
    }
}

struct Collect<'a> {
    record: &'a mut Record,
    reader: Reader,
}

impl Collect<'_> {
    fn push(&mut self, field: &Field, value: Value) {
        let value = match value {
            Value::Text(text) => shown(field.name(), text, self.reader).map(Value::Text),
            Value::Shown(text) => shown(field.name(), text, self.reader).map(Value::Shown),
            number => shown(field.name(), String::new(), self.reader).map(|_| number),
        };
        self.record
            .fields
            .extend(value.map(|value| (field.name(), value)));
    }
}

impl Visit for Collect<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Bounded(String::new());
        // Ends early where the bound is reached.
        let _ = write!(text, "{value:?}");
        if field.name() == "message" {
            self.record.message = self.reader.prose(text.0);
        } else {
            self.push(field, Value::Shown(text.0));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let mut text = Bounded(String::new());
        let _ = text.write_str(value);
        if field.name() == "message" {
            self.record.message = self.reader.prose(text.0);
        } else {
            self.push(field, Value::Text(text.0));
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, Value::Unsigned(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, Value::Signed(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, Value::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, Value::Bool(value));
    }
}

/// Text that stops growing at [`VALUE_BYTES_MAX`].
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = VALUE_BYTES_MAX.saturating_sub(self.0.len());
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        let end = text.floor_char_boundary(room);
        self.0.push_str(text.get(..end).unwrap_or_default());
        self.0.push_str(CUT);
        Err(fmt::Error)
    }
}
