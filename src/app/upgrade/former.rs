//! The process that is replaced: starts the child, gives it what it needs, and ends with its own last call.

use super::super::start::Running;
use super::super::{Asked, Signals, Source};
use super::{Message, Offer, PROTOCOL, Reservation, SelfSigned, Socket, VARIABLE, receive, send};
use crate::io::{MediaHandle, OfferedSocket};
use crate::sys::inherit::Purpose;
use crate::sys::passing::Channel;
use crate::sys::signal;
use crate::systemd::Manager;
use crate::tls::CertificateSource;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

/// How long a worker may take to name its sockets, and a child that has closed its end to exit.
const PATIENCE: Duration = Duration::from_secs(5);

/// Words of the successor that wait; beyond, it waits.
const WORDS_MAX: usize = 8;

/// What came of a SIGUSR2.
pub enum Outcome {
    /// Everything is as it was.
    Kept,
    /// The same, and a reload was asked for meanwhile, which the service manager has been told of.
    Reload,
    /// A signal to stop came meanwhile; everything is as it was.
    Stop,
    Handed(Successor),
}

/// The process that serves now.
pub struct Successor {
    child: Child,
    /// Closed by its end, and its sight of this process's end.
    channel: Arc<Channel>,
}

impl Successor {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// What it says from here on; ends with it.
    pub fn words(&self) -> io::Result<mpsc::Receiver<Word>> {
        let (sender, words) = mpsc::channel(WORDS_MAX);
        let channel = Arc::clone(&self.channel);
        channel.set_patience(None)?;
        let listen = move || {
            while let Ok(Some((message, _))) = receive(&channel) {
                let word = match message {
                    Message::Stopping { left_ms } => Word::Stopping(Duration::from_millis(left_ms)),
                    Message::Reopen => Word::Reopen,
                    Message::Offer(_)
                    | Message::Ready { .. }
                    | Message::Failed { .. }
                    | Message::BadConfiguration { .. }
                    | Message::Go { .. }
                    | Message::Serving => continue,
                };
                if sender.blocking_send(word).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("successor".to_owned());
        thread.spawn(listen)?;
        Ok(words)
    }

    /// A reload that was asked for during the upgrade is its own: it may have read the file before.
    fn reload(&self, manager: &Manager) {
        manager.ready("serving");
        if let Err(error) = signal::hang_up(&self.child) {
            warn!(%error, "the new process cannot be asked to reload");
        }
    }

    /// Ends it before it was the one that serves: the media workers take back what it had.
    fn call_off(mut self) {
        // Ours by its handle.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the process that serves tells the one before.
pub enum Word {
    /// It is asked to stop, and waits no longer than this.
    Stopping(Duration),
    /// Log files may have been rotated.
    Reopen,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot start {}", program.display())]
    Start {
        program: OsString,
        source: io::Error,
    },
    #[error("the new process cannot start: {error}")]
    Refused { error: String },
    #[error("the new process cannot start: its configuration has problems, see `relayd check`")]
    BadConfiguration { report: String },
    #[error(
        "the new process ended ({}) before it served; what it printed stands before this",
        how(status)
    )]
    Ended { status: Option<ExitStatus> },
    #[error("the new process did not serve within {timeout_s} s (server.upgrade_timeout)")]
    TimedOut { timeout_s: u64 },
    #[error("the new process said something unexpected")]
    Unexpected,
    #[error("the hand-over failed")]
    Io(#[from] io::Error),
}

fn how(status: &Option<ExitStatus>) -> String {
    let unknown = "exit status unknown".to_owned();
    status.map_or(unknown, |status| status.to_string())
}

/// Carries out one SIGUSR2. Serves on, whatever becomes of it.
pub async fn attempt(
    running: &Running,
    source: &Source,
    signals: &mut Signals,
    manager: &Manager,
) -> Outcome {
    let own = std::process::id();
    if let Some(reason) = refusal(running) {
        running.upgrades.count(|counts| counts.refused += 1);
        warn!(pid = own, %reason, "upgrade refused");
        return Outcome::Kept;
    }
    info!(pid = own, "upgrade: starting the new process");
    let plan = match Plan::new(running, source) {
        Ok(plan) => plan,
        Err(cause) => {
            failed(running, &cause.into());
            return Outcome::Kept;
        }
    };
    let channel = Arc::clone(&plan.channel);
    let (sender, mut result) = oneshot::channel();
    let carried_out = thread::Builder::new().name("upgrade".to_owned());
    if let Err(cause) = carried_out.spawn(move || sender.send(plan.carry_out())) {
        failed(running, &cause.into());
        return Outcome::Kept;
    }
    let (mut stopped, mut reload) = (false, false);
    let result = loop {
        let asked = tokio::select! {
            result = &mut result => break result.unwrap_or(Err(Error::Unexpected)),
            asked = signals.next() => asked,
        };
        match asked {
            Asked::Stop => {
                info!(pid = own, "upgrade called off: stopping");
                stopped = true;
                channel.close();
            }
            Asked::Reload => {
                info!("the reload waits: an upgrade is under way");
                // The manager waits for this word, and for a second one when the reload is over.
                manager.reloading();
                reload = true;
            }
            Asked::Upgrade => {
                running.upgrades.count(|counts| counts.refused += 1);
                warn!(pid = own, reason = "one is under way", "upgrade refused");
            }
        }
    };
    match result {
        Ok(successor) if stopped => {
            // It served before it was told otherwise. Both processes end: the calls are here.
            successor.call_off();
            Outcome::Stop
        }
        Ok(successor) => {
            if reload {
                successor.reload(manager);
            }
            Outcome::Handed(successor)
        }
        Err(_) if stopped => Outcome::Stop,
        Err(cause) => {
            failed(running, &cause);
            if reload {
                Outcome::Reload
            } else {
                Outcome::Kept
            }
        }
    }
}

fn refusal(running: &Running) -> Option<String> {
    if std::process::id() == 1 {
        return Some(
            "this is process 1, whose end is the container's: start another container, and drain this one by SIGTERM".to_owned(),
        );
    }
    running.upgrades.former().map(|pid| {
        format!("process {pid}, which this one took over from, still has calls: wait for its end, or send it SIGTERM")
    })
}

fn failed(running: &Running, cause: &Error) {
    running.upgrades.count(|counts| counts.failed += 1);
    let pid = std::process::id();
    if let Error::BadConfiguration { report } = cause {
        error!(pid, %cause, %report, "upgrade failed; this process serves on");
        return;
    }
    let cause = match std::error::Error::source(cause) {
        Some(source) => format!("{cause}: {source}"),
        None => cause.to_string(),
    };
    error!(pid, %cause, "upgrade failed; this process serves on");
}

/// Everything that one upgrade needs, apart from the server, which goes on meanwhile.
struct Plan {
    channel: Arc<Channel>,
    child_end: OwnedFd,
    offer: Offer,
    sockets: Vec<OwnedFd>,
    media: MediaHandle,
    timeout: Duration,
}

impl Plan {
    fn new(running: &Running, source: &Source) -> io::Result<Self> {
        let (channel, child_end) = Channel::pair()?;
        let config = &running.config;
        let mut sockets = Vec::new();
        let mut fds = Vec::new();
        let mut add = |purpose: Purpose, fd, address: SocketAddr, worker, index| {
            sockets.push(Socket {
                purpose: purpose.into(),
                address,
                worker,
                index,
            });
            fds.push(fd);
        };
        for offered in running.media.offer(PATIENCE)? {
            let OfferedSocket {
                socket,
                address,
                worker,
                index,
            } = offered;
            add(Purpose::Udp, socket, address, worker, index);
        }
        for (socket, address, purpose) in running.listen.offer()? {
            add(purpose, socket, address, 0, 0);
        }
        if let Some(admin) = &running.admin {
            let (socket, address) = admin.offer()?;
            add(Purpose::Admin, socket, address, 0, 0);
        }
        let pem = running
            .tls
            .load_full()
            .and_then(|store| store.self_signed());
        let names = config.tls.as_ref().and_then(|tls| match &tls.source {
            CertificateSource::SelfSigned { names } => Some(names),
            CertificateSource::Files { .. } | CertificateSource::Managed { .. } => None,
        });
        let nonces = running.turn.nonce_state(crate::sys::clock::now().instant());
        let offer = Offer {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            workers: running.media.worker_count(),
            sockets,
            nonces: nonces.into(),
            self_signed: names
                .zip(pem)
                .map(|(names, pem)| SelfSigned::new(names, pem)),
            first_try_password: match source {
                Source::File(_) => None,
                Source::FirstTry { password, .. } => Some(password.expose().to_owned()),
            },
            upgrades: running.upgrades.counts(),
        };
        Ok(Self {
            channel: Arc::new(channel),
            child_end,
            offer,
            sockets: fds,
            media: running.media.clone(),
            timeout: config.upgrade_timeout,
        })
    }

    /// Blocks until another process serves or has failed.
    fn carry_out(self) -> Result<Successor, Error> {
        let mut arguments = std::env::args_os();
        // The path, not the file behind it: that is another one by now.
        let program = arguments.next().unwrap_or_else(|| "relayd".into());
        let mut child = Command::new(&program)
            .args(arguments)
            .env(VARIABLE, PROTOCOL.to_string())
            // What a service manager gave to this process is not the child's.
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_FDNAMES")
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::from(self.child_end))
            .spawn()
            .map_err(|source| Error::Start { program, source })?;
        let successor = child.id();
        info!(
            pid = self.offer.pid,
            successor, "upgrade: the new process runs"
        );
        let conversation = Conversation {
            channel: Arc::clone(&self.channel),
            media: self.media,
            deadline: Instant::now() + self.timeout,
            timeout: self.timeout,
        };
        let done = conversation.lead(Message::Offer(Box::new(self.offer)), &self.sockets);
        match done {
            Ok(()) => Ok(Successor {
                child,
                channel: self.channel,
            }),
            Err(cause) => Err(end(&mut child, cause)),
        }
    }
}

/// Makes sure that the child is gone.
fn end(child: &mut Child, cause: Error) -> Error {
    let status = match cause {
        Error::Ended { .. } => wait(child),
        _ => None,
    };
    if status.is_none() {
        // Ours by its handle.
        let _ = child.kill();
        let _ = child.wait();
    }
    match cause {
        Error::Ended { .. } => Error::Ended { status },
        other => other,
    }
}

/// The exit status of a child that is about to end.
fn wait(child: &mut Child) -> Option<ExitStatus> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(10));
    }
    None
}

struct Conversation {
    channel: Arc<Channel>,
    media: MediaHandle,
    deadline: Instant,
    timeout: Duration,
}

impl Conversation {
    fn lead(&self, offer: Message, sockets: &[OwnedFd]) -> Result<(), Error> {
        self.say(&offer, sockets)?;
        let (Message::Ready { udp }, lanes) = self.hear()? else {
            return Err(Error::Unexpected);
        };
        info!("upgrade: the new process has bound everything; handing over");
        let done = self.media.give(lanes, &udp)?;
        for _ in 0..self.media.worker_count() {
            done.recv_timeout(self.left())
                .map_err(|error| match error {
                    RecvTimeoutError::Timeout => self.timed_out(),
                    RecvTimeoutError::Disconnected => Error::Ended { status: None },
                })?;
        }
        let offered = self.media.take_reservations()?;
        let reservations = offered.iter().map(|offered| Reservation {
            token: offered.token,
            address: offered.address,
            left_ms: u64::try_from(offered.left.as_millis()).unwrap_or(0),
        });
        let go = Message::Go {
            reservations: reservations.collect(),
        };
        let sockets = offered.into_iter().map(|offered| offered.socket);
        self.say(&go, &sockets.collect::<Vec<_>>())?;
        match self.hear()? {
            (Message::Serving, _) => Ok(()),
            _ => Err(Error::Unexpected),
        }
    }

    fn say(&self, message: &Message, fds: &[OwnedFd]) -> Result<(), Error> {
        self.channel.set_patience(Some(self.left()))?;
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        send(&self.channel, message, &fds).map_err(|error| self.told(error))
    }

    fn hear(&self) -> Result<(Message, Vec<OwnedFd>), Error> {
        self.channel.set_patience(Some(self.left()))?;
        let heard = receive(&self.channel).map_err(|error| self.told(error))?;
        match heard.ok_or(Error::Ended { status: None })? {
            (Message::Failed { error }, _) => Err(Error::Refused { error }),
            (Message::BadConfiguration { report }, _) => Err(Error::BadConfiguration { report }),
            other => Ok(other),
        }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn told(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => self.timed_out(),
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected => Error::Ended { status: None },
            _ => Error::Io(error),
        }
    }

    fn timed_out(&self) -> Error {
        Error::TimedOut {
            timeout_s: self.timeout.as_secs(),
        }
    }
}
