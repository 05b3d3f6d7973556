//! What a process that was replaced still does: it waits for its calls, and ends.

use super::super::start::Running;
use super::super::{Asked, Signals};
use super::former::Successor;
use std::time::{Duration, Instant};
use tracing::{error, info, warn};

/// How often a process that was replaced looks whether its last call has ended.
const POLL: Duration = Duration::from_millis(100);

/// A connection that has shown what it is has this long for its first request, before those without one are closed.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// Waits for the calls that are left, after another process has taken over; then the server is to end.
pub async fn see_off(running: &mut Running, mut successor: Successor, signals: &mut Signals) {
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
    let mut alive = true;
    loop {
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
            return;
        }
        if Instant::now() >= end_by {
            warn!(pid = own, %left, "the drain timeout of the upgrade is over");
            return;
        }
        if alive && successor.has_ended() {
            alive = false;
            // A service manager may start another only after this process: calls get no longer than a stop gives them.
            end_by = end_by.min(Instant::now() + running.config.drain_timeout);
            error!(
                pid = own,
                successor = pid,
                "the process that took over has ended; calls that are left here have server.drain_timeout"
            );
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            asked = signals.next() => match asked {
                Asked::Stop if stopping => {
                    warn!(pid = own, %left, "a second signal: stopping now");
                    return;
                }
                Asked::Stop => {
                    stopping = true;
                    end_by = end_by.min(Instant::now() + running.config.drain_timeout);
                    info!(pid = own, %left, "stopping: waiting for calls no longer than server.drain_timeout");
                }
                Asked::Reload | Asked::Upgrade => explain(asked, own, pid),
            },
        }
    }
}

/// What this process does no more.
fn explain(asked: Asked, own: u32, successor: u32) {
    match asked {
        Asked::Stop => {}
        Asked::Reload => info!(pid = own, successor, "not reloaded: another process serves"),
        Asked::Upgrade => {
            let reason = "another process has taken over: ask that one";
            warn!(pid = own, successor, reason, "upgrade refused");
        }
    }
}
