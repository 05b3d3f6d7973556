//! The WebSockets that are open: what they have carried, and how one is ended from outside.
//!
//! Every tunnel counts for itself, in atomics that only its own thread writes; the list is locked when a tunnel begins, when
//! it ends and when somebody looks, never for a byte.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// One open tunnel.
#[derive(Debug)]
pub struct OpenTunnel {
    pub id: u64,
    pub client: SocketAddr,
    /// The upstream, with its port if that is not the usual one.
    pub host: String,
    pub path: String,
    pub started: Instant,
    pub(super) carried: Carried,
    pub(super) ended: Notify,
}

impl OpenTunnel {
    pub fn bytes_to_upstream(&self) -> u64 {
        self.carried.to_upstream()
    }

    pub fn bytes_to_client(&self) -> u64 {
        self.carried.to_client()
    }

    /// How long nothing has been carried, either way.
    pub fn idle(&self, now: Instant) -> Duration {
        let moved_ms = self.carried.moved_ms.load(Ordering::Relaxed);
        let age = now.saturating_duration_since(self.started);
        age.saturating_sub(Duration::from_millis(moved_ms))
    }

    /// Something was carried just now.
    pub(super) fn touch(&self, now: Instant) {
        let age = now.saturating_duration_since(self.started);
        let moved_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        self.carried.moved_ms.store(moved_ms, Ordering::Relaxed);
    }

    /// Ends it now; its two sides are closed by the thread that has it.
    pub fn end(&self) {
        self.ended.notify_one();
    }
}

/// What a tunnel has carried so far, in bytes: readable from outside, also when its future is dropped half-way.
#[derive(Debug, Default)]
pub(super) struct Carried {
    pub(super) to_upstream: AtomicU64,
    pub(super) to_client: AtomicU64,
    /// When the last byte was carried, in ms since the tunnel began.
    moved_ms: AtomicU64,
}

impl Carried {
    pub(super) fn to_upstream(&self) -> u64 {
        self.to_upstream.load(Ordering::Relaxed)
    }

    pub(super) fn to_client(&self) -> u64 {
        self.to_client.load(Ordering::Relaxed)
    }

    pub(super) fn total(&self) -> u64 {
        self.to_upstream().wrapping_add(self.to_client())
    }
}

/// The open tunnels of all threads.
#[derive(Debug, Default)]
pub(super) struct OpenTunnels {
    next_id: AtomicU64,
    by_id: Mutex<HashMap<u64, Arc<OpenTunnel>>>,
}

impl OpenTunnels {
    pub(super) fn open(&self, client: SocketAddr, host: String, path: String) -> Arc<OpenTunnel> {
        let tunnel = Arc::new(OpenTunnel {
            id: self.next_id.fetch_add(1, Ordering::Relaxed) + 1,
            client,
            host,
            path,
            started: Instant::now(),
            carried: Carried::default(),
            ended: Notify::new(),
        });
        self.lock().insert(tunnel.id, Arc::clone(&tunnel));
        tunnel
    }

    pub(super) fn close(&self, id: u64) {
        let mut by_id = self.lock();
        by_id.remove(&id);
        if by_id.capacity() > 64 && by_id.len() < by_id.capacity() / 4 {
            by_id.shrink_to_fit();
        }
    }

    /// The upstreams that have any.
    pub(super) fn hosts(&self) -> HashSet<String> {
        let by_id = self.lock();
        by_id.values().map(|tunnel| tunnel.host.clone()).collect()
    }

    pub(super) fn all(&self) -> Vec<Arc<OpenTunnel>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<OpenTunnel>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
