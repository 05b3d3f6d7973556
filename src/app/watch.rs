//! The certificate's files, looked at every other second, and put in use when they hold another pair.
//!
//! What is compared is what they hold. So renames, symbolic links that are turned (certbot, Kubernetes), copies that keep
//! their times, and clocks that jump are all the same: two small files are read, on the monotonic clock. A pair that does not
//! belong together is often half of a renewal: it is looked at again, and worth a warning only if it is still there the next
//! time. The present certificate stays meanwhile.

use super::reload::{Metrics, Swap};
use crate::check;
use crate::listen::Tls;
use crate::tls::{self, Prepared, Store};
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Interval, MissedTickBehavior};
use tracing::{info, warn};

const EVERY: Duration = Duration::from_secs(2);

type Looked = Result<Option<Prepared>, tls::Error>;

pub struct Watch {
    ticks: Interval,
    /// Reading may hang with the file system, which must hold up nothing else.
    looking: Option<(Arc<Store>, JoinHandle<Looked>)>,
    /// What was wrong the last time.
    wrong: Option<Wrong>,
}

struct Wrong {
    reason: String,
    warned: bool,
}

impl Watch {
    pub fn new() -> Self {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            ticks,
            looking: None,
            wrong: None,
        }
    }

    /// Returns once another certificate is in use. May be dropped at any time and called again.
    pub async fn replaced(&mut self, tls: &Tls, metrics: &Metrics) {
        loop {
            let (store, looking) = match &mut self.looking {
                Some(looking) => looking,
                None => {
                    self.ticks.tick().await;
                    let Some(store) = tls.load_full() else {
                        continue;
                    };
                    let looked_at = Arc::clone(&store);
                    let looking = spawn_blocking(move || looked_at.look());
                    self.looking.insert((store, looking))
                }
            };
            let looked = looking.await;
            let store = Arc::clone(store);
            self.looking = None;
            let Ok(looked) = looked else { continue };
            match looked {
                Ok(None) => self.wrong = None,
                Ok(Some(prepared)) => {
                    self.wrong = None;
                    // A reload may have named other files meanwhile.
                    if store.settings() == *prepared.settings() {
                        let valid_until = check::date(prepared.not_after());
                        store.install(prepared);
                        metrics.count_swap(Swap::Replaced);
                        info!(%valid_until, "the certificate's files have changed: another certificate is in use");
                        return;
                    }
                }
                Err(error) => self.note(&error, metrics),
            }
        }
    }

    /// After a reload, which has read the files itself: a look that began before it may have seen older ones.
    pub fn forget_look(&mut self) {
        self.looking = None;
    }

    fn note(&mut self, error: &tls::Error, metrics: &Metrics) {
        let reason = match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        let seen = self.wrong.take().filter(|wrong| wrong.reason == reason);
        let warned = seen.as_ref().is_some_and(|wrong| wrong.warned);
        if seen.is_some() && !warned {
            metrics.count_swap(Swap::Refused);
            warn!(%reason, "the certificate stays as it was: its files have changed and cannot be used");
        }
        self.wrong = Some(Wrong {
            warned: warned || seen.is_some(),
            reason,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{CertificateSource, Settings};
    use arc_swap::ArcSwapOption;
    use std::fs;

    #[tokio::test]
    async fn what_was_seen_before_a_reload_does_not_take_its_place() {
        let dir = std::env::temp_dir().join(format!("relayd-watch-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        let settings = Settings {
            source: CertificateSource::Files {
                cert: dir.join("cert.pem"),
                key: dir.join("key.pem"),
            },
        };
        let write = || {
            let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).expect("made");
            fs::write(dir.join("cert.pem"), made.cert.pem()).expect("own directory");
            fs::write(dir.join("key.pem"), made.signing_key.serialize_pem())
                .expect("own directory");
        };
        write();
        let store = Store::load(&settings).expect("the files are good");
        write();
        let seen = store.look();
        assert!(matches!(seen, Ok(Some(_))), "another pair");
        let mut watch = Watch::new();
        watch.looking = Some((Arc::clone(&store), spawn_blocking(move || seen)));

        write();
        store.install(store.prepare(&settings).expect("the files are good"));
        let reloaded = store.chain();
        watch.forget_look();

        let tls: Tls = Arc::new(ArcSwapOption::new(Some(Arc::clone(&store))));
        let metrics = Metrics::new(0);
        let replaced = watch.replaced(&tls, &metrics);
        let waited = tokio::time::timeout(Duration::from_millis(500), replaced).await;
        assert!(waited.is_err(), "nothing has changed since the reload");
        assert_eq!(store.chain(), reloaded);
        fs::remove_dir_all(&dir).expect("own directory");
    }
}
