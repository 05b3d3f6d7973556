//! Idle upstream connections of one thread, and how many requests are under way to each host over all threads.
//!
//! Keyed by authority. The youngest connection is used first, so that the others age and end. A connection made under other
//! settings is never used again: its certificate was judged by other roots, its address by other rules.
//!
//! Invariants: at most `upstream_idle_per_host` idle connections a host; an idle connection ends within `upstream_idle` and
//! one sweep; a host without connections and requests is forgotten by the next sweep.

use super::body::{Counts, RequestBody};
use hyper::client::conn::http1::SendRequest;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, timeout};

pub(super) type Sender = SendRequest<RequestBody>;

/// How long a connection whose answer is complete may take to get ready for the next request.
const SETTLE: Duration = Duration::from_secs(5);
const SWEEP_MIN: Duration = Duration::from_secs(1);
const SWEEP_MAX: Duration = Duration::from_secs(15);

/// Requests under way to each host and upstream connections, over all threads.
#[derive(Debug, Default)]
pub(super) struct Loads {
    sockets: Arc<AtomicUsize>,
    hosts: Mutex<HashMap<Box<str>, Arc<AtomicUsize>>>,
}

impl Loads {
    fn of(&self, authority: &str) -> Arc<AtomicUsize> {
        let mut hosts = self.lock();
        if let Some(load) = hosts.get(authority) {
            return Arc::clone(load);
        }
        let load = Arc::default();
        hosts.insert(authority.into(), Arc::clone(&load));
        load
    }

    fn forget_unused(&self) {
        self.lock().retain(|_, load| Arc::strong_count(load) > 1);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Box<str>, Arc<AtomicUsize>>> {
        self.hosts
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// One request under way to a host, until dropped.
#[derive(Debug)]
pub(super) struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One upstream connection, from before it is made until dropped.
#[derive(Debug)]
pub(super) struct Socket(Arc<AtomicUsize>);

impl Drop for Socket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Idle {
    sender: Sender,
    since: Instant,
    generation: u64,
}

struct Host {
    idle: VecDeque<Idle>,
    load: Arc<AtomicUsize>,
}

/// The settings in force that the pool needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Which settings these are.
    pub(super) generation: u64,
    pub(super) idle_per_host: usize,
    pub(super) idle_time: Duration,
}

pub(super) struct Pool {
    hosts: RefCell<HashMap<Rc<str>, Host>>,
    loads: Arc<Loads>,
    counts: Counts,
    bounds: Cell<Bounds>,
    sweeping: Cell<bool>,
}

impl Pool {
    pub(super) fn new(loads: Arc<Loads>, counts: Counts, bounds: Bounds) -> Rc<Self> {
        Rc::new(Self {
            hosts: RefCell::default(),
            loads,
            counts,
            bounds: Cell::new(bounds),
            sweeping: Cell::new(false),
        })
    }

    pub(super) fn set_bounds(&self, bounds: Bounds) {
        self.bounds.set(bounds);
    }

    /// Counts a request to a host, unless `max` are under way already; 0: no limit.
    pub(super) fn admit(self: &Rc<Self>, authority: &str, max: usize) -> Option<Permit> {
        let mut hosts = self.hosts.borrow_mut();
        let load = match hosts.get(authority) {
            Some(host) => Arc::clone(&host.load),
            None => {
                let load = self.loads.of(authority);
                let host = Host {
                    idle: VecDeque::new(),
                    load: Arc::clone(&load),
                };
                hosts.insert(authority.into(), host);
                drop(hosts);
                self.sweep_later();
                load
            }
        };
        let permit = Permit(load);
        let before = permit.0.fetch_add(1, Ordering::Relaxed);
        (max == 0 || before < max).then_some(permit)
    }

    /// Counts a connection that is about to be made. When `max` are there already, an idle one of this thread must give way;
    /// 0: no limit.
    pub(super) fn open(&self, max: usize) -> Option<Socket> {
        let socket = Socket(Arc::clone(&self.loads.sockets));
        let before = socket.0.fetch_add(1, Ordering::Relaxed);
        (max == 0 || before < max || self.close_oldest_idle()).then_some(socket)
    }

    fn close_oldest_idle(&self) -> bool {
        let mut hosts = self.hosts.borrow_mut();
        let with_idle = hosts.values_mut().filter(|host| !host.idle.is_empty());
        let oldest = with_idle.min_by_key(|host| host.idle.front().map(|idle| idle.since));
        let closed = oldest.and_then(|host| host.idle.pop_front()).is_some();
        if closed {
            self.counts.idle.dec();
        }
        closed
    }

    /// The youngest idle connection to a host that can take a request at once.
    pub(super) fn take(&self, authority: &str) -> Option<Sender> {
        let mut hosts = self.hosts.borrow_mut();
        let idle = &mut hosts.get_mut(authority)?.idle;
        let generation = self.bounds.get().generation;
        while let Some(candidate) = idle.pop_back() {
            self.counts.idle.dec();
            if candidate.sender.is_ready() && candidate.generation == generation {
                return Some(candidate.sender);
            }
        }
        None
    }

    fn put(&self, authority: &str, sender: Sender, generation: u64) {
        let bounds = self.bounds.get();
        if generation != bounds.generation || bounds.idle_per_host == 0 {
            return;
        }
        let mut hosts = self.hosts.borrow_mut();
        let Some(host) = hosts.get_mut(authority) else {
            return;
        };
        while host.idle.len() >= bounds.idle_per_host {
            host.idle.pop_front();
            self.counts.idle.dec();
        }
        host.idle.push_back(Idle {
            sender,
            since: Instant::now(),
            generation,
        });
        self.counts.idle.inc();
    }

    /// Starts the task that ends what has been idle too long; it ends itself with the last host.
    fn sweep_later(self: &Rc<Self>) {
        if self.sweeping.replace(true) {
            return;
        }
        let pool = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            loop {
                let Some(wait) = pool.upgrade().map(|pool| pool.sweep_interval()) else {
                    return;
                };
                tokio::time::sleep(wait).await;
                let Some(pool) = pool.upgrade() else { return };
                if pool.sweep(Instant::now()) {
                    pool.sweeping.set(false);
                    return;
                }
            }
        });
    }

    fn sweep_interval(&self) -> Duration {
        (self.bounds.get().idle_time / 4).clamp(SWEEP_MIN, SWEEP_MAX)
    }

    /// True when nothing is left to sweep.
    fn sweep(&self, now: Instant) -> bool {
        let bounds = self.bounds.get();
        let mut hosts = self.hosts.borrow_mut();
        hosts.retain(|_, host| {
            let before = host.idle.len();
            host.idle.retain(|idle| {
                idle.generation == bounds.generation
                    && now.duration_since(idle.since) < bounds.idle_time
                    && !idle.sender.is_closed()
            });
            self.counts
                .idle
                .dec_by(i64::try_from(before - host.idle.len()).unwrap_or(i64::MAX));
            !host.idle.is_empty() || host.load.load(Ordering::Relaxed) > 0
        });
        self.loads.forget_unused();
        hosts.is_empty()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let left: usize = self
            .hosts
            .get_mut()
            .values()
            .map(|host| host.idle.len())
            .sum();
        self.counts
            .idle
            .dec_by(i64::try_from(left).unwrap_or(i64::MAX));
    }
}

/// A connection whose answer is still coming in. Dropped before the end, the connection is not used again.
pub(super) struct Lease {
    pub(super) pool: Rc<Pool>,
    pub(super) authority: Rc<str>,
    pub(super) sender: Sender,
    pub(super) generation: u64,
    pub(super) permit: Permit,
}

impl Lease {
    /// The answer is complete: the connection is for the next request.
    pub(super) fn give_back(self) {
        let Self {
            pool,
            authority,
            mut sender,
            generation,
            permit,
        } = self;
        drop(permit);
        if sender.is_ready() {
            pool.put(&authority, sender, generation);
        } else if !sender.is_closed() {
            // The answer was complete before the request was, or its last bytes are still on their way through hyper.
            tokio::task::spawn_local(async move {
                if let Ok(Ok(())) = timeout(SETTLE, sender.ready()).await {
                    pool.put(&authority, sender, generation);
                }
            });
        }
    }
}
