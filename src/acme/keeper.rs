//! One set of settings at work: an attempt when it is due, its certificate into service, everything onto the disk.
//!
//! What holds: a certificate is served as soon as it is here, and saved then; one that cannot be saved is saved later, and
//! not asked for again.

use super::Settings;
use super::client::Client;
use super::failure::{Cause, Failure, sentence};
use super::metrics::{Metrics, Outcome};
use super::order::Attempt;
use super::schedule::{History, Schedule, Validity};
use super::state::{State, StateError};
use crate::secret::Secret;
use crate::sys::clock;
use crate::sys::rng::SystemRng;
use crate::tls;
use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use tracing::{info, warn};

/// Pause before what could not be written is written again; doubled up to the other.
const SAVE_PAUSE_FIRST: Duration = Duration::from_secs(5);
const SAVE_PAUSE_MAX: Duration = Duration::from_secs(3600);

/// What is to be written, and when that is tried.
#[derive(Default)]
pub struct Unsaved {
    folder: PathBuf,
    account: Option<Secret>,
    /// Chain and key.
    certificate: Option<Secret>,
    due: Option<Instant>,
    pause: Duration,
}

/// One set of settings at work.
pub struct Keeper<'a> {
    store: &'a tls::Store,
    metrics: &'a Metrics,
    left: &'a Cell<Unsaved>,
    settings: &'a Settings,
    state: State,
    history: History,
    unsaved: Unsaved,
}

impl Drop for Keeper<'_> {
    fn drop(&mut self) {
        self.left.set(std::mem::take(&mut self.unsaved));
    }
}

impl<'a> Keeper<'a> {
    /// `left` is what earlier settings could not write; it goes back there at the end.
    pub fn new(
        settings: &'a Settings,
        store: &'a tls::Store,
        metrics: &'a Metrics,
        left: &'a Cell<Unsaved>,
    ) -> Self {
        let folder = settings.folder();
        let unsaved = left.take();
        let unsaved = match unsaved.folder == folder {
            true => unsaved,
            false => Unsaved {
                folder: folder.clone(),
                ..Unsaved::default()
            },
        };
        let state = State::new(folder);
        let history = state.history().unwrap_or_else(|error| {
            warn!(error = %sentence(&error), "what was asked before is not known");
            None
        });
        Self {
            store,
            metrics,
            left,
            settings,
            state,
            history: history.unwrap_or_default(),
            unsaved,
        }
    }

    /// Obtains and renews for as long as it is polled.
    pub async fn run(&mut self) {
        let mut rng = SystemRng;
        let now = clock::now();
        let names = &self.settings.names;
        let good = self.validity(now.unix_s());
        let mut schedule = Schedule::start(now, good, &self.history, names, &mut rng);
        self.say_start(&schedule, good);
        loop {
            let now = clock::now();
            self.metrics.next(Some(schedule.next_s(now)));
            let wait = schedule.wait(now);
            if !wait.is_zero() {
                sleep(self.until_save(now.instant(), wait)).await;
                self.save_again();
                continue;
            }
            self.history.begin(now);
            self.save_history();
            let attempt = self.attempt().await;
            let now = clock::now();
            match attempt {
                Ok((pem, validity)) => {
                    self.unsaved.certificate = Some(pem);
                    self.metrics.attempted(Outcome::Issued);
                    self.history.succeed(now, validity, &self.settings.names);
                    schedule.succeeded(now, validity, &mut rng);
                    self.metrics.next(Some(schedule.next_s(now)));
                    self.say_issued(&schedule, validity);
                }
                Err(failure) => {
                    self.metrics.attempted(failure.cause.outcome());
                    self.history.fail();
                    schedule.failed(now, &self.history, failure.retry_after, &mut rng);
                    self.metrics.next(Some(schedule.next_s(now)));
                    self.say_failed(&schedule, &failure);
                }
            }
            self.unsaved.pause = SAVE_PAUSE_FIRST;
            self.save();
            self.save_history();
        }
    }

    /// That of the certificate in use, if it is good for all names.
    fn validity(&self, now_s: u64) -> Option<Validity> {
        let present = self.store.managed(now_s)?;
        let covers = present.covers(&self.settings.names);
        let validity = Validity::new(present.not_before, present.not_after);
        self.metrics.expires(Some(validity.not_after));
        covers.then_some(validity)
    }

    async fn attempt(&mut self) -> Result<(Secret, Validity), Failure> {
        let failure = |step, cause| Failure {
            step,
            cause,
            retry_after: None,
        };
        // The CA file is read afresh: it may have been replaced since.
        let client = Client::new(self.settings.ca_file.as_deref())
            .map_err(|error| failure("use the CA file", Cause::Crypto(Box::new(error))))?;
        let attempt = Attempt {
            settings: self.settings,
            client: &client,
            challenges: self.store.challenges(),
            state: &self.state,
        };
        let pem = attempt.run(&mut self.unsaved.account).await?;
        let step = "use the certificate";
        let unusable = |error| failure(step, Cause::Certificate(error));
        let file = self.settings.certificate_file();
        let inspection = tls::examine(&file, &pem, clock::now().unix_s()).map_err(unusable)?;
        let missing = |name: &&String| !inspection.covers(std::slice::from_ref(*name));
        if let Some(name) = self.settings.names.iter().find(missing) {
            return Err(failure(step, Cause::Names { name: name.clone() }));
        }
        let validity = Validity::new(inspection.not_before, inspection.not_after);
        let installed = self.store.install_obtained(&file, &pem).map_err(unusable)?;
        if installed {
            self.metrics.expires(Some(validity.not_after));
        }
        Ok((Secret::new(pem), validity))
    }

    /// Writes what is to be written, or keeps it for the next try.
    fn save(&mut self) {
        self.unsaved.due = None;
        if self.unsaved.account.is_none() && self.unsaved.certificate.is_none() {
            return;
        }
        let saved = self.write();
        self.metrics.unsaved(self.unsaved.certificate.is_some());
        if let Err(error) = saved {
            let pause = self.unsaved.pause;
            warn!(error = %sentence(&error), retry_s = pause.as_secs(), "what was obtained is in memory only: it cannot be saved");
            self.unsaved.due = Some(clock::now().instant() + pause);
            self.unsaved.pause = (pause * 2).min(SAVE_PAUSE_MAX);
        }
    }

    fn write(&mut self) -> Result<(), StateError> {
        if let Some(account) = &self.unsaved.account {
            self.state.save_account(account)?;
            self.unsaved.account = None;
        }
        if let Some(certificate) = &self.unsaved.certificate {
            self.state.save_certificate(certificate)?;
            self.unsaved.certificate = None;
            let file = self.settings.certificate_file();
            info!(file = %file.display(), "saved the certificate");
        }
        Ok(())
    }

    fn until_save(&self, now: Instant, wait: Duration) -> Duration {
        let due = self.unsaved.due;
        due.map_or(wait, |at| wait.min(at.saturating_duration_since(now)))
    }

    fn save_again(&mut self) {
        let now = clock::now().instant();
        if self.unsaved.due.is_some_and(|due| due <= now) {
            self.save();
            self.save_history();
        }
    }

    /// A failure to write it is told by what is written next to it; the folder's state is known from the start.
    fn save_history(&self) {
        if let Err(error) = self.state.save_history(&self.history) {
            tracing::debug!(error = %sentence(&error), "what was asked is in memory only");
        }
    }

    fn say_start(&self, schedule: &Schedule, good: Option<Validity>) {
        let now = clock::now();
        let names = self.settings.names.join(" ");
        let next = tls::time(schedule.next_s(now));
        let authority = self.settings.authority();
        match good {
            Some(_) => info!(
                names,
                authority,
                next,
                "the certificate in use is good for the names: renewing it in time"
            ),
            None if self.store.is_stand_in() => info!(
                names,
                authority,
                next,
                "there is no certificate yet: a self-signed stand-in, which clients refuse, serves until there is one"
            ),
            None if self.store.is_kept() => info!(
                names,
                authority,
                next,
                "there is no certificate yet: the one of the former settings serves until there is one"
            ),
            None => info!(
                names,
                authority,
                next,
                "the certificate in use is for other names: asking for another one"
            ),
        }
    }

    fn say_issued(&self, schedule: &Schedule, validity: Validity) {
        info!(
            names = self.settings.names.join(" "),
            authority = self.settings.authority(),
            not_after = tls::time(validity.not_after),
            next = tls::time(schedule.next_s(clock::now())),
            "obtained a certificate, which is served from now on"
        );
    }

    fn say_failed(&self, schedule: &Schedule, failure: &Failure) {
        let serving = match self.store.is_stand_in() {
            true => "a stand-in",
            false => "the certificate of before",
        };
        warn!(
            names = self.settings.names.join(" "),
            authority = self.settings.authority(),
            result = failure.cause.outcome().label(),
            reason = %sentence(&failure.cause),
            failures = self.history.failures(),
            next = tls::time(schedule.next_s(clock::now())),
            serving,
            step = failure.step,
            "cannot obtain a certificate"
        );
    }
}
