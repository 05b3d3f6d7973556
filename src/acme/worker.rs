//! The thread that asks: it waits for its turn, and works for the settings in force.
//!
//! What holds: settings that change end what is under way, and its challenges close with it; no certificate is lost by that.

use super::Settings;
use super::failure::sentence;
use super::keeper::{Keeper, Unsaved};
use super::metrics::Metrics;
use super::state::{State, Turn};
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

    /// Other settings take effect at once; the same change nothing. Without settings or a store nothing is asked for.
    pub fn replace(
        &mut self,
        settings: Option<&Settings>,
        store: Option<Arc<tls::Store>>,
    ) -> io::Result<()> {
        let wanted = match settings.zip(store) {
            Some((settings, store)) => Wanted::Certificate(Arc::new(settings.clone()), store),
            None => Wanted::Nothing,
        };
        let start = self.thread.is_none() && matches!(wanted, Wanted::Certificate(..));
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
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic hook.
            let _ = thread.join();
        }
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
        let _turn = turn(settings, store).await;
        let mut keeper = Keeper::new(settings, store, &self.metrics, &self.left);
        keeper.run().await;
    }
}

/// Waits until no other relayd asks on behalf of the same folder, and takes over what that one has obtained.
async fn turn(settings: &Settings, store: &tls::Store) -> Turn {
    let state = State::new(settings.folder());
    let mut told = false;
    loop {
        let turn = state.lock();
        match &turn {
            Turn::Held { .. } if told => take_over(settings, store),
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

fn take_over(settings: &Settings, store: &tls::Store) {
    let file = settings.certificate_file();
    let Ok(pem) = std::fs::read_to_string(&file) else {
        return;
    };
    if let Err(error) = store.install_obtained(&file, &pem) {
        warn!(error = %sentence(&error), "the stored certificate cannot be used");
    }
}
