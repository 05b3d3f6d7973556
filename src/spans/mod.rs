//! Spans for OpenTelemetry: what a request or a call was, told to a collector when it has ended. Off unless it is configured.
//!
//! The way of a span: whoever has something to tell asks [`current`] for the [`Tracer`], which decides whether this one is
//! told at all; `span` holds its attributes, of which `telemetry` lets through what `log.privacy` permits; `queue` takes it
//! without waiting; one thread (`export`) sends batches by OTLP over HTTP, in protobuf (`otlp`), on a connection of `client`.
//!
//! What holds: a packet makes no span and meets no code of this room; the end of an allocation does. Nobody waits for a
//! collector: a span that finds the queue full is dropped and counted. Off costs one look at an empty pointer a request.
//! Absent: metrics and logs by OTLP, which have ways of their own; gzip; gRPC.

mod client;
mod context;
mod export;
mod metrics;
mod otlp;
mod queue;
mod span;
#[cfg(test)]
mod tests;

pub use client::Endpoint;
pub use context::{Context, Parent, SpanId, state};
pub use span::{Kind, Span, Times};

use crate::secret::Secret;
use crate::sys::rng::SystemRng;
use crate::tls::RootsError;
use arc_swap::ArcSwapOption;
use client::Target;
use context::Sampler;
use export::Exporter;
use http::HeaderName;
use metrics::{Metrics, Outcome};
use prometheus_client::registry::Registry;
use queue::Queue;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long the end of the process waits for a collector.
const PATIENCE: Duration = Duration::from_secs(3);

/// One for the process, as the log is.
static HUB: LazyLock<Hub> = LazyLock::new(Hub::default);

/// `[tracing]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `None`: off.
    pub endpoint: Option<Endpoint>,
    pub service_name: String,
    /// The part of requests and calls that is told, 0 to 1, where no parent has decided.
    pub sample_ratio: f64,
    /// Upstreams get `traceparent`.
    pub propagate: bool,
    /// Sent with each batch.
    pub headers: Vec<(HeaderName, Secret)>,
    /// Authorities for the collector's TLS beside the public ones.
    pub ca_file: Option<PathBuf>,
    /// Of one attempt, from the name's resolution to the answer's last byte.
    pub timeout: Duration,
    /// Spans that may wait.
    pub queue_spans: usize,
    /// `log.privacy`: neither user names nor clients' addresses.
    pub privacy: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoint: None,
            service_name: "relayd".to_owned(),
            sample_ratio: 1.0,
            propagate: false,
            headers: Vec::new(),
            ca_file: None,
            timeout: Duration::from_secs(10),
            queue_spans: 4096,
            privacy: false,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Roots(#[from] RootsError),
    #[error("cannot start the thread that sends spans")]
    Thread(#[source] io::Error),
}

/// Makes spans by one set of settings.
///
/// What is open may hold it for hours after it was replaced; what a span says of people, and whether it goes anywhere, is
/// therefore decided with the settings that are in force when it is told.
#[derive(Debug)]
pub struct Tracer {
    settings: Settings,
    in_force: Arc<ArcSwapOption<Tracer>>,
    sampler: Sampler,
    target: Target,
    queue: Arc<Queue>,
    metrics: Metrics,
}

impl Tracer {
    /// Where a trace begins here.
    pub fn root(&self) -> Context {
        self.sampler.root(&mut SystemRng)
    }

    /// A span below one of somebody else, or of this process; whether it is told is decided there.
    pub fn below(&self, parent: &Parent) -> Context {
        Context::below(parent.trace, parent.sampled, &mut SystemRng)
    }

    /// Whether upstreams are told of the trace.
    pub fn propagates(&self) -> bool {
        self.settings.propagate
    }

    pub fn span(&self, name: &str, kind: Kind, context: &Context, times: Times) -> Span {
        let now = self.in_force.load();
        let is_private_now = now.as_ref().is_some_and(|now| now.settings.privacy);
        let privacy = self.settings.privacy || is_private_now;
        Span::new(name, kind, context, times, privacy)
    }

    /// Gives a span on its way, or counts it as dropped: where there is no room, or spans have been switched off meanwhile.
    pub fn finish(&self, span: Span) {
        let now = self.in_force.load();
        let pushed = now.as_ref().is_some_and(|now| {
            let spans_max = now.settings.queue_spans;
            self.queue.push(span.into_message(), spans_max)
        });
        if !pushed {
            self.metrics.count(Outcome::Dropped, 1);
        }
    }
}

/// Who makes spans now; `None`: they are off.
pub fn current() -> Option<Arc<Tracer>> {
    HUB.tracer.load_full()
}

/// Settings of which everything that can fail has succeeded.
pub struct Prepared(Change);

enum Change {
    None,
    Off,
    On(Arc<Tracer>),
}

/// Reads what `settings` name and starts the thread that sends, where it does not run; no span is made before [`commit`].
pub fn prepare(settings: &Settings) -> Result<Prepared, Error> {
    HUB.prepare(settings).map(Prepared)
}

/// Puts prepared settings in force, for what is open too. What waits already is sent to the new collector, or a last time to the old one.
pub fn commit(prepared: Prepared) {
    match prepared.0 {
        Change::None => {}
        Change::Off => HUB.tracer.store(None),
        Change::On(tracer) => {
            HUB.last.store(Some(Arc::clone(&tracer)));
            HUB.tracer.store(Some(tracer));
        }
    }
    HUB.queue.look_again();
}

pub fn register_metrics(registry: &mut Registry) {
    HUB.metrics.register(registry);
}

/// Sends what is left when it is dropped, for a few seconds at most.
#[derive(Debug)]
pub struct Guard(());

/// Makes and sends spans for the whole process.
pub fn init(settings: &Settings) -> Result<Guard, Error> {
    commit(prepare(settings)?);
    Ok(Guard(()))
}

impl Drop for Guard {
    fn drop(&mut self) {
        HUB.stop(PATIENCE);
    }
}

#[derive(Default)]
struct Hub {
    tracer: Arc<ArcSwapOption<Tracer>>,
    last: Arc<ArcSwapOption<Tracer>>,
    queue: Arc<Queue>,
    metrics: Metrics,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Hub {
    fn prepare(&self, settings: &Settings) -> Result<Change, Error> {
        let Some(target) = Target::new(settings)? else {
            return Ok(Change::Off);
        };
        let running = self.tracer.load();
        let same = running.as_ref().is_some_and(|t| t.settings == *settings);
        // A file of authorities may have other ones under the same name.
        if same && settings.ca_file.is_none() {
            return Ok(Change::None);
        }
        self.run()?;
        Ok(Change::On(Arc::new(Tracer {
            sampler: Sampler::new(settings.sample_ratio),
            settings: settings.clone(),
            in_force: Arc::clone(&self.tracer),
            target,
            queue: Arc::clone(&self.queue),
            metrics: self.metrics.clone(),
        })))
    }

    fn run(&self) -> Result<(), Error> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let exporter = Exporter {
                tracer: Arc::clone(&self.tracer),
                last: Arc::clone(&self.last),
                queue: Arc::clone(&self.queue),
                metrics: self.metrics.clone(),
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(Error::Thread)?;
            let spawned = thread::Builder::new()
                .name("relayd-spans".to_owned())
                .spawn(move || {
                    runtime.block_on(exporter.run());
                    // A lookup before a dead DNS server does not hold up the end.
                    runtime.shutdown_background();
                });
            *thread = Some(spawned.map_err(Error::Thread)?);
        }
        Ok(())
    }

    fn stop(&self, patience: Duration) {
        self.tracer.store(None);
        let thread = self.thread.lock();
        let thread = thread.unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        self.queue.stop(patience);
        // A panic there has been reported by the panic hook.
        let _ = thread.join();
    }
}
