//! One span with its attributes. What an attribute may say about people is decided by its name, in `telemetry`.

use super::context::{Context, SpanId};
use super::otlp::{self, AnyValue, KeyValue, List, STATUS_ERROR, Value};
use crate::telemetry;
use crate::time::Now;
use std::time::Duration;

/// Longest text of an attribute, in bytes: what a full queue takes in memory depends on it.
const TEXT_BYTES_MAX: usize = 512;

/// Flags beside the sampled bit: whether the parent is of another process is known, and it is.
const FLAG_PARENT_KNOWN: u32 = 0x100;
const FLAG_PARENT_REMOTE: u32 = 0x200;

/// What a span is of, as OTLP numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

/// Begin and end, since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    begin: Duration,
    end: Duration,
}

impl Times {
    /// From a reading of the clocks until now, by the clock that is never set back.
    pub fn since(begin: Now) -> Self {
        let begin_unix = begin.unix();
        Self {
            begin: begin_unix,
            end: begin_unix + begin.instant().elapsed(),
        }
    }

    /// What has taken so long and ends now.
    pub fn until(end: Now, took: Duration) -> Self {
        Self {
            begin: end.unix().saturating_sub(took),
            end: end.unix(),
        }
    }
}

#[derive(Debug)]
pub struct Span {
    message: otlp::Span,
    privacy: bool,
}

impl Span {
    pub(super) fn new(
        name: &str,
        kind: Kind,
        context: &Context,
        times: Times,
        privacy: bool,
    ) -> Self {
        let message = otlp::Span {
            trace_id: context.trace.to_vec(),
            span_id: context.span.to_vec(),
            name: name.to_owned(),
            kind: kind as i32,
            start_time_unix_nano: nanoseconds(times.begin),
            end_time_unix_nano: nanoseconds(times.end),
            flags: u32::from(context.sampled),
            ..otlp::Span::default()
        };
        Self { message, privacy }
    }

    /// Below a span of this process.
    pub fn below(mut self, parent: SpanId) -> Self {
        self.message.parent_span_id = parent.to_vec();
        self.message.flags |= FLAG_PARENT_KNOWN;
        self
    }

    /// Below a span of somebody else, with the `tracestate` that came along.
    pub fn below_remote(self, parent: SpanId, state: Option<&str>) -> Self {
        let mut span = self.below(parent);
        span.message.flags |= FLAG_PARENT_REMOTE;
        span.message.trace_state = state.unwrap_or_default().to_owned();
        span
    }

    /// Left out where privacy wants it so.
    pub fn text(&mut self, name: &'static str, text: impl Into<String>) {
        if let Some(text) = telemetry::attribute(name, text.into(), self.privacy) {
            self.add(name, Value::Text(shortened(text)));
        }
    }

    pub fn texts(&mut self, name: &'static str, texts: impl IntoIterator<Item = String>) {
        let shown = |text| telemetry::attribute(name, text, self.privacy);
        let values = texts.into_iter().filter_map(shown);
        let values = values.map(|text| AnyValue::from(Value::Text(shortened(text))));
        let values = values.collect();
        self.add(name, Value::List(List { values }));
    }

    /// Where a request goes, without its query.
    pub fn url(&mut self, host: &str, port: u16, path: &str) {
        let shown = |name, text: &str| telemetry::attribute(name, text.to_owned(), self.privacy);
        let (host, path) = (shown("server.address", host), shown("url.path", path));
        if let (Some(host), Some(path)) = (host, path) {
            let port = match port {
                443 => String::new(),
                port => format!(":{port}"),
            };
            let url = format!("https://{host}{port}{path}");
            self.add("url.full", Value::Text(shortened(url)));
        }
    }

    pub fn whole(&mut self, name: &'static str, number: u64) {
        self.add(
            name,
            Value::Whole(i64::try_from(number).unwrap_or(i64::MAX)),
        );
    }

    /// Nothing where it could not be measured.
    pub fn number(&mut self, name: &'static str, number: Option<f64>) {
        if let Some(number) = number.filter(|number| number.is_finite()) {
            self.add(name, Value::Number(number));
        }
    }

    /// Marks it as failed.
    pub fn fail(&mut self) {
        self.message.status = Some(otlp::Status { code: STATUS_ERROR });
    }

    pub(super) fn into_message(self) -> otlp::Span {
        self.message
    }

    fn add(&mut self, name: &str, value: Value) {
        self.message.attributes.push(KeyValue::new(name, value));
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}
