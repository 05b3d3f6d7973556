//! One request's line in the log and its place in the counters: written when the last of its answer is gone.

use super::body::{BodyError, Counts, Upload};
use super::guard::UnderWay;
use super::metrics::{RequestKind, RequestLabels, StatusClass};
use super::respond::ProxyError;
use super::traced::{Ended, Trace};
use http::Method;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// What is logged when the client went away before there was an answer: nginx's number for it.
const NO_ANSWER: u16 = 499;

/// How the answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Complete,
    /// The client went away before the end.
    Abandoned,
    /// The upstream broke off or fell silent.
    Broken,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Abandoned => "client gone",
            Self::Broken => "upstream broke off",
        }
    }
}

pub(super) struct Record {
    pub(super) method: Method,
    /// The upstream's authority, or what the client asked for when there is none.
    pub(super) host: String,
    /// Without the query: that is where tokens are.
    pub(super) path: String,
    pub(super) client: IpAddr,
    pub(super) kind: RequestKind,
    pub(super) status: u16,
    /// From the request's head to the head of the upstream's answer, redirects included.
    pub(super) upstream: Option<Duration>,
    pub(super) upload: Option<Rc<Upload>>,
    /// The answer was made here, and why.
    pub(super) refused: Option<ProxyError>,
    /// Where spans are on.
    pub(super) trace: Option<Rc<Trace>>,
    started: Instant,
    bytes: u64,
    outcome: Outcome,
    counts: Counts,
    under_way: UnderWay,
}

impl Record {
    pub(super) fn new(
        method: Method,
        client: IpAddr,
        counts: &Counts,
        under_way: UnderWay,
    ) -> Self {
        counts.under_way.inc();
        Self {
            method,
            host: String::new(),
            path: String::new(),
            client,
            kind: RequestKind::Refused,
            status: NO_ANSWER,
            upstream: None,
            upload: None,
            refused: None,
            trace: None,
            started: Instant::now(),
            bytes: 0,
            outcome: Outcome::Abandoned,
            counts: Counts::clone(counts),
            under_way,
        }
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.under_way.touch();
    }

    pub(super) fn complete(&mut self) {
        if self.outcome == Outcome::Abandoned {
            self.outcome = Outcome::Complete;
        }
    }

    pub(super) fn broken(&mut self, error: &BodyError) {
        tracing::debug!(target: "relayd::proxy", host = self.host, %error, "answer broken off");
        self.outcome = Outcome::Broken;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let sent = self.upload.as_ref().map_or(0, |upload| upload.bytes());
        self.counts.under_way.dec();
        self.counts.seconds.observe(took.as_secs_f64());
        self.counts.request_bytes.inc_by(sent);
        self.counts.response_bytes.inc_by(self.bytes);
        let labels = RequestLabels {
            kind: self.kind,
            status: StatusClass::of(self.status),
        };
        self.counts.requests.get_or_create(&labels).inc();
        tracing::info!(
            target: "relayd::proxy",
            client = %self.client,
            method = %self.method,
            host = self.host,
            path = self.path,
            status = self.status,
            bytes = self.bytes,
            request_bytes = sent,
            duration_ms = took.as_millis() as u64,
            upstream_ms = self.upstream.map(|upstream| upstream.as_millis() as u64),
            end = self.outcome.label(),
            "request"
        );
        if let Some(trace) = &self.trace {
            trace.end(&Ended {
                kind: self.kind,
                status: (self.status != NO_ANSWER || self.upstream.is_some())
                    .then_some(self.status),
                refused: self.refused,
                end: self.outcome.label(),
                gone: self.outcome == Outcome::Abandoned,
                broken: self.outcome == Outcome::Broken,
                request_bytes: sent,
                response_bytes: self.bytes,
            });
        }
    }
}
