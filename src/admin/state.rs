//! What the admin listener tells: the phase of the server's life, its addresses, its metrics.

use crate::metrics::Metrics;
use arc_swap::ArcSwap;
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use tokio::sync::{mpsc, oneshot};

/// The listeners with their real ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Addresses {
    pub udp: Vec<SocketAddr>,
    pub tcp: Vec<SocketAddr>,
    pub tls: Vec<SocketAddr>,
}

/// A wish to reload: answered once the reload that follows it is over.
pub type ReloadRequest = oneshot::Sender<Reloaded>;

/// What came of a reload.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// The configuration in the file is in force.
    pub ok: bool,
    /// What to tell: JSON.
    pub report: String,
}

/// Written by `app` as the server starts, serves and drains; read by every request.
#[derive(Debug)]
pub struct AdminState {
    phase: ArcSwap<Phase>,
    metrics: Arc<Metrics>,
    reloads: OnceLock<mpsc::Sender<ReloadRequest>>,
}

#[derive(Debug)]
enum Phase {
    Starting,
    Ready(Addresses),
    Draining,
}

/// The body of `/readyz`.
#[derive(Serialize)]
struct Readiness<'a> {
    ready: bool,
    state: &'static str,
    #[serde(flatten)]
    addresses: Option<&'a Addresses>,
}

impl AdminState {
    /// A server that is starting.
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            phase: ArcSwap::from_pointee(Phase::Starting),
            metrics,
            reloads: OnceLock::new(),
        })
    }

    /// Who reloads; set once.
    pub fn set_reloads(&self, reloads: mpsc::Sender<ReloadRequest>) {
        // A second one is nobody's: the first is told of every wish.
        let _ = self.reloads.set(reloads);
    }

    /// Asks for a reload and waits for its end; `None` while nobody reloads (the server starts or drains).
    pub(super) async fn reload(&self) -> Option<Reloaded> {
        let (request, answer) = oneshot::channel();
        self.reloads.get()?.send(request).await.ok()?;
        answer.await.ok()
    }

    /// Every listener is open and served.
    pub fn ready(&self, addresses: Addresses) {
        self.phase.store(Arc::new(Phase::Ready(addresses)));
    }

    /// New clients are refused; load balancers should look elsewhere.
    pub fn drain(&self) {
        self.phase.store(Arc::new(Phase::Draining));
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Whether the server is ready, and the JSON that says so.
    pub(super) fn readiness(&self) -> (bool, String) {
        let phase = self.phase.load();
        let (ready, state, addresses) = match &**phase {
            Phase::Starting => (false, "starting", None),
            Phase::Ready(addresses) => (true, "ready", Some(addresses)),
            Phase::Draining => (false, "draining", None),
        };
        let readiness = Readiness {
            ready,
            state,
            addresses,
        };
        let json = serde_json::to_string(&readiness).expect("strings and addresses are JSON");
        (ready, json)
    }
}
