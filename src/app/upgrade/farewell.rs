//! What a process that was replaced still does: it waits for its calls, and ends.

use super::super::start::Running;
use super::super::{Asked, Signals};
use super::former::{Successor, Word};
use crate::systemd::Manager;
use crate::telemetry;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

/// How often a process that was replaced looks whether its last call has ended.
const POLL: Duration = Duration::from_millis(100);

/// A connection that has shown what it is has this long for its first request, before those without one are closed.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// Why a process that was replaced ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its calls have ended, or their time is over, or it was told to stop.
    AsAsked,
    /// The same, but nobody serves: the process that took over has failed.
    Bereft,
}

/// Waits for the calls that are left, after another process has taken over; then the server is to end.
pub async fn see_off(
    running: &mut Running,
    mut successor: Successor,
    signals: &mut Signals,
    manager: &Manager,
    log: &telemetry::Handle,
) -> Ending {
    let own = std::process::id();
    let pid = successor.pid();
    let timeout = running.config.upgrade_drain_timeout;
    running.hand_over();
    info!(
        pid = own,
        successor = pid,
        timeout_s = timeout.as_secs(),
        left = %running.calls(),
        "upgraded: the new process serves, this one ends with its last call"
    );
    let mut end_by = Instant::now() + timeout;
    let mut unidentified = Instant::now();
    let mut stopping = false;
    let mut told_to_stop = false;
    let mut alive = true;
    let mut ending = Ending::AsAsked;
    let mut words = successor.words().inspect_err(|error| {
        warn!(%error, "the process that took over will not be heard");
    });
    loop {
        // First: without calls, too, the end of this process must say that nobody serves.
        if alive && let Some(status) = successor.ended() {
            alive = false;
            // Who was asked to stop may end badly: that is no reason to start it again.
            if !stopping && !told_to_stop && !status.success() {
                ending = Ending::Bereft;
                manager.take_back(own);
                manager.status("draining: the process that took over has failed");
            }
            // A service manager may start another only after this process: calls get no longer than a stop gives them.
            end_by = end_by.min(Instant::now() + running.config.drain_timeout);
            error!(
                pid = own,
                successor = pid,
                %status,
                "the process that took over has ended; calls that are left here have server.drain_timeout"
            );
        }
        let listen = &running.listen;
        if listen.is_listening() || listen.pending_connections() > 0 {
            unidentified = Instant::now();
        }
        if unidentified.elapsed() >= FIRST_REQUEST {
            running.end_keep_alive();
        }
        let left = running.calls();
        let connections = listen.connections() as usize + running.media.stream_count();
        if !listen.is_listening() && left.is_none() && connections == 0 {
            return ending;
        }
        if Instant::now() >= end_by {
            warn!(pid = own, %left, "the drain timeout of the upgrade is over");
            return ending;
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            asked = signals.next() => match asked {
                Asked::Stop if stopping => {
                    warn!(pid = own, %left, "a second signal: stopping now");
                    return Ending::AsAsked;
                }
                Asked::Stop => {
                    stopping = true;
                    ending = Ending::AsAsked;
                    end_by = end_by.min(Instant::now() + running.config.drain_timeout);
                    info!(pid = own, %left, "stopping: waiting for calls no longer than server.drain_timeout");
                }
                Asked::Reload => {
                    reopen(log);
                    info!(pid = own, successor = pid, "not reloaded: another process serves");
                }
                Asked::Upgrade => {
                    let reason = "another process has taken over: ask that one";
                    warn!(pid = own, successor = pid, reason, "upgrade refused");
                }
            },
            word = next(words.as_mut().ok()) => match word {
                // Not a signal: the service manager's own may follow, and is the first then.
                Word::Stopping(left_time) => {
                    told_to_stop = true;
                    end_by = end_by.min(Instant::now() + left_time);
                    info!(pid = own, %left, timeout_s = left_time.as_secs(), "the new process stops: waiting for calls no longer than it does");
                }
                Word::Reopen => reopen(log),
            },
        }
    }
}

/// The successor's next word, if it has one to say.
async fn next(words: Option<&mut mpsc::Receiver<Word>>) -> Word {
    let word = match words {
        Some(words) => words.recv().await,
        None => None,
    };
    match word {
        Some(word) => word,
        None => std::future::pending().await,
    }
}

/// After a rotation: this process writes on into the log for hours.
fn reopen(log: &telemetry::Handle) {
    if let Err(cause) = log.reopen() {
        warn!(%cause, "the log goes on in the file that was open");
    }
}
