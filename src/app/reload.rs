//! Reloads, by SIGHUP or `POST /reload`: the file is read again, and takes effect as a whole or not at all.
//!
//! Live allocations keep the key that they were made with, live tunnels and requests their settings, live connections their
//! listener. What only a restart can change is named and left as it is. Wishes that come while a reload runs are answered by the
//! one after it, together; between two reloads there is a rest as long as the last one took, so that a storm of them gets no
//! more than half of this thread, which carries no media.

mod apply;
mod metrics;

pub use metrics::{Metrics, Swap};

use super::Source;
use super::start::{Running, warn_of_certificate};
use crate::admin::{ReloadRequest, Reloaded};
use crate::check::Outcome;
use crate::config::{self, KeyChange, Loaded, Machine, Problem};
use crate::sys::clock;
use crate::telemetry;
use apply::Refusal;
use metrics::Verdict;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{error, info, warn};

/// Wishes that wait; the admin listener has no more connections than this.
const WAITING_MAX: usize = 64;

/// The longest rest between two reloads.
const REST_MAX: Duration = Duration::from_secs(1);

/// What `/reload` answers: what `relayd check --json` says of the file, and what has become of it.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    outcome: Outcome,
    /// Of the configuration in force; 1 is that of the start.
    generation: i64,
    /// What is in force and was not before.
    changes: Vec<KeyChange>,
    /// Keys that have changed in the file and wait for a restart.
    restart_only: Vec<&'static str>,
}

/// Reloads one after the other.
pub struct Reloader {
    requests: mpsc::Receiver<ReloadRequest>,
    rest_until: Instant,
}

impl Reloader {
    /// With the sender for those who wish for reloads.
    pub fn new() -> (Self, mpsc::Sender<ReloadRequest>) {
        let (sender, requests) = mpsc::channel(WAITING_MAX);
        let reloader = Self {
            requests,
            rest_until: Instant::now(),
        };
        (reloader, sender)
    }

    /// The next wish that comes by request.
    pub async fn asked(&mut self) -> ReloadRequest {
        match self.requests.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }

    /// Reloads once, for all that wish it by now.
    pub async fn reload(
        &mut self,
        running: &mut Running,
        log: &telemetry::Handle,
        source: &Source,
        first: Option<ReloadRequest>,
    ) {
        tokio::time::sleep_until(self.rest_until).await;
        let mut waiting: Vec<ReloadRequest> = first.into_iter().collect();
        while let Ok(request) = self.requests.try_recv() {
            waiting.push(request);
        }
        let begin = Instant::now();
        let report = match source {
            Source::File(path) => reload_file(running, log, source, path).await,
            Source::FirstTry { .. } => without_file(running),
        };
        self.rest_until = Instant::now() + begin.elapsed().min(REST_MAX);
        let reloaded = Reloaded {
            ok: report.outcome.ok,
            report: serde_json::to_string(&report).expect("plain data becomes JSON"),
        };
        for request in waiting {
            // Who has gone away needs no answer.
            let _ = request.send(reloaded.clone());
        }
    }
}

async fn reload_file(
    running: &mut Running,
    log: &telemetry::Handle,
    source: &Source,
    path: &Path,
) -> Report {
    // Whatever the file says: a rotated log must not wait until its mistakes are mended.
    if let Err(cause) = log.reopen() {
        let cause = anyhow::Error::new(cause);
        warn!(cause = %format_args!("{cause:#}"), "the log goes on in the file that was open");
    }
    let name = path.display().to_string();
    let machine = Machine::read();
    let loaded = config::load(path, &|name| std::env::var(name).ok());
    let outcome = Outcome::new(name, loaded.clone(), &machine, &[]);
    let Ok(Loaded {
        config: file,
        warnings,
    }) = loaded
    else {
        let problems: Vec<String> = outcome.problems.iter().map(ToString::to_string).collect();
        error!(
            file = %outcome.source,
            report = %problems.join("\n\n"),
            "the configuration stays as it was: the file has problems, which `relayd check` lists"
        );
        return refused(running, outcome, Verdict::Configuration);
    };
    for warning in &warnings {
        warn!(%warning, "configuration");
    }
    let mut new = file.clone();
    config::keep_restart_only(&running.file, &mut new);
    let restart_only = config::changes(&new, &file);
    let kept = restart_only.iter().map(|change| change.key);
    new.shown.keep(&running.file.shown, kept);
    let mut changes = config::changes(&running.file, &new);
    let mut complete = new.clone();
    running.facts.complete(&mut complete);
    let prepared = match apply::prepare(running, log, complete).await {
        Ok(prepared) => prepared,
        Err(refusal) => {
            let verdict = refusal.verdict;
            error!(
                file = %outcome.source,
                result = verdict.label(),
                cause = %format_args!("{:#}", refusal.cause),
                "the configuration stays as it was"
            );
            return refused(running, with(outcome, refusal), verdict);
        }
    };
    if let Some(change) = prepared.certificate_change(running) {
        changes.push(KeyChange { key: "tls", change });
        warn_of_certificate(&new);
    }
    apply::commit(running, log, source, prepared).await;
    running.file = new;
    running
        .reload_metrics
        .count(Verdict::InForce, clock::now().unix_s());
    for change in &restart_only {
        warn!(
            key = change.key,
            change = %change.change,
            "changed in the file; takes effect at a restart"
        );
    }
    let report = Report {
        outcome,
        generation: running.reload_metrics.generation(),
        changes,
        restart_only: restart_only.iter().map(|change| change.key).collect(),
    };
    info!(
        file = %path.display(),
        generation = report.generation,
        keys = %keys(&report.changes),
        changes = %told(&report.changes),
        "reloaded"
    );
    report
}

/// The present configuration stays, and the report says why.
fn refused(running: &Running, outcome: Outcome, verdict: Verdict) -> Report {
    running.reload_metrics.count(verdict, clock::now().unix_s());
    Report {
        outcome,
        generation: running.reload_metrics.generation(),
        changes: Vec::new(),
        restart_only: Vec::new(),
    }
}

/// A file that is good in itself, but cannot be put in force here and now.
fn with(outcome: Outcome, refusal: Refusal) -> Outcome {
    let causes: Vec<String> = refusal
        .cause
        .chain()
        .skip(1)
        .map(ToString::to_string)
        .collect();
    let label = match causes.as_slice() {
        [] => refusal.verdict.label().to_owned(),
        causes => causes.join(": "),
    };
    let problem = Problem::error(
        refusal.cause.to_string(),
        label,
        "mend it and reload again; nothing of the file is in force",
    );
    let problems = outcome.problems.into_iter().chain([problem]).collect();
    Outcome {
        ok: false,
        plan: None,
        problems,
        ..outcome
    }
}

fn without_file(running: &Running) -> Report {
    info!("there is no file to reload: relayd runs without one");
    let problem = Problem::error(
        "there is no file to reload",
        "relayd was started without one",
        "start it with --config FILE",
    );
    Report {
        outcome: Outcome {
            source: String::new(),
            ok: false,
            problems: vec![problem],
            plan: None,
            peers: Vec::new(),
        },
        generation: running.reload_metrics.generation(),
        changes: Vec::new(),
        restart_only: Vec::new(),
    }
}

/// `turn.users: alice added; log.level: info → debug`.
fn told(changes: &[KeyChange]) -> String {
    if changes.is_empty() {
        return "none".to_owned();
    }
    let texts = changes
        .iter()
        .map(|change| format!("{}: {}", change.key, change.change));
    texts.collect::<Vec<_>>().join("; ")
}

/// The same without a value: what `log.privacy` lets through.
fn keys(changes: &[KeyChange]) -> String {
    let keys: Vec<&str> = changes.iter().map(|change| change.key).collect();
    keys.join(",")
}
