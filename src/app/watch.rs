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
