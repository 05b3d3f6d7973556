//! Names to addresses: a resolver behind a trait, and a small cache in front of it.
//!
//! The cache holds what the resolver said, not what the rules say about it: every use is judged afresh, so that a reload
//! takes effect at once. One cache for each thread; at most [`NAMES_MAX`] names.
//!
//! A suffix rule lets anybody ask for names that do not exist. They neither push out the names that do nor stand in their way:
//! failures are forgotten first, and what has resolved before does not queue behind what never has.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// How long an answer with addresses is used; the system's resolver does not tell the records' own lifetime.
const POSITIVE: Duration = Duration::from_secs(30);
/// How long a failure is remembered.
const NEGATIVE: Duration = Duration::from_secs(5);
const NAMES_MAX: usize = 1024;
/// Lookups at once, of names that have resolved before and of others each. Each of the system's holds a thread until it ends, also when nobody waits for it any more.
const LOOKUPS_MAX: usize = 16;

/// The addresses of a name, in the order in which they are to be tried.
pub type Addresses = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>>>>;

pub trait Resolve: Send + Sync {
    fn resolve(&self, host: &str) -> Addresses;
}

/// The system's resolver: hosts file, search rules and DNS servers as the machine has them.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str) -> Addresses {
        let host = host.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            let mut addresses = Vec::new();
            for address in found.map(|found| found.ip()) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            Ok(addresses)
        })
    }
}

/// Why a name has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unresolved {
    NotFound,
    TimedOut,
}

type Known = Result<Rc<[IpAddr]>, Unresolved>;

pub(super) struct Cache {
    resolver: Arc<dyn Resolve>,
    names: RefCell<HashMap<Box<str>, (Known, Instant)>>,
    first_lookups: Arc<Semaphore>,
    later_lookups: Arc<Semaphore>,
}

impl Cache {
    pub(super) fn new(resolver: Arc<dyn Resolve>) -> Self {
        Self {
            resolver,
            names: RefCell::default(),
            first_lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            later_lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
        }
    }

    /// At least one address, or why there is none. Runs in a `LocalSet`.
    pub(super) async fn lookup(&self, host: &str, wait: Duration) -> Known {
        if let Some(known) = self.known(host) {
            return known;
        }
        let known = match timeout(wait, self.ask(host)).await {
            Ok(known) => known,
            Err(_) => Err(Unresolved::TimedOut),
        };
        self.remember(host, known.clone());
        known
    }

    fn known(&self, host: &str) -> Option<Known> {
        let names = self.names.borrow();
        let (known, until) = names.get(host)?;
        (Instant::now() < *until).then(|| known.clone())
    }

    async fn ask(&self, host: &str) -> Known {
        let has_resolved = matches!(self.names.borrow().get(host), Some((Ok(_), _)));
        let lookups = match has_resolved {
            true => &self.later_lookups,
            false => &self.first_lookups,
        };
        let permit = Arc::clone(lookups).acquire_owned().await;
        // Another request may have learned it while this one waited.
        if let Some(known) = self.known(host) {
            return known;
        }
        let lookup = self.resolver.resolve(host);
        let lookup = tokio::task::spawn_local(async move {
            let found = lookup.await;
            drop(permit);
            found
        });
        match lookup.await {
            Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses.into()),
            Ok(Ok(_)) | Err(_) => Err(Unresolved::NotFound),
            Ok(Err(error)) => {
                tracing::debug!(target: "relayd::proxy", host, %error, "name not resolved");
                Err(Unresolved::NotFound)
            }
        }
    }

    fn remember(&self, host: &str, known: Known) {
        let now = Instant::now();
        let kept = if known.is_ok() { POSITIVE } else { NEGATIVE };
        let mut names = self.names.borrow_mut();
        if names.len() >= NAMES_MAX && !names.contains_key(host) {
            names.retain(|_, (known, _)| known.is_ok());
        }
        if names.len() >= NAMES_MAX && !names.contains_key(host) {
            names.retain(|_, (_, until)| now < *until);
            if names.len() >= NAMES_MAX {
                names.clear();
            }
        }
        names.insert(host.into(), (known, now + kept));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Counting {
        asked: Arc<AtomicUsize>,
        answer: fn(&str) -> io::Result<Vec<IpAddr>>,
    }

    impl Resolve for Counting {
        fn resolve(&self, host: &str) -> Addresses {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let answer = (self.answer)(host);
            Box::pin(async move { answer })
        }
    }

    fn cache(answer: fn(&str) -> io::Result<Vec<IpAddr>>) -> (Cache, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let resolver = Counting {
            asked: Arc::clone(&asked),
            answer,
        };
        (Cache::new(Arc::new(resolver)), asked)
    }

    fn block_on<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, test)
    }

    const WAIT: Duration = Duration::from_secs(5);

    #[test]
    fn a_name_is_asked_once_while_its_answer_is_fresh() {
        let (cache, asked) = cache(|_| Ok(vec![IpAddr::from([192, 0, 2, 1])]));
        block_on(async {
            for _ in 0..3 {
                assert!(cache.lookup("a.example", WAIT).await.is_ok());
            }
        });
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn an_answer_without_addresses_and_an_error_are_not_found_and_remembered() {
        let (cache, asked) = cache(|host| match host {
            "empty.example" => Ok(Vec::new()),
            _ => Err(io::ErrorKind::NotFound.into()),
        });
        block_on(async {
            for host in ["empty.example", "none.example", "none.example"] {
                assert_eq!(cache.lookup(host, WAIT).await, Err(Unresolved::NotFound));
            }
        });
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_resolver_that_never_answers_is_a_timeout() {
        struct Silent;
        impl Resolve for Silent {
            fn resolve(&self, _: &str) -> Addresses {
                Box::pin(std::future::pending())
            }
        }
        let cache = Cache::new(Arc::new(Silent));
        let looked_up = block_on(cache.lookup("a.example", Duration::from_millis(1)));
        assert_eq!(looked_up, Err(Unresolved::TimedOut));
    }

    #[test]
    fn lookups_that_do_not_end_are_bounded_in_number() {
        struct Hanging(Arc<AtomicUsize>);
        impl Resolve for Hanging {
            fn resolve(&self, _: &str) -> Addresses {
                self.0.fetch_add(1, Ordering::Relaxed);
                Box::pin(std::future::pending())
            }
        }
        let asked = Arc::new(AtomicUsize::new(0));
        let cache = Cache::new(Arc::new(Hanging(Arc::clone(&asked))));
        block_on(async {
            for n in 0..LOOKUPS_MAX + 5 {
                let name = format!("{n}.example");
                let looked_up = cache.lookup(&name, Duration::from_millis(1)).await;
                assert_eq!(looked_up, Err(Unresolved::TimedOut));
            }
        });
        assert_eq!(asked.load(Ordering::Relaxed), LOOKUPS_MAX);
    }

    /// With `*.example` allowed anybody can ask for names that do not exist, as fast as he likes.
    #[test]
    fn made_up_names_neither_hold_up_nor_push_out_those_that_exist() {
        struct Selective;
        impl Resolve for Selective {
            fn resolve(&self, host: &str) -> Addresses {
                match host {
                    "good.example" => Box::pin(async { Ok(vec![IpAddr::from([192, 0, 2, 1])]) }),
                    slow if slow.starts_with("slow") => Box::pin(std::future::pending()),
                    _ => Box::pin(async { Err(io::ErrorKind::NotFound.into()) }),
                }
            }
        }
        let cache = Cache::new(Arc::new(Selective));
        block_on(async {
            assert!(cache.lookup("good.example", WAIT).await.is_ok());
            for n in 0..2 * NAMES_MAX {
                let _ = cache.lookup(&format!("{n}.example"), WAIT).await;
            }
            assert!(cache.known("good.example").is_some());
            for n in 0..LOOKUPS_MAX {
                let name = format!("slow{n}.example");
                let _ = cache.lookup(&name, Duration::from_millis(1)).await;
            }
            // Its time is over.
            if let Some((_, until)) = cache.names.borrow_mut().get_mut("good.example") {
                *until = Instant::now();
            }
            assert!(cache.lookup("good.example", WAIT).await.is_ok());
        });
    }

    #[test]
    fn the_number_of_names_is_bounded() {
        let (cache, _) = cache(|_| Ok(vec![IpAddr::from([192, 0, 2, 1])]));
        block_on(async {
            for n in 0..2 * NAMES_MAX {
                let _ = cache.lookup(&format!("{n}.example"), WAIT).await;
                assert!(cache.names.borrow().len() <= NAMES_MAX);
            }
        });
    }
}
