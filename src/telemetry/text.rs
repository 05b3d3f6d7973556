//! The two formats of a line: text, and JSON with one object on each line.
//!
//! A value never ends its line and never speaks to a terminal: control characters are escaped. A `report` is the
//! exception, since it is made of lines for people: the text format puts it below its line, indented.

use super::record::{Record, Value};
use serde_json::Value as Json;
use std::fmt::Write as _;
use std::time::Duration;
use tracing::Level;

/// Shown as lines of their own in the text format.
const BLOCKS: [&str; 2] = ["report", "warning"];

/// `2026-11-20T12:00:00.000000Z  INFO relayd::io::worker: allocation ended id=7 user="alice"`.
pub(super) fn text(record: &Record, ansi: bool) -> String {
    let at = rfc3339(record.at);
    let (level, target) = (record.level, record.target);
    let head = match ansi {
        true => format!(
            "{DIM}{at}{RESET} {}{level:>5}{RESET} {DIM}{target}:{RESET} ",
            colour(level)
        ),
        false => format!("{at} {level:>5} {target}: "),
    };
    format!("{head}{}\n", message_and_fields(record))
}

const DIM: &str = "\u{1b}[2m";
const RESET: &str = "\u{1b}[0m";

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        Level::DEBUG => "\u{1b}[34m",
        Level::TRACE => "\u{1b}[35m",
    }
}

/// What a person reads of a record: its message, its fields, then the blocks.
pub(super) fn message_and_fields(record: &Record) -> String {
    let mut line = escaped(&record.message);
    let (blocks, fields): (Vec<_>, Vec<_>) = record
        .fields
        .iter()
        .partition(|(name, _)| BLOCKS.contains(name));
    for (name, value) in fields {
        if !line.is_empty() {
            line.push(' ');
        }
        push_field(&mut line, name, value);
    }
    for (_, value) in blocks {
        let (Value::Text(text) | Value::Shown(text)) = value else {
            continue;
        };
        for below in text.lines() {
            line.push_str("\n    ");
            line.push_str(&escaped(below));
        }
    }
    line
}

fn push_field(line: &mut String, name: &str, value: &Value) {
    // Writing to a string does not fail.
    let _ = match value {
        Value::Text(text) => write!(line, "{name}={text:?}"),
        Value::Shown(text) => write!(line, "{name}={}", escaped(text)),
        Value::Unsigned(number) => write!(line, "{name}={number}"),
        Value::Signed(number) => write!(line, "{name}={number}"),
        Value::Float(number) => write!(line, "{name}={number:?}"),
        Value::Bool(yes) => write!(line, "{name}={yes}"),
    };
}

fn escaped(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    clean
}

/// `{"timestamp":…,"level":"INFO","message":…,"id":7,"user":"alice","target":…}`.
pub(super) fn json(record: &Record) -> String {
    let mut line = String::from("{");
    let mut push = |name: &str, value: Json| {
        let comma = if line.len() > 1 { "," } else { "" };
        let _ = write!(line, "{comma}{}:{value}", Json::from(name));
    };
    push("timestamp", rfc3339(record.at).into());
    push("level", record.level.as_str().into());
    push("message", record.message.as_str().into());
    for (name, value) in &record.fields {
        let value = match value {
            Value::Text(text) | Value::Shown(text) => text.as_str().into(),
            Value::Unsigned(number) => (*number).into(),
            Value::Signed(number) => (*number).into(),
            Value::Float(number) => (*number).into(),
            Value::Bool(yes) => (*yes).into(),
        };
        push(name, value);
    }
    push("target", record.target.into());
    line.push_str("}\n");
    line
}

/// UTC with microseconds (RFC 3339).
pub(super) fn rfc3339(since_1970: Duration) -> String {
    const DAY_S: u64 = 86_400;
    let seconds = since_1970.as_secs();
    let (year, month, day) = date(seconds / DAY_S);
    let of_day = seconds % DAY_S;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let micros = since_1970.subsec_micros();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Year, month and day of a day since 1970, in the Gregorian calendar.
///
/// Counted in years that begin in March, so that a leap day is the last day of its year, and in the calendar's period
/// of 400 years, which has 146 097 days.
fn date(day: u64) -> (u64, u64, u64) {
    const PERIOD: u64 = 146_097;
    // 0000-03-01 is 719 468 days before 1970-01-01.
    let day = day + 719_468;
    let (period, day) = (day / PERIOD, day % PERIOD);
    let leap_days = day / 1460 - day / 36_524 + day / (PERIOD - 1);
    let year = (day - leap_days) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March have 31, 30, 31, 30, 31 days, again and again: 153 days in five months.
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (400 * period + year + carry, month, day_of_month)
}
