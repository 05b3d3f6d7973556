//! What the servers of all workers share. Nothing here is locked for a relayed packet.

use crate::entropy::Entropy;
use crate::limits::{Quotas, RateTable, RecentTable, SharedByteBucket};
use crate::turn::live::LiveRelays;
use crate::turn::nonce::{Features, NonceKeys};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Sources that each limiter follows at once; 8 bytes each.
const SOURCES: usize = 16384;

/// User and total quotas, nonce keys, the limiters of strangers, the set of live relayed ports.
pub struct Shared {
    pub(super) epoch: OnceLock<Instant>,
    pub(super) nonce_keys: RwLock<NonceKeys>,
    next_id: AtomicU64,
    pub(super) quotas: Quotas,
    pub(super) live: Arc<LiveRelays>,
    /// Unauthenticated requests, by source.
    pub(super) unauthenticated: RateTable,
    /// Sources that completed an authentication.
    pub(super) authenticated: RecentTable,
    /// Failed authentications, by source and username, apart for those that lately worked.
    pub(super) failures: RateTable,
    /// Sources and usernames that completed an authentication together.
    pub(super) working: RecentTable,
    pub(super) to_peer: SharedByteBucket,
    pub(super) to_client: SharedByteBucket,
}

impl Shared {
    pub fn new(entropy: &mut dyn Entropy) -> Arc<Self> {
        Arc::new(Self {
            epoch: OnceLock::new(),
            nonce_keys: RwLock::new(NonceKeys::new(entropy, 0)),
            next_id: AtomicU64::new(1),
            quotas: Quotas::default(),
            live: Arc::default(),
            unauthenticated: RateTable::new(SOURCES, hasher(entropy)),
            authenticated: RecentTable::new(SOURCES, hasher(entropy)),
            failures: RateTable::new(SOURCES, hasher(entropy)),
            working: RecentTable::new(SOURCES, hasher(entropy)),
            to_peer: SharedByteBucket::default(),
            to_client: SharedByteBucket::default(),
        })
    }

    /// Live allocations of all workers.
    pub fn allocation_count(&self) -> u32 {
        self.quotas.total()
    }

    /// Makes a new nonce key; nonces made with the one in use stay good. Servers do it themselves once a day.
    pub fn rotate_nonce_key(&self, entropy: &mut dyn Entropy, now: Instant) {
        let now_ns = self.ns(now);
        let keys = self.nonce_keys.write();
        keys.unwrap_or_else(PoisonError::into_inner)
            .rotate(entropy, now_ns);
    }

    /// Nanoseconds since the first reading of the clock that any worker brought.
    pub(super) fn ns(&self, now: Instant) -> u64 {
        let epoch = self.epoch.get_or_init(|| now);
        u64::try_from(now.saturating_duration_since(*epoch).as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn instant(&self, ns: u64) -> Option<Instant> {
        self.epoch.get()?.checked_add(Duration::from_nanos(ns))
    }

    pub(super) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn mint_nonce(
        &self,
        entropy: &mut dyn Entropy,
        now_ns: u64,
        client: SocketAddr,
        features: Features,
    ) -> String {
        let keys = self
            .nonce_keys
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if !keys.is_due(now_ns) {
            return keys.mint(now_ns, client, features);
        }
        drop(keys);
        let mut keys = self
            .nonce_keys
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if keys.is_due(now_ns) {
            keys.rotate(entropy, now_ns);
        }
        keys.mint(now_ns, client, features)
    }

    pub(super) fn is_nonce_good(
        &self,
        nonce: &str,
        now_ns: u64,
        lifetime_s: u32,
        client: IpAddr,
    ) -> bool {
        let keys = self.nonce_keys.read();
        keys.unwrap_or_else(PoisonError::into_inner)
            .is_good(nonce, now_ns, lifetime_s, client)
    }
}

/// A hasher whose collisions nobody can aim at.
pub(crate) fn hasher(entropy: &mut dyn Entropy) -> ahash::RandomState {
    let mut seed = || {
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes);
        u64::from_ne_bytes(bytes)
    };
    ahash::RandomState::with_seeds(seed(), seed(), seed(), seed())
}
