//! The thread that sends spans: in batches, one after the other, with pauses that double while the collector is away.
//!
//! A batch is tried for [`BATCH_TIME_MAX`]; what the collector refuses for good is given up at once. The log hears of
//! the first trouble and of its end, not of each attempt.

use super::Tracer;
use super::client::{Delivered, Link, Trouble};
use super::metrics::{Metrics, Outcome};
use super::otlp::{
    ExportTraceServiceRequest, KeyValue, Resource, ResourceSpans, Scope, ScopeSpans, Span, Value,
};
use super::queue::{BATCH_SPANS_MAX, Queue};
use crate::entropy::Entropy as _;
use crate::fetch::sentence;
use crate::sys::rng::SystemRng;
use arc_swap::ArcSwapOption;
use prost::Message as _;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

/// How long a span waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// Pause before the second attempt; doubled up to the other.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long one batch is tried; newer ones wait behind it.
const BATCH_TIME_MAX: Duration = Duration::from_secs(120);

/// Tells processes with one name apart.
static INSTANCE: LazyLock<String> = LazyLock::new(|| {
    let mut bytes = [0; 16];
    SystemRng.fill(&mut bytes);
    format!("{:032x}", u128::from_be_bytes(bytes))
});

pub(super) struct Exporter {
    pub tracer: Arc<ArcSwapOption<Tracer>>,
    /// The last that was in force, for what it has left behind.
    pub last: Arc<ArcSwapOption<Tracer>>,
    pub queue: Arc<Queue>,
    pub metrics: Metrics,
}

/// What lasts from batch to batch.
#[derive(Default)]
struct Course {
    link: Link,
    /// Something went wrong, and nothing has gone well since.
    troubled: bool,
    /// Spans that are neither in the queue nor at the collector.
    in_hand: usize,
}

impl Exporter {
    /// Until the queue is stopped; then what is left, for as long as there is time.
    pub async fn run(self) {
        let mut course = Course::default();
        tokio::select! {
            () = self.work(&mut course) => return,
            () = self.queue.over() => {}
        }
        let lost = course.in_hand + self.queue.len();
        self.metrics.count(Outcome::Failed, lost);
        warn!(
            lost,
            "spans are lost: the collector did not take them before the end"
        );
    }

    async fn work(&self, course: &mut Course) {
        loop {
            self.queue.filled(1).await;
            tokio::select! {
                () = self.queue.filled(BATCH_SPANS_MAX) => {}
                () = sleep(GATHER) => {}
            }
            let batch = self.queue.take();
            if !batch.is_empty() {
                course.in_hand = batch.len();
                self.deliver(batch, course).await;
                course.in_hand = 0;
            } else if self.queue.end().is_some() {
                return;
            }
        }
    }

    /// Tries until the batch is gone, one way or the other.
    async fn deliver(&self, batch: Vec<Span>, course: &mut Course) {
        let count = batch.len();
        let mut request = request(batch);
        let give_up = Instant::now() + BATCH_TIME_MAX;
        let mut pause = PAUSE_FIRST;
        loop {
            let mut looks = self.queue.looks();
            let current = self.tracer.load_full();
            let is_last = current.is_none() || self.queue.end().is_some();
            let Some(tracer) = current.or_else(|| self.last.load_full()) else {
                return self.metrics.count(Outcome::Failed, count);
            };
            name(&mut request, &tracer.settings.service_name);
            let body = request.encode_to_vec().into();
            let trouble = match course.link.send(&tracer.target, body).await {
                Ok(delivered) => return self.delivered(count, delivered, &mut course.troubled),
                Err(trouble) => trouble,
            };
            let wait = trouble.retry_after().unwrap_or(pause).max(pause);
            let over = trouble.is_final() || is_last || Instant::now() + wait >= give_up;
            tell(&trouble, &mut course.troubled);
            if over {
                return self.metrics.count(Outcome::Failed, count);
            }
            tokio::select! {
                () = sleep(wait) => {}
                _ = looks.changed() => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn delivered(&self, count: usize, delivered: Delivered, troubled: &mut bool) {
        let rejected = delivered.rejected.min(count);
        self.metrics.count(Outcome::Exported, count - rejected);
        self.metrics.count(Outcome::Failed, rejected);
        if rejected > 0 {
            if !*troubled {
                let lost = rejected;
                warn!(lost, error = %delivered.message, "the collector does not take all spans");
            }
            *troubled = true;
        } else if std::mem::take(troubled) {
            info!("the collector takes spans again");
        }
    }
}

fn tell(trouble: &Trouble, troubled: &mut bool) {
    if !std::mem::replace(troubled, true) {
        let error = sentence(trouble);
        warn!(
            error,
            "spans cannot be sent: they wait for a while and are dropped then"
        );
    }
}

fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope = Scope {
        name: "relayd".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: None,
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans,
            }],
            schema_url: String::new(),
        }],
    }
}

fn name(request: &mut ExportTraceServiceRequest, service: &str) {
    let text = |name, text: &str| KeyValue::new(name, Value::Text(text.to_owned()));
    let pid = i64::from(std::process::id());
    for spans in &mut request.resource_spans {
        spans.resource = Some(Resource {
            attributes: vec![
                text("service.name", service),
                text("service.version", env!("CARGO_PKG_VERSION")),
                text("service.instance.id", &INSTANCE),
                KeyValue::new("process.pid", Value::Whole(pid)),
            ],
        });
    }
}
