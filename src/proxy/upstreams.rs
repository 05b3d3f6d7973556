//! Numbers by upstream host: answers by class, errors, how long answers take.
//!
//! One bounded table for all threads; a thread remembers the entries that it uses, so the table is locked only when a thread
//! meets a host for the first time or again after it was forgotten, and when somebody looks. Counting is a look-up in the
//! thread's own map and some relaxed additions.
//!
//! Invariants: a host gets an entry only once relayd has found an address for it and tried to reach it, so names that lead
//! nowhere make none; there are [`KEPT_MAX`] entries at most, and the least recently used one makes room, before one with open
//! WebSockets if there is any; what was counted stays when settings are replaced. Host names are for the admin listener and never a metric's label.

use super::metrics::StatusClass;
use super::open_tunnels::OpenTunnels;
use super::respond::ProxyError;
use crate::latency::{Latencies, Spread};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Hosts that are remembered.
const KEPT_MAX: usize = 256;

/// A client that gives up later has waited for an answer that counts as this slow; before, it says nothing of the upstream.
const ABANDONED_TIME_MIN: Duration = Duration::from_secs(1);

/// What became of a request to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    Answer(StatusClass),
    /// No answer.
    Nothing(ProxyError),
    /// The client went away before there was one.
    Abandoned {
        /// There was a connection to send the request on.
        reached: bool,
        /// The client was not in the middle of its upload.
        upstreams_turn: bool,
    },
}

impl Came {
    /// Whether the time until then says how long answers take.
    fn is_latency(self, took: Duration) -> bool {
        match self {
            Self::Answer(_) => true,
            Self::Nothing(_) => false,
            Self::Abandoned { upstreams_turn, .. } => upstreams_turn && took >= ABANDONED_TIME_MIN,
        }
    }
}

/// One upstream, counted by every thread.
#[derive(Debug)]
struct Entry {
    statuses: [AtomicU64; StatusClass::ALL.len()],
    errors: AtomicU64,
    abandoned: AtomicU64,
    latencies: Latencies,
    /// When it was last used, in ms since the table began.
    used_ms: AtomicU64,
    /// Not in the table any more.
    is_forgotten: AtomicBool,
}

impl Entry {
    fn new() -> Self {
        Self {
            statuses: [const { AtomicU64::new(0) }; StatusClass::ALL.len()],
            errors: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            latencies: Latencies::default(),
            used_ms: AtomicU64::new(0),
            is_forgotten: AtomicBool::new(false),
        }
    }

    fn count(&self, came: Came, took: Duration, at_ms: u64) {
        let number = match came {
            Came::Answer(class) => &self.statuses[class as usize],
            Came::Nothing(_) => &self.errors,
            Came::Abandoned { .. } => &self.abandoned,
        };
        number.fetch_add(1, Ordering::Relaxed);
        if came.is_latency(took) {
            self.latencies.count(took);
        }
        self.used_ms.fetch_max(at_ms, Ordering::Relaxed);
    }
}

/// What there is to tell of one upstream.
#[derive(Clone, Debug)]
pub struct UpstreamNumbers {
    /// With its port.
    pub host: String,
    /// Answers by class, 1xx first.
    pub statuses: [u64; 5],
    /// Requests without an answer.
    pub errors: u64,
    /// Requests whose client went away before the answer.
    pub abandoned: u64,
    pub latencies: Spread,
    /// Open now.
    pub tunnels: u64,
}

impl UpstreamNumbers {
    pub fn requests(&self) -> u64 {
        self.statuses.iter().sum::<u64>() + self.errors + self.abandoned
    }
}

/// All threads' upstreams.
#[derive(Debug)]
pub(super) struct Upstreams {
    since: Instant,
    table: Mutex<Table>,
    /// Looked at under the table's lock, never the other way round.
    tunnels: Arc<OpenTunnels>,
    /// The times of all answers, by thread.
    threads: Mutex<Vec<Arc<Latencies>>>,
}

#[derive(Debug, Default)]
struct Table {
    by_authority: HashMap<Box<str>, Arc<Entry>>,
    forgotten: u64,
}

impl Upstreams {
    pub(super) fn new(since: Instant, tunnels: Arc<OpenTunnels>) -> Arc<Self> {
        Arc::new(Self {
            since,
            table: Mutex::default(),
            tunnels,
            threads: Mutex::default(),
        })
    }

    /// For one more thread.
    pub(super) fn view(self: &Arc<Self>) -> View {
        let latencies = Arc::<Latencies>::default();
        lock(&self.threads).push(Arc::clone(&latencies));
        View {
            upstreams: Arc::clone(self),
            known: RefCell::default(),
            latencies,
        }
    }

    /// How long all answers took.
    pub(super) fn latencies(&self) -> Spread {
        let mut sum = Spread::default();
        for thread in lock(&self.threads).iter() {
            sum.add(&thread.spread());
        }
        sum
    }

    /// Busiest first, with the open tunnels to each, and how many were forgotten.
    pub(super) fn numbers<'a>(
        &self,
        tunnels: impl Iterator<Item = &'a str>,
    ) -> (Vec<UpstreamNumbers>, u64) {
        let mut open: HashMap<&str, u64> = HashMap::new();
        tunnels.for_each(|authority| *open.entry(authority).or_default() += 1);
        let table = self.table();
        let forgotten = table.forgotten;
        let each = table.by_authority.iter();
        let mut all: Vec<UpstreamNumbers> = each
            .map(|(authority, entry)| UpstreamNumbers {
                host: with_port(authority),
                statuses: entry.statuses.each_ref().map(|n| n.load(Ordering::Relaxed)),
                errors: entry.errors.load(Ordering::Relaxed),
                abandoned: entry.abandoned.load(Ordering::Relaxed),
                latencies: entry.latencies.spread(),
                tunnels: open.get(&**authority).copied().unwrap_or(0),
            })
            .collect();
        drop(table);
        all.sort_by(|a, b| {
            b.requests()
                .cmp(&a.requests())
                .then_with(|| a.host.cmp(&b.host))
        });
        (all, forgotten)
    }

    fn find(&self, authority: &str) -> Option<Arc<Entry>> {
        self.table().by_authority.get(authority).map(Arc::clone)
    }

    fn find_or_make(&self, authority: &str) -> Arc<Entry> {
        let mut table = self.table();
        if let Some(entry) = table.by_authority.get(authority) {
            return Arc::clone(entry);
        }
        if table.by_authority.len() >= KEPT_MAX {
            table.forget_one(&self.tunnels.hosts());
        }
        let entry = Arc::new(Entry::new());
        table
            .by_authority
            .insert(authority.into(), Arc::clone(&entry));
        entry
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

impl Table {
    /// A WebSocket uses its upstream for as long as it is open, and would be shown nowhere without it.
    fn forget_one(&mut self, with_tunnels: &HashSet<String>) {
        let used = |entry: &Entry| entry.used_ms.load(Ordering::Relaxed);
        let oldest = self.by_authority.iter().min_by_key(|(authority, entry)| {
            let has_tunnels = with_tunnels.contains(&***authority);
            (has_tunnels, used(entry))
        });
        let Some(authority) = oldest.map(|(authority, _)| authority.clone()) else {
            return;
        };
        if let Some(entry) = self.by_authority.remove(&authority) {
            entry.is_forgotten.store(true, Ordering::Relaxed);
            self.forgotten += 1;
        }
    }
}

/// One thread's way to the table.
pub(super) struct View {
    upstreams: Arc<Upstreams>,
    /// Entries that this thread has used, the forgotten ones among them until they are met again.
    known: RefCell<HashMap<Box<str>, Arc<Entry>>>,
    latencies: Arc<Latencies>,
}

impl View {
    /// Counts what became of a request to `authority`, that ended at `now` and took so long.
    pub(super) fn count(&self, authority: &str, now: Instant, took: Duration, came: Came) {
        if came.is_latency(took) {
            self.latencies.count(took);
        }
        if let Some(entry) = self.entry(authority, came) {
            let at = now.saturating_duration_since(self.upstreams.since);
            let at_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
            entry.count(came, took, at_ms);
        }
    }

    /// `None` where the request does not count.
    fn entry(&self, authority: &str, came: Came) -> Option<Arc<Entry>> {
        let standing = Standing::of(came);
        if standing == Standing::NotIts {
            return None;
        }
        if let Some(entry) = self.known.borrow().get(authority)
            && !entry.is_forgotten.load(Ordering::Relaxed)
        {
            return Some(Arc::clone(entry));
        }
        let entry = match standing {
            Standing::Reached => self.upstreams.find_or_make(authority),
            Standing::NotReached | Standing::NotIts => self.upstreams.find(authority)?,
        };
        let mut known = self.known.borrow_mut();
        if known.len() >= KEPT_MAX {
            known.retain(|_, entry| !entry.is_forgotten.load(Ordering::Relaxed));
        }
        known.insert(authority.into(), Arc::clone(&entry));
        Some(entry)
    }
}

/// What a request says about its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// There is one: it answered, or has an address that was tried.
    Reached,
    /// Nothing was sent: it counts for an upstream that is known, and makes none known.
    NotReached,
    /// The client's fault, or relayd's.
    NotIts,
}

impl Standing {
    fn of(came: Came) -> Self {
        let error = match came {
            Came::Answer(_) | Came::Abandoned { reached: true, .. } => return Self::Reached,
            Came::Abandoned { reached: false, .. } => return Self::NotReached,
            Came::Nothing(error) => error,
        };
        match error {
            ProxyError::ConnectFailed
            | ProxyError::ConnectTimeout
            | ProxyError::TlsCertificateExpired
            | ProxyError::TlsCertificateNotYetValid
            | ProxyError::TlsCertificateWrongName
            | ProxyError::TlsCertificateUntrusted
            | ProxyError::TlsFailed
            | ProxyError::TlsTimeout
            | ProxyError::UpstreamClosed
            | ProxyError::UpstreamInvalid
            | ProxyError::ResponseTimeout => Self::Reached,
            ProxyError::ResolveFailed
            | ProxyError::ResolveTimeout
            | ProxyError::AddressDenied
            | ProxyError::UpstreamBusy => Self::NotReached,
            _ => Self::NotIts,
        }
    }
}

/// An authority has its port unless that is the usual one.
fn with_port(authority: &str) -> String {
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    match has_port {
        true => authority.to_owned(),
        false => format!("{authority}:443"),
    }
}

/// Nothing is left half done under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: Came = Came::Answer(StatusClass::Success);
    const MS: Duration = Duration::from_millis(1);

    fn table() -> (Instant, Arc<Upstreams>) {
        let since = Instant::now();
        (since, Upstreams::new(since, Arc::default()))
    }

    fn names(upstreams: &Upstreams) -> Vec<String> {
        let (all, _) = upstreams.numbers(std::iter::empty());
        all.into_iter().map(|upstream| upstream.host).collect()
    }

    #[test]
    fn what_all_threads_count_is_added_up_and_the_busiest_comes_first() {
        let (since, upstreams) = table();
        let (one, two) = (upstreams.view(), upstreams.view());
        one.count("a.test", since, MS, OK);
        one.count("b.test:8443", since, 10 * MS, OK);
        two.count(
            "b.test:8443",
            since,
            30 * MS,
            Came::Answer(StatusClass::ServerError),
        );
        two.count(
            "b.test:8443",
            since,
            MS,
            Came::Nothing(ProxyError::UpstreamClosed),
        );
        let (all, forgotten) = upstreams.numbers(["a.test", "a.test", "c.test"].into_iter());
        assert_eq!(forgotten, 0);
        let [b, a] = all.as_slice() else {
            panic!("two, not {all:?}");
        };
        assert_eq!(
            (b.host.as_str(), a.host.as_str()),
            ("b.test:8443", "a.test:443")
        );
        assert_eq!((b.statuses, b.errors), ([0, 1, 0, 0, 1], 1));
        assert_eq!(b.latencies.mean_ms(), Some(20.0));
        assert_eq!((a.tunnels, b.tunnels), (2, 0));
        assert_eq!(upstreams.latencies().total(), 3);
    }

    #[test]
    fn an_upstream_that_was_never_reached_is_not_there_and_one_that_was_counts_all() {
        let (since, upstreams) = table();
        let view = upstreams.view();
        let failed = Came::Nothing(ProxyError::ResolveFailed);
        view.count("a.test", since, MS, failed);
        assert_eq!(names(&upstreams), [""; 0]);
        view.count("a.test", since, MS, OK);
        view.count("a.test", since, MS, failed);
        view.count("a.test", since, MS, Came::Nothing(ProxyError::BodyTooLarge));
        let (all, _) = upstreams.numbers(std::iter::empty());
        assert_eq!((all[0].requests(), all[0].errors), (2, 1));
    }

    #[test]
    fn the_longest_unused_makes_room_and_every_thread_learns_it() {
        let (since, upstreams) = table();
        let (one, two) = (upstreams.view(), upstreams.view());
        two.count("first.test", since, MS, OK);
        for n in 0..KEPT_MAX as u32 - 1 {
            one.count(&format!("h{n}.test"), since + (n + 1) * MS, MS, OK);
        }
        one.count("h0.test", since + 1000 * MS, MS, OK);
        one.count("new.test", since + 1001 * MS, MS, OK);
        let (all, forgotten) = upstreams.numbers(std::iter::empty());
        assert_eq!((all.len(), forgotten), (KEPT_MAX, 1));
        assert!(!names(&upstreams).contains(&"first.test:443".to_owned()));
        // Its thread still holds the forgotten entry, and begins a fresh one in the place of the next.
        two.count("first.test", since + 1002 * MS, MS, OK);
        let (all, forgotten) = upstreams.numbers(std::iter::empty());
        let first = all
            .iter()
            .find(|upstream| upstream.host == "first.test:443");
        assert_eq!(first.map(UpstreamNumbers::requests), Some(1));
        assert_eq!((all.len(), forgotten), (KEPT_MAX, 2));
        assert_eq!(upstreams.latencies().total(), KEPT_MAX as u64 + 3);
    }

    #[test]
    fn an_upstream_with_open_tunnels_stays_unless_all_have_some() {
        let since = Instant::now();
        let tunnels = Arc::<OpenTunnels>::default();
        let upstreams = Upstreams::new(since, Arc::clone(&tunnels));
        let view = upstreams.view();
        let open = |host: &str| {
            let client = std::net::SocketAddr::from(([192, 0, 2, 7], 50_000));
            tunnels.open(client, host.to_owned(), String::new())
        };
        for n in 0..KEPT_MAX as u32 {
            view.count(&format!("h{n}.test"), since + n * MS, MS, OK);
        }
        open("h0.test");
        view.count("new.test", since + 1000 * MS, MS, OK);
        let kept = names(&upstreams);
        assert!(kept.contains(&"h0.test:443".to_owned()));
        assert!(!kept.contains(&"h1.test:443".to_owned()));
        for name in kept {
            open(name.trim_end_matches(":443"));
        }
        view.count("newer.test", since + 1001 * MS, MS, OK);
        let kept = names(&upstreams);
        assert_eq!(kept.len(), KEPT_MAX);
        assert!(!kept.contains(&"h0.test:443".to_owned()));
        assert!(kept.contains(&"newer.test:443".to_owned()));
    }

    #[test]
    fn a_client_that_gives_up_is_counted_and_its_wait_too_where_it_was_one() {
        let (since, upstreams) = table();
        let view = upstreams.view();
        let gone = |reached, upstreams_turn| Came::Abandoned {
            reached,
            upstreams_turn,
        };
        view.count("a.test", since, 5000 * MS, gone(false, true));
        assert_eq!(
            names(&upstreams),
            [""; 0],
            "nobody knows whether it is there"
        );
        view.count("a.test", since, 999 * MS, gone(true, true));
        view.count("a.test", since, 5000 * MS, gone(true, false));
        view.count("a.test", since, 2000 * MS, gone(true, true));
        view.count("a.test", since, 4000 * MS, gone(false, true));
        let (all, _) = upstreams.numbers(std::iter::empty());
        assert_eq!((all[0].abandoned, all[0].errors), (4, 0));
        assert_eq!(all[0].latencies.total(), 2);
        assert_eq!(all[0].latencies.mean_ms(), Some(3000.0));
    }

    #[test]
    fn a_threads_memory_is_bounded_like_the_table() {
        let (since, upstreams) = table();
        let view = upstreams.view();
        for n in 0..10 * KEPT_MAX as u32 {
            view.count(&format!("h{n}.test"), since + n * MS, MS, OK);
        }
        assert!(view.known.borrow().len() <= KEPT_MAX);
        let (all, forgotten) = upstreams.numbers(std::iter::empty());
        assert_eq!((all.len(), forgotten), (KEPT_MAX, 9 * KEPT_MAX as u64));
    }
}
