//! The signalling plane as the rest of relayd sees it: one [`Proxy`] for all threads, one [`Local`] for each of them.
//!
//! Invariant: settings take effect as a whole. A request sees one set of them from its first byte to its last; a set that
//! cannot be compiled replaces nothing.

use super::body::Counts;
use super::cors::CorsPolicy;
use super::metrics::Metrics;
use super::open_tunnels::{OpenTunnel, OpenTunnels};
use super::own::Endpoint;
use super::pool::{Bounds, Loads, Pool};
use super::rate::Rates;
use super::resolve::{Cache, Resolve, SystemResolver};
use super::route::{Router, RouterError};
use super::upstreams::{UpstreamNumbers, Upstreams, View};
use super::{Settings, server};
use crate::latency::Spread;
use crate::tls::{RootsError, client_config, roots};
use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use http::{Response, request};
use rustls::ClientConfig;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

/// Settings that the proxy cannot run with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Roots(#[from] RootsError),
    #[error(transparent)]
    Router(#[from] RouterError),
}

/// Answers what relayd serves itself, or says `None`; asked before any route.
pub type Page = Box<dyn Fn(&request::Parts) -> Option<Response<Bytes>> + Send + Sync>;

/// A client connection, as the client sees it: from the PROXY header where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    pub client: SocketAddr,
    pub server: SocketAddr,
    pub tls: bool,
    /// ALPN chose `h2`.
    pub h2: bool,
}

/// One set of settings, ready for use.
pub(super) struct Compiled {
    pub(super) settings: Settings,
    pub(super) router: Router,
    pub(super) cors: CorsPolicy,
    pub(super) tls: Arc<ClientConfig>,
    /// Tells sets of settings apart.
    pub(super) generation: u64,
}

impl Compiled {
    fn new(settings: Settings, generation: u64) -> Result<Self, Error> {
        Ok(Self {
            router: Router::new(&settings)?,
            cors: CorsPolicy::new(&settings.cors_origins),
            tls: client_config(roots(settings.ca_file.as_deref())?),
            settings,
            generation,
        })
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            generation: self.generation,
            idle_per_host: self.settings.limits.upstream_idle_per_host,
            idle_time: self.settings.timeouts.upstream_idle,
        }
    }
}

/// Settings that nothing can go wrong with any more.
pub struct Prepared(Arc<Compiled>);

/// What all threads share.
pub struct Proxy {
    current: ArcSwap<Compiled>,
    generations: AtomicU64,
    page: ArcSwapOption<Page>,
    endpoint: ArcSwapOption<Box<dyn Endpoint>>,
    resolver: Arc<dyn Resolve>,
    pub(super) counts: Counts,
    pub(super) rates: Rates,
    pub(super) loads: Arc<Loads>,
    /// WebSockets open or opening.
    pub(super) tunnels: AtomicUsize,
    pub(super) open_tunnels: Arc<OpenTunnels>,
    upstreams: Arc<Upstreams>,
}

impl Proxy {
    /// Reads the CA file and compiles the routes; names are resolved as the system does.
    pub fn new(settings: Settings) -> Result<Arc<Self>, Error> {
        Self::with_resolver(settings, Arc::new(SystemResolver))
    }

    pub fn with_resolver(
        settings: Settings,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Arc<Self>, Error> {
        let open_tunnels = Arc::<OpenTunnels>::default();
        Ok(Arc::new(Self {
            current: ArcSwap::from_pointee(Compiled::new(settings, 0)?),
            generations: AtomicU64::new(1),
            page: ArcSwapOption::empty(),
            endpoint: ArcSwapOption::empty(),
            resolver,
            counts: Arc::default(),
            rates: Rates::default(),
            loads: Arc::default(),
            tunnels: AtomicUsize::new(0),
            upstreams: Upstreams::new(Instant::now(), Arc::clone(&open_tunnels)),
            open_tunnels,
        }))
    }

    /// Puts other settings in force for the requests that come; those under way, and tunnels, keep theirs.
    ///
    /// On an error the old settings stay as they are. The sizes and times of a connection's HTTP are those it began with.
    pub fn replace(&self, settings: Settings) -> Result<(), Error> {
        let prepared = self.prepare(settings)?;
        self.install(prepared);
        Ok(())
    }

    /// Compiles settings, for [`install`](Self::install). `None` where they are those in force: what is pooled stays so.
    pub fn prepare_changed(&self, settings: &Settings) -> Result<Option<Prepared>, Error> {
        // A file of authorities may have other ones under the same name.
        if settings.ca_file.is_none() && self.current.load().settings == *settings {
            return Ok(None);
        }
        self.prepare(settings.clone()).map(Some)
    }

    fn prepare(&self, settings: Settings) -> Result<Prepared, Error> {
        let generation = self.generations.fetch_add(1, Ordering::Relaxed);
        Ok(Prepared(Arc::new(Compiled::new(settings, generation)?)))
    }

    /// Puts compiled settings in force, as [`replace`](Self::replace) does.
    pub fn install(&self, prepared: Prepared) {
        self.current.store(prepared.0);
        self.counts.reloads.inc();
    }

    /// Sets or removes what answers before any route, for every thread.
    pub fn set_page(&self, page: Option<Page>) {
        self.page.store(page.map(Arc::new));
    }

    /// Sets or removes what answers at paths of its own, with bodies, for every thread.
    pub fn set_endpoint(&self, endpoint: Option<Box<dyn Endpoint>>) {
        self.endpoint.store(endpoint.map(Arc::new));
    }

    /// Requests whose answer is not complete, and WebSockets.
    pub fn under_way(&self) -> (usize, usize) {
        let requests = usize::try_from(self.counts.under_way.get()).unwrap_or(0);
        (requests, self.tunnels.load(Ordering::Relaxed))
    }

    /// The open WebSockets of all threads, in no order.
    pub fn open_tunnels(&self) -> Vec<Arc<OpenTunnel>> {
        self.open_tunnels.all()
    }

    /// Upstreams that were reached since the start, busiest first, and how many of them were forgotten.
    pub fn upstreams(&self) -> (Vec<UpstreamNumbers>, u64) {
        let open = self.open_tunnels();
        self.upstreams
            .numbers(open.iter().map(|tunnel| tunnel.host.as_str()))
    }

    /// How long the answers of all upstreams took, from the last of a request that was sent to the answer's head.
    pub fn latencies(&self) -> Spread {
        self.upstreams.latencies()
    }

    pub fn metrics(&self) -> &Metrics {
        &self.counts
    }

    pub(super) fn current(&self) -> Arc<Compiled> {
        self.current.load_full()
    }

    pub(super) fn page(&self, parts: &request::Parts) -> Option<Response<Bytes>> {
        let page = self.page.load();
        page.as_ref().and_then(|page| page(parts))
    }

    /// What serves this path with bodies, if it is served here.
    pub(super) fn endpoint(&self, path: &str) -> Option<Arc<Box<dyn Endpoint>>> {
        let endpoint = self.endpoint.load_full();
        endpoint.filter(|endpoint| endpoint.serves(path))
    }
}

/// What one thread has for itself: its pool and its resolved names.
pub struct Local {
    pub(super) proxy: Arc<Proxy>,
    pub(super) names: Cache,
    pub(super) upstreams: View,
    pool: Rc<Pool>,
}

impl Local {
    /// To be made once on each thread that serves.
    pub fn new(proxy: Arc<Proxy>) -> Rc<Self> {
        let pool = Pool::new(
            Arc::clone(&proxy.loads),
            Arc::clone(&proxy.counts),
            proxy.current().bounds(),
        );
        Rc::new(Self {
            names: Cache::new(Arc::clone(&proxy.resolver)),
            upstreams: proxy.upstreams.view(),
            pool,
            proxy,
        })
    }

    /// Serves one connection to its end, its tunnel included. Runs in a `LocalSet`, and spawns there.
    ///
    /// Once `drain` is true, requests under way are finished and none is taken any more; a tunnel goes on.
    pub fn serve<S>(
        self: &Rc<Self>,
        stream: S,
        info: ConnectionInfo,
        drain: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        server::serve(Rc::clone(self), stream, info, drain)
    }

    pub(super) fn pool(&self, compiled: &Compiled) -> &Rc<Pool> {
        self.pool.set_bounds(compiled.bounds());
        &self.pool
    }
}
