//! Text or JSON, switched while relayd runs.

use super::Format;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{self, DefaultFields, Full, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The format in force.
#[derive(Debug)]
pub(super) struct Mode {
    json: AtomicBool,
}

impl Mode {
    pub fn new(format: Format) -> Self {
        Self {
            json: AtomicBool::new(format == Format::Json),
        }
    }

    pub fn get(&self) -> Format {
        match self.json.load(Ordering::Relaxed) {
            true => Format::Json,
            false => Format::Text,
        }
    }

    pub fn set(&self, format: Format) {
        self.json.store(format == Format::Json, Ordering::Relaxed);
    }
}

/// Both formats; each line is in the one that is in force.
pub(super) struct Lines {
    mode: Arc<Mode>,
    text: format::Format<Full>,
    json: format::Format<Json>,
}

impl Lines {
    pub fn new(mode: Arc<Mode>, ansi: bool) -> Self {
        Self {
            mode,
            text: format::format().with_ansi(ansi),
            // relayd has no spans of its own, and a library's may have been recorded in the other format.
            json: format::format()
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false),
        }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match self.mode.get() {
            Format::Text => self.text.format_event(ctx, writer, event),
            Format::Json => self.json.format_event(ctx, writer, event),
        }
    }
}

/// The fields of a line.
pub(super) struct Fields(pub Arc<Mode>);

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        match self.0.get() {
            Format::Text => DefaultFields::new().format_fields(writer, fields),
            Format::Json => JsonFields::new().format_fields(writer, fields),
        }
    }
}
