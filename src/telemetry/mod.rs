//! Logs: text or JSON to standard output, with a level and a format that can be changed while relayd runs.
//!
//! Times are UTC (RFC 3339). Repeated warnings and errors are folded, see `fold`. Absent: files, rotation and syslog,
//! which the service manager does better.

mod fold;
mod switch;

use crate::sys::clock;
use fold::{Folding, Folds};
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use switch::{Fields, Lines, Mode};
use tracing::Subscriber;
use tracing::subscriber::set_global_default;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, reload};

/// Repeats within this time become one line.
const FOLD_WINDOW: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub format: Format,
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives (`info,relayd::proxy=debug`).
    pub level: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            format: Format::Text,
            level: "info".to_owned(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "`{directive}` is no log level: write off, error, warn, info, debug or trace, or MODULE=LEVEL"
    )]
    Level { directive: String },
    #[error("logging is already set up")]
    AlreadySet,
    #[error("cannot start the log thread")]
    Thread(#[source] io::Error),
    #[error("the log filter is gone")]
    FilterGone(#[source] reload::Error),
}

/// Reads a level or directives; used by the configuration check, too.
pub fn parse_level(text: &str) -> Result<Targets, Error> {
    let mut targets = Targets::new();
    for directive in text.split(',').map(str::trim) {
        let wrong = || Error::Level {
            directive: directive.to_owned(),
        };
        // `Targets` would take a misspelt level for a module's name and log nothing else.
        let (target, level) = match directive.split_once('=') {
            Some((target, level)) => (Some(target.trim()), level.trim()),
            None => (None, directive),
        };
        if level.is_empty() || !level.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(wrong());
        }
        let level: LevelFilter = level.parse().map_err(|_| wrong())?;
        targets = match target {
            None => targets.with_default(level),
            Some(target) if is_path(target) => targets.with_target(target, level),
            Some(_) => return Err(wrong()),
        };
    }
    Ok(targets)
}

fn is_path(target: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    !target.is_empty() && target.bytes().all(allowed)
}

/// Keeps logging alive: changes level and format, and writes what is still folded when it is dropped.
#[derive(Debug)]
pub struct Handle {
    filter: reload::Handle<Targets, Registry>,
    mode: Arc<Mode>,
    folds: Arc<Folds>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Handle {
    /// Changes what is logged from now on.
    pub fn set_level(&self, level: &str) -> Result<(), Error> {
        let targets = parse_level(level)?;
        self.filter.reload(targets).map_err(Error::FilterGone)
    }

    /// Writes the lines that come in another format.
    pub fn set_format(&self, format: Format) {
        self.mode.set(format);
    }

    /// The directives in force.
    pub fn level(&self) -> String {
        let shown = self.filter.with_current(ToString::to_string);
        shown.unwrap_or_default()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.folds.stop();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic hook, and there is nothing left to write.
            let _ = thread.join();
        }
    }
}

/// Starts logging for the whole process; once.
pub fn init(settings: &Settings) -> Result<Handle, Error> {
    let clock: fn() -> Instant = || clock::now().instant();
    let folds = Arc::new(Folds::new(FOLD_WINDOW, clock));
    let ansi = io::stdout().is_terminal();
    let mode = Arc::new(Mode::new(settings.format));
    let (subscriber, filter) = subscriber(settings, &mode, ansi, io::stdout, &folds)?;
    set_global_default(subscriber).map_err(|_| Error::AlreadySet)?;
    let thread = {
        let (folds, mode) = (Arc::clone(&folds), Arc::clone(&mode));
        let write = move |summary: fold::Summary| {
            // Standard output may be gone; a log has nobody to tell that to.
            let _ = io::stdout().write_all(summary.line(mode.get()).as_bytes());
        };
        thread::Builder::new()
            .name("relayd-log".to_owned())
            .spawn(move || folds.run(write))
            .map_err(Error::Thread)?
    };
    Ok(Handle {
        filter,
        mode,
        folds,
        thread: Some(thread),
    })
}

type Filter = reload::Handle<Targets, Registry>;

fn subscriber<W>(
    settings: &Settings,
    mode: &Arc<Mode>,
    ansi: bool,
    writer: W,
    folds: &Arc<Folds>,
) -> Result<(impl Subscriber + Send + Sync + use<W>, Filter), Error>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(parse_level(&settings.level)?);
    let folds = Arc::clone(folds);
    let lines = fmt::layer()
        .with_writer(writer)
        .with_ansi(ansi)
        .log_internal_errors(false)
        .fmt_fields(Fields(Arc::clone(mode)))
        .event_format(Folding::new(
            Lines::new(Arc::clone(mode), ansi),
            Arc::clone(mode),
            folds,
        ));
    let subscriber = Registry::default().with(filter).with(lines);
    Ok((subscriber, handle))
}

#[cfg(test)]
mod tests;
