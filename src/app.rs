//! The composition root: binds everything, serves, drains with a deadline.
//!
//! Owns the order of start and stop, and the threads: media workers (`io`), signalling threads (a
//! `current_thread` runtime each, with listeners of its own), and the main thread (signals, reloads). Admin, ACME and the log
//! have threads of their own, which their modules start.
//! Nothing is served before everything that can fail has succeeded.

mod control;
mod credentials;
mod numbers;
mod reload;
mod signalling;
mod start;
mod upgrade;
mod watch;
mod watchdog;

use crate::config::Config;
use crate::io;
use crate::secret::Secret;
use crate::sys::inherit::{Inherited, Variables};
use crate::systemd::Manager;
use crate::telemetry;
use anyhow::{Context as _, bail};
use reload::Reloader;
use start::Bound;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};
use upgrade::farewell::{Ending, see_off};
use upgrade::former::{Outcome, attempt};
pub use upgrade::successor::Former;
use watch::Watch;

/// How often a draining server looks whether its last call has ended.
const DRAIN_POLL: Duration = Duration::from_millis(100);

/// Where the configuration came from.
#[derive(Clone, Debug)]
pub enum Source {
    File(PathBuf),
    /// No file: a user and password made for this run, printed with client code once the listeners are bound.
    FirstTry {
        user: String,
        password: Secret,
    },
}

/// Serves until a signal ends it. An error means that it could not start.
///
/// `former`: the process that this one takes over from, which hears of the error.
pub fn serve(config: Config, source: Source, former: Option<Former>) -> anyhow::Result<()> {
    let ear = former.as_ref().map(Former::ear);
    run(config, source, former).inspect_err(|error| {
        if let Some(ear) = ear {
            ear.refuse(&format!("{error:#}"));
        }
    })
}

fn run(config: Config, source: Source, mut former: Option<Former>) -> anyhow::Result<()> {
    // First of all: nothing else may get the numbers of these descriptors.
    let inherited = match &mut former {
        Some(former) => former.inherited()?,
        None => Inherited::from_service_manager(&Variables::read())
            .context("socket activation (LISTEN_FDS)")?,
    };
    let log = Arc::new(telemetry::init(&config.log).context("cannot set up the log")?);
    let manager = Rc::new(Manager::new(
        |name| std::env::var_os(name),
        std::process::id(),
    ));
    let bound = Bound::new(config, inherited, former)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot make the main thread's runtime")?;
    let tasks = tokio::task::LocalSet::new();
    let served = tasks.block_on(&runtime, async {
        let mut signals = Signals::new()?;
        let (mut reloader, reloads) = Reloader::new();
        let mut running = bound.start(&source, &log, reloads)?;
        let mut watch = Watch::new();
        watchdog::spawn(Rc::clone(&manager), running.threads());
        manager.ready("serving");
        let successor = loop {
            let request = tokio::select! {
                asked = signals.next() => match asked {
                    Asked::Stop => break None,
                    Asked::Reload => None,
                    Asked::Upgrade => match attempt(&running, &source, &mut signals, &manager).await {
                        Outcome::Kept => continue,
                        Outcome::Reload => None,
                        Outcome::Stop => break None,
                        Outcome::Handed(successor) => break Some(successor),
                    },
                },
                request = reloader.asked() => Some(request),
                () = watch.replaced(&running.tls, &running.reload_metrics) => {
                    start::warn_of_certificate(&running.config);
                    continue;
                }
            };
            manager.reloading();
            running.upgrades.tell_reopen();
            reloader.reload(&mut running, &log, &source, request).await;
            watch.forget_look();
            manager.ready("serving");
        };
        // Who asks from here on is told that it is too late.
        drop((reloader, watch));
        if let Some(successor) = successor {
            manager.hand_over(successor.pid());
            let ending = see_off(&mut running, successor, &mut signals, &manager, &log).await;
            running.end();
            info!(pid = std::process::id(), "the former process ends");
            return match ending {
                Ending::AsAsked => Ok(()),
                // A service manager that starts anew what failed is to start this.
                Ending::Bereft => bail!("the process that took over has failed"),
            };
        }
        let drain_timeout = running.config.drain_timeout;
        info!(
            timeout_s = drain_timeout.as_secs(),
            "stopping: no new calls, waiting for those that run"
        );
        manager.stopping(drain_timeout);
        running.drain();
        wait_for_calls(&running, &manager, &mut signals, drain_timeout).await;
        running.end();
        info!("stopped");
        Ok(())
    });
    // Looking at a certificate hangs as long as its file system does: not the stop.
    runtime.shutdown_background();
    served
}

/// Whether a server could not start since another process has one of its ports.
pub fn is_port_in_use(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let udp = cause.downcast_ref::<io::BindError>();
        let socket = cause.downcast_ref::<std::io::Error>();
        matches!(udp, Some(io::BindError::UdpInUse { .. }))
            || socket.is_some_and(|error| error.kind() == ErrorKind::AddrInUse)
    })
}

/// Whether a server could not start since a port below 1024 is for privileged processes.
pub fn is_port_denied(error: &anyhow::Error) -> bool {
    let is_bind = matches!(error.downcast_ref(), Some(io::BindError::Udp { .. }))
        || error.is::<crate::listen::BindError>();
    let denied = |cause: &std::io::Error| cause.kind() == ErrorKind::PermissionDenied;
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    is_bind && causes.any(denied)
}

/// Returns when the last call and tunnel has ended, when the time is up, or at the next signal.
///
/// A former process counts, too: with the end of this one, the main one, systemd signals it a second time, which would
/// end its calls.
async fn wait_for_calls(
    running: &start::Running,
    manager: &Manager,
    signals: &mut Signals,
    timeout: Duration,
) {
    let deadline = Instant::now() + timeout;
    running.upgrades.tell_stopping(timeout);
    let (mut told, mut is_former_named) = (None, false);
    loop {
        let draining = running.media.is_draining();
        let left = running.calls();
        let former = running.upgrades.former();
        if told != Some((left, former)) {
            told = Some((left, former));
            let beside = former.map(|pid| format!("; former process {pid}"));
            manager.status(&format!("draining: {left}{}", beside.unwrap_or_default()));
        }
        if let Some(former) = former
            && left.is_none()
            && !is_former_named
        {
            is_former_named = true;
            info!(
                former,
                "no call is left here: waiting for those of the former process"
            );
        }
        // A worker that does not drain yet may just have answered an Allocate request.
        if draining && left.is_none() && former.is_none() {
            return;
        }
        if Instant::now() >= deadline {
            warn!(left = %left, "the drain timeout is over");
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(DRAIN_POLL) => {}
            () = signals.stop() => {
                warn!(left = %left, "a second signal: stopping now");
                return;
            }
        }
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Stop,
    Reload,
    Upgrade,
}

/// SIGTERM and SIGINT, which mean the same, SIGHUP, and SIGUSR2.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user2: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
            user2: listen(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.user2.recv() => Asked::Upgrade,
        }
    }

    /// The next signal to stop; a server that drains does not reload, and nobody takes over from it.
    async fn stop(&mut self) {
        while self.next().await != Asked::Stop {}
    }
}
