//! What was found, as values: a row for each thing that was tried. `text` shows them; JSON is these types as they are.

use serde::Serialize;
use std::time::Duration;

/// A group of tests; `--only` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The file, and whether a server runs it.
    Server,
    /// Names, addresses, TLS and HTTP of every upstream.
    Upstreams,
    /// Relaying through the server itself.
    Turn,
    /// HTTPS, CORS and WebSockets through the server itself.
    Proxy,
    /// The addresses as they look from outside.
    Stun,
    /// Clock, limits, buffers.
    Machine,
}

impl Part {
    /// Those that can be left out.
    pub const CHOICE: [Self; 5] = [
        Self::Upstreams,
        Self::Turn,
        Self::Proxy,
        Self::Stun,
        Self::Machine,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Upstreams => "upstreams",
            Self::Turn => "turn",
            Self::Proxy => "proxy",
            Self::Stun => "stun",
            Self::Machine => "machine",
        }
    }

    /// As a heading.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Upstreams => "upstreams, as relayd reaches them",
            Self::Turn => "TURN through this server",
            Self::Proxy => "HTTPS and WebSockets through this server",
            Self::Stun => "from outside",
            Self::Machine => "machine",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    /// It works; a human should look.
    Warn,
    /// It does not work.
    Fail,
    /// It could not be tried; the detail says why.
    Untried,
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub part: Part,
    pub what: String,
    pub result: Verdict,
    /// How long the telling part of it took, in milliseconds.
    pub ms: Option<f64>,
    pub detail: String,
    /// What to do; for every failure and every warning.
    pub advice: Option<String>,
}

impl Row {
    pub fn ok(part: Part, what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(part, what, Verdict::Ok, detail, None)
    }

    pub fn untried(part: Part, what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(part, what, Verdict::Untried, detail, None)
    }

    pub fn warn(
        part: Part,
        what: impl Into<String>,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::new(part, what, Verdict::Warn, detail, Some(advice.into()))
    }

    pub fn fail(
        part: Part,
        what: impl Into<String>,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::new(part, what, Verdict::Fail, detail, Some(advice.into()))
    }

    /// With how long it took.
    pub fn took(mut self, time: Duration) -> Self {
        self.ms = Some((time.as_secs_f64() * 1e5).round() / 100.0);
        self
    }

    fn new(
        part: Part,
        what: impl Into<String>,
        result: Verdict,
        detail: impl Into<String>,
        advice: Option<String>,
    ) -> Self {
        Self {
            part,
            what: plain(what.into()),
            result,
            ms: None,
            detail: plain(detail.into()),
            advice: advice.map(plain),
        }
    }
}

/// Names in certificates, and words of whoever answers, are other people's: a terminal is to obey none of them.
fn plain(text: String) -> String {
    let shown = |c: char| match c {
        c if c.is_whitespace() => ' ',
        c if c.is_control() || changes_direction(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(shown).collect()
}

/// UAX #9: what makes the rest of a line read the other way.
fn changes_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub ok: usize,
    pub warn: usize,
    pub fail: usize,
    pub untried: usize,
}

/// Everything that `relayd check --live` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The file as it was named, or what stands for it.
    pub source: String,
    /// When it began, in seconds since 1970.
    pub time: u64,
    pub took_s: f64,
    /// True if nothing failed and nobody interrupted it.
    pub ok: bool,
    /// By a signal: what had not ended is not among the checks.
    pub interrupted: bool,
    pub counts: Counts,
    pub checks: Vec<Row>,
}

impl Report {
    pub fn new(
        source: String,
        time: u64,
        took: Duration,
        interrupted: bool,
        checks: Vec<Row>,
    ) -> Self {
        let mut counts = Counts::default();
        for check in &checks {
            *match check.result {
                Verdict::Ok => &mut counts.ok,
                Verdict::Warn => &mut counts.warn,
                Verdict::Fail => &mut counts.fail,
                Verdict::Untried => &mut counts.untried,
            } += 1;
        }
        Self {
            source: plain(source),
            time,
            took_s: (took.as_secs_f64() * 100.0).round() / 100.0,
            ok: counts.fail == 0 && !interrupted,
            interrupted,
            counts,
            checks,
        }
    }
}
