//! The thread that asks: it waits for its turn, and works for the settings in force.
//!
//! What holds: settings that change end what is under way, and its challenges close with it; no certificate is lost by that;
//! while another relayd has the turn, what that one stores is served here too; whoever drops [`Acme`] waits [`END_WAIT`] at most.

use super::Settings;
use super::failure::sentence;
use super::keeper::{Keeper, Unsaved};
use super::metrics::Metrics;
use super::schedule::Validity;
use super::state::{State, Turn};
use crate::secret::Secret;
use crate::sys::clock;
use crate::tls;
use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

/// How often a relayd whose state another one has locked looks again.
const TURN_POLL: Duration = Duration::from_secs(5);
/// How long the thread's end is waited for: what it has in hand is done by then, unless the disk hangs.
const END_WAIT: Duration = Duration::from_secs(2);
/// How often it is looked at meanwhile: a join knows no time.
const END_POLL: Duration = Duration::from_millis(5);

/// The thread and the way to it. It is started by the first settings.
#[derive(Debug)]
pub struct Acme {
    metrics: Metrics,
    settings: watch::Sender<Wanted>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Debug)]
enum Wanted {
    Nothing,
    /// By these settings, for this store.
    Certificate(Arc<Settings>, Arc<tls::Store>),
    End,
}

impl Wanted {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nothing, Self::Nothing) | (Self::End, Self::End) => true,
            (Self::Certificate(settings, store), Self::Certificate(others, of_others)) => {
                settings == others && Arc::ptr_eq(store, of_others)
            }
            (Self::Nothing | Self::Certificate(..) | Self::End, _) => false,
        }
    }
}

impl Acme {
    pub fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            settings: watch::Sender::new(Wanted::Nothing),
            thread: None,
        }
    }

    /// Other settings take effect at once; the same change nothing, but that a thread which has died is replaced. Without settings
    /// or a store nothing is asked for.
    pub fn replace(
        &mut self,
        settings: Option<&Settings>,
        store: Option<Arc<tls::Store>>,
    ) -> io::Result<()> {
        let wanted = match settings.zip(store) {
            Some((settings, store)) => Wanted::Certificate(Arc::new(settings.clone()), store),
            None => Wanted::Nothing,
        };
        let idle = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
        let start = idle && matches!(wanted, Wanted::Certificate(..));
        self.settings.send_if_modified(|present| {
            let changed = !present.is(&wanted);
            *present = wanted;
            changed
        });
        if start {
            self.thread = Some(self.spawn()?);
        }
        Ok(())
    }

    fn spawn(&self) -> io::Result<JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let worker = Worker {
            metrics: self.metrics.clone(),
            left: Cell::default(),
        };
        let settings = self.settings.subscribe();
        thread::Builder::new()
            .name("acme".to_owned())
            .spawn(move || {
                runtime.block_on(worker.run(settings));
                // A name that a dead DNS server is asked for holds its thread for as long as the resolver likes.
                runtime.shutdown_background();
            })
    }
}

impl Drop for Acme {
    fn drop(&mut self) {
        self.settings.send_replace(Wanted::End);
        let Some(thread) = self.thread.take() else {
            return;
        };
        let begin = clock::now().instant();
        while !thread.is_finished() {
            if clock::now().instant() - begin >= END_WAIT {
                warn!("the thread that asks for certificates does not end, as if its disk hung");
                return;
            }
            thread::sleep(END_POLL);
        }
        // A panic there has been reported by the panic hook.
        let _ = thread.join();
    }
}

struct Worker {
    metrics: Metrics,
    /// What the last settings have left to be written.
    left: Cell<Unsaved>,
}

impl Worker {
    async fn run(self, mut wanted: watch::Receiver<Wanted>) {
        loop {
            let present = wanted.borrow_and_update().clone();
            let work = async {
                match present {
                    Wanted::Certificate(settings, store) => {
                        self.keep_certified(&settings, &store).await;
                    }
                    Wanted::Nothing => std::future::pending().await,
                    Wanted::End => {}
                }
            };
            tokio::select! {
                biased;
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = work => return,
            }
            self.metrics.expires(None);
            self.metrics.next(None);
            self.metrics.unsaved(false);
        }
    }

    async fn keep_certified(&self, settings: &Settings, store: &tls::Store) {
        let _turn = turn(settings, store, &self.metrics).await;
        let mut keeper = Keeper::new(settings, store, &self.metrics, &self.left);
        keeper.run().await;
    }
}

/// Waits until no other relayd asks on behalf of the same folder, and takes over what that one stores.
async fn turn(settings: &Settings, store: &tls::Store, metrics: &Metrics) -> Turn {
    let state = State::new(settings.folder());
    let mut seen = None;
    let mut told = false;
    loop {
        let turn = state.lock();
        // After the look at the lock: once it is held here, nothing is stored any more that this would miss.
        take_over(&state, settings, store, &mut seen);
        let present = store.managed(clock::now().unix_s());
        let validity = present.map(|it| Validity::new(it.not_before, it.not_after));
        metrics.expires(validity.map(|validity| validity.not_after));
        match &turn {
            Turn::Held { .. } => {}
            Turn::Unknown(error) => {
                warn!(error = %sentence(error), "certificates will be in memory only: the state directory cannot be written");
            }
            Turn::Taken => {
                if !told {
                    info!(folder = %settings.folder().display(), "another relayd renews the certificate here; waiting for it to end");
                    told = true;
                }
                sleep(TURN_POLL).await;
                continue;
            }
        }
        return turn;
    }
}

/// Serves what is stored, if it is not what was `seen` before and later than what is served.
fn take_over(state: &State, settings: &Settings, store: &tls::Store, seen: &mut Option<Secret>) {
    let stored = state.certificate();
    if stored == *seen {
        return;
    }
    if let Some(pem) = &stored {
        let file = settings.certificate_file();
        match store.install_stored(&file, pem.expose()) {
            Ok(true) => {
                info!(file = %file.display(), "serving the certificate that another relayd has stored");
            }
            Ok(false) => {}
            Err(error) => {
                warn!(error = %sentence(&error), "the stored certificate cannot be used");
            }
        }
    }
    *seen = stored;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::tests::{Dir, settings};
    use crate::tls::{CertificateSource, Store};
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use std::sync::mpsc;

    /// Chain and key of a certificate that is valid from the first of January of `year`, for two years.
    fn pem(year: i32) -> Secret {
        let key = KeyPair::generate().expect("a key");
        let names = ["relay.example.com".to_owned()];
        let mut params = CertificateParams::new(names).expect("a valid name");
        params.not_before = date_time_ymd(year, 1, 1);
        params.not_after = date_time_ymd(year + 2, 1, 1);
        let certificate = params.self_signed(&key).expect("signed");
        Secret::new(certificate.pem() + &key.serialize_pem())
    }

    fn store(settings: &Settings) -> Arc<Store> {
        let source = CertificateSource::Managed {
            names: settings.names.clone(),
            file: settings.certificate_file(),
        };
        Store::load(&tls::Settings { source }).expect("a stand-in, or the stored one")
    }

    fn begins(store: &Store) -> Option<i64> {
        store.managed(0).map(|present| present.not_before)
    }

    fn unix(year: i32) -> i64 {
        date_time_ymd(year, 1, 1).unix_timestamp()
    }

    fn expiry(metrics: &Metrics) -> String {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).expect("text");
        let name = "relayd_acme_certificate_expiry_timestamp_seconds ";
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.expect("it is registered").to_owned()
    }

    fn block_on(work: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime")
            .block_on(work);
    }

    #[test]
    fn what_another_relayd_stores_is_served_while_its_turn_lasts() {
        let dir = Dir::new();
        let settings = settings(dir.0.clone());
        let other = State::new(settings.folder());
        let held = other.lock();
        other.save_certificate(&pem(2030)).expect("written");
        let (store, metrics) = (store(&settings), Metrics::default());
        block_on(async {
            let story = async {
                sleep(TURN_POLL / 2).await;
                assert_eq!(begins(&store), Some(unix(2030)));
                assert_eq!(expiry(&metrics), unix(2032).to_string());
                other.save_certificate(&pem(2031)).expect("written");
                sleep(TURN_POLL).await;
                assert_eq!(begins(&store), Some(unix(2031)));
                assert_eq!(expiry(&metrics), unix(2033).to_string());
                // One of before, restored by hand, and no certificate at all change nothing.
                other.save_certificate(&pem(2029)).expect("written");
                sleep(TURN_POLL).await;
                other.save_certificate(&Secret::new("x")).expect("written");
                sleep(TURN_POLL).await;
                assert_eq!(begins(&store), Some(unix(2031)));
            };
            tokio::select! {
                _ = turn(&settings, &store, &metrics) => panic!("it is the other one's turn"),
                () = story => {}
            }
        });
        drop(held);
    }

    #[test]
    fn what_was_stored_before_the_lock_was_free_is_taken_over() {
        let dir = Dir::new();
        let settings = settings(dir.0.clone());
        let (store, metrics) = (store(&settings), Metrics::default());
        assert!(store.is_stand_in());
        let other = State::new(settings.folder());
        other.save_certificate(&pem(2030)).expect("written");
        block_on(async {
            let turn = turn(&settings, &store, &metrics).await;
            assert!(matches!(turn, Turn::Held { .. }));
        });
        assert_eq!(begins(&store), Some(unix(2030)));
    }

    #[test]
    fn a_thread_that_has_died_is_replaced_by_the_next_settings() {
        let dir = Dir::new();
        let settings = Settings {
            directory: "https://127.0.0.1:1/directory".to_owned(),
            ..settings(dir.0.clone())
        };
        let store = store(&settings);
        let mut acme = Acme::new(Metrics::default());
        let dead = thread::spawn(|| {});
        while !dead.is_finished() {
            thread::yield_now();
        }
        acme.thread = Some(dead);
        acme.replace(Some(&settings), Some(store)).expect("started");
        let thread = acme.thread.as_ref().expect("there is one");
        assert!(!thread.is_finished());
    }

    #[test]
    fn a_thread_that_hangs_does_not_hold_up_the_end() {
        let (free, hung) = mpsc::channel::<()>();
        let mut acme = Acme::new(Metrics::default());
        acme.thread = Some(thread::spawn(move || {
            let _ = hung.recv();
        }));
        let before = clock::now().instant();
        drop(acme);
        let waited = clock::now().instant() - before;
        assert!(waited < END_WAIT * 10, "{waited:?}");
        drop(free);
    }
}
