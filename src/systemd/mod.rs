//! What relayd tells the service manager that started it: ready, reloading, stopping, alive (sd_notify(3)).
//!
//! Without `$NOTIFY_SOCKET` every word is silence, so that a shell, a container and systemd run the same code. A message
//! that cannot be sent is logged once and never stops the server. Absent: sockets that were handed over (`sys::inherit`).

mod rounds;
#[cfg(test)]
mod tests;

pub use rounds::{Rounds, Step};

use crate::sys::notify::{NotifySocket, monotonic_us};
use std::cell::Cell;
use std::ffi::OsString;
use std::time::Duration;
use tracing::warn;

/// How much longer than the drain timeout the stop may take: ending what is left, joining the threads.
const STOP_RESERVE: Duration = Duration::from_secs(30);

/// A STATUS is shown in one line.
const STATUS_CHARS_MAX: usize = 200;

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub struct Manager {
    socket: Option<NotifySocket>,
    watchdog: Option<Duration>,
    has_failed: Cell<bool>,
    /// Another process speaks for the service.
    is_silent: Cell<bool>,
}

impl Manager {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`, which say nothing to a process with another `pid`.
    pub fn new(variable: impl Fn(&str) -> Option<OsString>, pid: u32) -> Self {
        let name = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let socket = name.and_then(|name| match NotifySocket::open(&name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                warn!(
                    socket = %name.display(), %error,
                    "the service manager is told nothing: NOTIFY_SOCKET cannot be used"
                );
                None
            }
        });
        let watchdog = socket
            .as_ref()
            .and_then(|_| watchdog(&variable("WATCHDOG_USEC")?, variable("WATCHDOG_PID"), pid));
        Self {
            socket,
            watchdog,
            has_failed: Cell::new(false),
            is_silent: Cell::new(false),
        }
    }

    /// How long the manager waits for [`Self::alive`] before it takes the server for stuck; `None`: it does not.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Everything is served, for the first time or after [`Self::reloading`].
    pub fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// A reload begins; [`Self::ready`] ends it, whatever came of it.
    pub fn reloading(&self) {
        // By the time the manager tells the READY that ends this reload from an older one.
        let now_us = monotonic_us();
        self.say(&format!(
            "RELOADING=1\nMONOTONIC_USEC={now_us}\nSTATUS=reloading"
        ));
    }

    /// The stop begins, and may take as long as the drain and a reserve: also if the unit has less time for it.
    pub fn stopping(&self, drain_timeout: Duration) {
        let time_us = drain_timeout.saturating_add(STOP_RESERVE).as_micros();
        self.say(&format!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={time_us}\nSTATUS=draining"
        ));
    }

    /// The process `pid` is the service from here on, and says what there is to say: also the watchdog is its own.
    pub fn hand_over(&self, pid: u32) {
        self.say(&format!("MAINPID={pid}"));
        self.is_silent.set(true);
    }

    /// The process that spoke for the service is gone: `pid`, this one, is it again.
    pub fn take_back(&self, pid: u32) {
        self.is_silent.set(false);
        self.say(&format!("MAINPID={pid}"));
        if self.watchdog.is_some() {
            // The last one may have come from the other process long ago.
            self.alive();
        }
    }

    /// Shown by `systemctl status`.
    pub fn status(&self, status: &str) {
        self.say(&format!("STATUS={}", one_line(status)));
    }

    /// The server makes progress.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    fn say(&self, message: &str) {
        let Some(socket) = self.socket.as_ref().filter(|_| !self.is_silent.get()) else {
            return;
        };
        if let Err(error) = socket.send(message)
            && !self.has_failed.replace(true)
        {
            warn!(%error, "the service manager cannot be told how the server is");
        }
    }
}

/// A time of zero or of another process is none.
fn watchdog(time: &OsString, of: Option<OsString>, pid: u32) -> Option<Duration> {
    let time_us = time.to_str().and_then(|text| text.parse().ok());
    let Some(time_us) = time_us else {
        warn!(watchdog_usec = %time.display(), "no watchdog: WATCHDOG_USEC is no number of microseconds");
        return None;
    };
    let of_another = of.is_some_and(|of| of.to_str() != Some(pid.to_string().as_str()));
    (time_us > 0 && !of_another).then(|| Duration::from_micros(time_us))
}

fn one_line(text: &str) -> String {
    let one = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(one).take(STATUS_CHARS_MAX).collect()
}
