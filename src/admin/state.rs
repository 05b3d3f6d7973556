//! What the admin listener tells: the phase of the server's life, its addresses, its metrics, and whom to ask for the rest.

use super::access::{Access, TokenHash};
use super::control::Control;
use super::history::{History, Sample, Shown, Span};
use super::stats::Quality;
use super::{Counts, Settings};
use crate::entropy::Entropy;
use crate::metrics::Metrics;
use crate::secret::Secret;
use crate::sys::clock;
use crate::sys::rng::SystemRng;
use crate::time::Now;
use arc_swap::ArcSwapOption;
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
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
pub struct AdminState {
    phase: Mutex<Phase>,
    metrics: Arc<Metrics>,
    pub(super) counts: Counts,
    pub(super) access: Access,
    token: ArcSwapOption<TokenHash>,
    control: OnceLock<Arc<dyn Control>>,
    reloads: OnceLock<mpsc::Sender<ReloadRequest>>,
    certificate: OnceLock<Certificate>,
    /// `None` until the first sample.
    history: Mutex<Option<History>>,
}

/// Tells what is served where certificates are obtained by relayd itself.
type Certificate = Box<dyn Fn() -> Option<&'static str> + Send + Sync>;

#[derive(Clone, Debug)]
enum Phase {
    Starting,
    Ready(Addresses),
    /// Drained by the operator, who may take it back.
    Draining(Addresses),
    /// On its way to the end.
    Stopping,
}

/// The server stops: what the operator asked for comes too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stopping;

/// The body of `/readyz`.
#[derive(Serialize)]
struct Readiness {
    ready: bool,
    state: &'static str,
    /// "stand-in" or "kept" does not make a server unready: the certificate comes over its port, once it is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<&'static str>,
    #[serde(flatten)]
    addresses: Option<Addresses>,
}

impl AdminState {
    /// A server that is starting. `counts` are registered by the caller.
    pub fn new(metrics: Arc<Metrics>, counts: Counts, settings: &Settings) -> Arc<Self> {
        let mut seed = [0; 8];
        SystemRng.fill(&mut seed);
        let state = Self {
            phase: Mutex::new(Phase::Starting),
            metrics,
            counts,
            access: Access::new(clock::now().instant(), u64::from_ne_bytes(seed)),
            token: ArcSwapOption::empty(),
            control: OnceLock::new(),
            reloads: OnceLock::new(),
            certificate: OnceLock::new(),
            history: Mutex::default(),
        };
        state.set_token(settings.token.as_ref());
        Arc::new(state)
    }

    /// Puts another token in force. Only a loopback listener may be left without one, which is the caller's to see to.
    pub fn set_token(&self, token: Option<&Secret>) {
        self.token.store(token.map(TokenHash::of).map(Arc::new));
    }

    /// Whom to ask; once, before [`ready`](Self::ready).
    pub fn set_control(&self, control: Arc<dyn Control>) {
        let first = self.control.set(control).is_ok();
        debug_assert!(first, "a server has one control");
    }

    /// For `/readyz`; the first one stays.
    pub fn set_certificate(&self, tell: impl Fn() -> Option<&'static str> + Send + Sync + 'static) {
        let _ = self.certificate.set(Box::new(tell));
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

    /// Every listener is open and served, or others are after a reload, which takes no drain back.
    pub fn ready(&self, addresses: Addresses) {
        let mut phase = self.phase();
        *phase = match &*phase {
            Phase::Starting | Phase::Ready(_) => Phase::Ready(addresses),
            Phase::Draining(_) => Phase::Draining(addresses),
            Phase::Stopping => Phase::Stopping,
        };
    }

    /// The server stops: load balancers should look elsewhere, and no request brings it back.
    pub fn drain(&self) {
        *self.phase() = Phase::Stopping;
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn token(&self) -> Option<TokenHash> {
        self.token.load().as_deref().copied()
    }

    /// `None` while the server starts.
    pub(super) fn control(&self) -> Option<&Arc<dyn Control>> {
        self.control.get()
    }

    /// Takes a sample into the history, which the first one begins.
    pub(super) fn remember(&self, now: Now, sample: &Sample) {
        match &mut *self.kept() {
            Some(history) => history.add(now, sample),
            kept => *kept = Some(History::new(now, sample)),
        }
    }

    pub(super) fn history(&self, span: Span) -> Option<Shown> {
        self.kept().as_ref().map(|history| history.show(span))
    }

    pub(super) fn recent_quality(&self) -> Quality {
        let kept = self.kept();
        kept.as_ref()
            .map(History::recent_quality)
            .unwrap_or_default()
    }

    fn kept(&self) -> MutexGuard<'_, Option<History>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drains or accepts again, by `carry_out`. Under the lock, so that a stop that comes meanwhile has the last word.
    pub(super) fn set_draining(
        &self,
        draining: bool,
        carry_out: impl FnOnce(),
    ) -> Result<(), Stopping> {
        let mut phase = self.phase();
        let addresses = match &*phase {
            Phase::Ready(addresses) | Phase::Draining(addresses) => addresses.clone(),
            Phase::Starting | Phase::Stopping => return Err(Stopping),
        };
        carry_out();
        *phase = match draining {
            true => Phase::Draining(addresses),
            false => Phase::Ready(addresses),
        };
        Ok(())
    }

    /// Whether it drains, and whether that is for good.
    pub(super) fn draining(&self) -> (bool, bool) {
        match &*self.phase() {
            Phase::Starting | Phase::Ready(_) => (false, false),
            Phase::Draining(_) => (true, false),
            Phase::Stopping => (true, true),
        }
    }

    /// Whether the server is ready, and what says so, with the listeners' addresses.
    pub(super) fn readiness(&self) -> (bool, impl Serialize + use<>) {
        let (ready, state, addresses) = match self.phase().clone() {
            Phase::Starting => (false, "starting", None),
            Phase::Ready(addresses) => (true, "ready", Some(addresses)),
            Phase::Draining(_) | Phase::Stopping => (false, "draining", None),
        };
        let readiness = Readiness {
            ready,
            state,
            certificate: self.certificate.get().and_then(|tell| tell()),
            addresses,
        };
        (ready, readiness)
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
