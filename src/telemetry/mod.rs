//! Logs: text, JSON or the journal's fields, to standard output or error, a file, or the journal.
//!
//! The way of a line: `layer` makes a `record` of an event, with what `privacy` lets through; repeated warnings and errors
//! are folded (`fold`); `queue` takes it without ever waiting; the log thread (`writer`) formats it (`text`) and hands it to
//! its `sink`. So the threads that log make no system call but a wake-up, and wait for no disk, pipe or journal: what
//! these cannot take is dropped, counted, and said once when they take lines again.
//!
//! Level, format, destination and privacy change while relayd runs, together or not at all. Times are UTC (RFC 3339).
//! Absent: rotation, which logrotate does; syslog's protocols, whose daemons read the journal or a file.

mod file;
mod fold;
mod journal;
mod layer;
mod metrics;
mod privacy;
mod queue;
mod record;
mod sink;
mod text;
mod writer;

use crate::sys::clock;
use crate::time::Now;
use arc_swap::ArcSwap;
use fold::Folds;
use layer::{Events, Rules};
use metrics::Metrics;
pub use privacy::attribute;
use prometheus_client::registry::Registry as MetricRegistry;
use queue::{Item, Queue};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use tracing::Subscriber;
use tracing::subscriber::set_global_default;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, reload};
use writer::Writer;

/// Where systemd's journal takes entries.
pub const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";

/// Repeats within this time become one line.
const FOLD_WINDOW: Duration = Duration::from_secs(10);
/// How long the end of the process waits for a destination that takes no lines.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the log counts of itself: one log, one account.
static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::default);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// `log.to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Stdout,
    Stderr,
    /// The socket of a journal; its entries have fields, so `format` says nothing here.
    Journal(PathBuf),
    /// Appended to; see [`Handle::reopen`].
    File(PathBuf),
}

/// As it is written in the configuration.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
            Self::Journal(socket) if socket.as_os_str() == JOURNAL_SOCKET => {
                f.write_str("journald")
            }
            Self::Journal(socket) => write!(f, "journald:{}", socket.display()),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub to: Destination,
    pub format: Format,
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives (`info,relayd::proxy=debug`).
    pub level: String,
    /// Lines of `info` and above have neither user names nor clients' addresses.
    pub privacy: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            to: Destination::Stdout,
            format: Format::Text,
            level: "info".to_owned(),
            privacy: false,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "`{directive}` is no log level: write off, error, warn, info, debug or trace, or MODULE=LEVEL"
    )]
    Level { directive: String },
    #[error("cannot open the log file {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the log file {} is no regular file", path.display())]
    NotAFile { path: PathBuf },
    #[error("no journal takes entries at {}: set log.to to \"stdout\" or \"file:PATH\" where there is no systemd-journald", path.display())]
    Journal { path: PathBuf, source: io::Error },
    #[error("cannot use standard output or error for the log")]
    Standard(#[source] io::Error),
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

type Clock = Arc<dyn Fn() -> Now + Send + Sync>;
type Filter = reload::Handle<Targets, Registry>;

/// Keeps logging alive: changes it, and writes what is left when it is dropped.
#[derive(Debug)]
pub struct Handle {
    control: Control,
    thread: Option<thread::JoinHandle<()>>,
}

/// What turns the knobs of a running log.
struct Control {
    filter: Filter,
    rules: Arc<ArcSwap<Rules>>,
    queue: Arc<Queue>,
    /// In force.
    settings: Mutex<Settings>,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = self.settings();
        f.debug_struct("Control")
            .field("settings", &*settings)
            .finish_non_exhaustive()
    }
}

/// New settings of which everything that can fail has succeeded.
pub struct Prepared {
    settings: Settings,
    targets: Targets,
    /// `None` where lines go on where they go.
    sink: Option<Box<dyn sink::Sink>>,
}

impl Handle {
    /// Puts settings into force, all of them or, with an error, none.
    pub fn apply(&self, settings: &Settings) -> Result<(), Error> {
        let prepared = self.prepare(settings)?;
        self.commit(prepared)
    }

    /// Reads and opens what `settings` need; nothing changes before [`Handle::commit`].
    pub fn prepare(&self, settings: &Settings) -> Result<Prepared, Error> {
        self.control.prepare(settings)
    }

    /// Puts prepared settings into force. Fails only where logging has ended already.
    pub fn commit(&self, prepared: Prepared) -> Result<(), Error> {
        self.control.commit(prepared)
    }

    /// Opens the log file again under its name, after it was rotated; nothing to do for other destinations.
    ///
    /// With an error, lines go on into the file that was open.
    pub fn reopen(&self) -> Result<(), Error> {
        self.control.reopen()
    }

    /// Changes what is logged from now on.
    pub fn set_level(&self, level: &str) -> Result<(), Error> {
        let mut settings = self.control.settings().clone();
        level.clone_into(&mut settings.level);
        self.apply(&settings)
    }

    /// Whether these settings are in force.
    pub fn has(&self, settings: &Settings) -> bool {
        *self.control.settings() == *settings
    }

    /// The directives in force.
    pub fn level(&self) -> String {
        self.control.rules.load().targets.to_string()
    }
}

impl Control {
    fn prepare(&self, settings: &Settings) -> Result<Prepared, Error> {
        let targets = parse_level(&settings.level)?;
        let current = self.settings().clone();
        let same = current.to == settings.to && current.format == settings.format;
        let sink = if same {
            None
        } else {
            Some(sink::open(settings)?)
        };
        Ok(Prepared {
            settings: settings.clone(),
            targets,
            sink,
        })
    }

    fn commit(&self, prepared: Prepared) -> Result<(), Error> {
        let Prepared {
            settings,
            targets,
            sink,
        } = prepared;
        self.filter
            .reload(targets.clone())
            .map_err(Error::FilterGone)?;
        self.rules.store(Arc::new(Rules {
            privacy: settings.privacy,
            targets,
        }));
        if let Some(sink) = sink {
            self.queue.order(Item::Output(sink));
        }
        *self.settings() = settings;
        Ok(())
    }

    fn reopen(&self) -> Result<(), Error> {
        let to = self.settings().to.clone();
        if let Destination::File(path) = to {
            self.queue.order(Item::Reopened(file::open(&path)?));
        }
        Ok(())
    }

    /// The settings are whole after every statement, so a panic elsewhere leaves nothing to repair.
    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // A destination that takes no lines must not keep the process from ending.
        let finished = self.control.queue.stop(PATIENCE);
        if let Some(thread) = self.thread.take().filter(|_| finished) {
            // A panic there has been reported by the panic hook, and there is nothing left to write.
            let _ = thread.join();
        }
    }
}

/// Starts logging for the whole process; once.
pub fn init(settings: &Settings) -> Result<Handle, Error> {
    let clock: Clock = Arc::new(clock::now);
    let log = build(settings, sink::open(settings)?, METRICS.clone(), clock)?;
    set_global_default(log.subscriber).map_err(|_| Error::AlreadySet)?;
    let writer = log.writer;
    let thread = thread::Builder::new()
        .name("relayd-log".to_owned())
        .spawn(move || writer.run())
        .map_err(Error::Thread)?;
    Ok(Handle {
        control: log.control,
        thread: Some(thread),
    })
}

/// Registers what the log counts of itself.
pub fn register_metrics(registry: &mut MetricRegistry) {
    METRICS.register(registry);
}

/// The parts of a log, not running yet.
struct Parts<S> {
    subscriber: S,
    control: Control,
    writer: Writer,
}

fn build(
    settings: &Settings,
    sink: Box<dyn sink::Sink>,
    metrics: Metrics,
    clock: Clock,
) -> Result<Parts<impl Subscriber + Send + Sync + use<>>, Error> {
    let targets = parse_level(&settings.level)?;
    let (filter, filter_handle) = reload::Layer::new(targets.clone());
    let rules = Arc::new(ArcSwap::from_pointee(Rules {
        privacy: settings.privacy,
        targets,
    }));
    let folds = Arc::new(Folds::new(FOLD_WINDOW));
    let queue = Arc::new(Queue::default());
    let events = Events {
        rules: Arc::clone(&rules),
        folds: Arc::clone(&folds),
        queue: Arc::clone(&queue),
        metrics: metrics.clone(),
        clock: Arc::clone(&clock),
    };
    let writer = Writer {
        queue: Arc::clone(&queue),
        folds,
        sink,
        metrics,
        clock,
        lost: 0,
    };
    Ok(Parts {
        subscriber: Registry::default().with(filter).with(events),
        control: Control {
            filter: filter_handle,
            rules,
            queue,
            settings: Mutex::new(settings.clone()),
        },
        writer,
    })
}

#[cfg(test)]
mod tests;
