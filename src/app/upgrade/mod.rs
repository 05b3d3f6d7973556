//! SIGUSR2: another relayd takes over while this one finishes its calls.
//!
//! This process starts its own command line anew and gives the child, over its standard input, every listening socket
//! and what both must know. Once the child has read its configuration and bound what is missing, the media workers hand
//! their listeners over (`io::handover`), and the child begins to accept. Until it says that it serves, nothing here has
//! changed that its end would not undo: a child that fails leaves this process as it was.
//!
//! `former` is the side of the process that is replaced, `successor` that of the new one, `farewell` how the replaced one
//! ends.

pub mod farewell;
pub mod former;
mod metrics;
pub mod successor;

pub use metrics::Upgrades;

use crate::sys::inherit::Purpose;
use crate::sys::passing::{Channel, Parcel};
use crate::tls::SelfSignedPem;
use crate::turn::NonceState;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Set for the child: the version of what follows on its standard input.
pub const VARIABLE: &str = "RELAYD_UPGRADE";

/// Raised with every change to the messages here and to those of `io::handover`, and with every option that may stay on
/// at a socket and wants to be known by who reads it: 2 knows `UDP_GRO`.
const PROTOCOL: u32 = 2;

/// What the two processes say, in this order; JSON, with descriptors beside it.
#[derive(Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
enum Message {
    /// Former: what there is. Descriptors: the sockets, in their order.
    Offer(Box<Offer>),
    /// Successor: everything is bound. Descriptors: the lanes.
    Ready {
        /// UDP listeners that it reads from here on, as (worker, place) of the former process.
        udp: Vec<(usize, usize)>,
    },
    /// Successor: it cannot start.
    Failed { error: String },
    /// Successor: it cannot start with its configuration. The report quotes the file.
    BadConfiguration { report: String },
    /// Former: no listener is read there any more. Descriptors: those of the reservations.
    Go { reservations: Vec<Reservation> },
    /// Successor: every listener is served.
    Serving,
    /// Successor, after that: it is asked to stop, and will wait so long for the calls of both.
    Stopping { left_ms: u64 },
    /// Successor, after that and whenever it reloads: the log file may have been rotated.
    Reopen,
}

/// No `Debug`: there are secrets in it.
#[derive(Serialize, Deserialize)]
struct Offer {
    protocol: u32,
    version: String,
    pid: u32,
    workers: usize,
    sockets: Vec<Socket>,
    nonces: Nonces,
    self_signed: Option<SelfSigned>,
    first_try_password: Option<String>,
    upgrades: metrics::Counts,
}

/// What every version of an offer begins with.
#[derive(Deserialize)]
struct Head {
    protocol: u32,
    version: String,
}

#[derive(Serialize, Deserialize)]
struct Socket {
    purpose: Word,
    address: SocketAddr,
    worker: usize,
    index: usize,
}

/// [`Purpose`] as text.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Udp,
    Tcp,
    Tls,
    Admin,
}

#[derive(Serialize, Deserialize)]
struct Nonces {
    current: [u8; 32],
    previous: Option<[u8; 32]>,
    made_ns: u64,
    now_ns: u64,
}

/// Clients have been told to trust this very certificate.
#[derive(Serialize, Deserialize)]
struct SelfSigned {
    names: Vec<String>,
    certificate: String,
    key: String,
}

#[derive(Serialize, Deserialize)]
struct Reservation {
    token: [u8; 8],
    address: SocketAddr,
    left_ms: u64,
}

impl From<Purpose> for Word {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Udp => Self::Udp,
            Purpose::Tcp => Self::Tcp,
            Purpose::Tls => Self::Tls,
            Purpose::Admin => Self::Admin,
        }
    }
}

impl From<Word> for Purpose {
    fn from(word: Word) -> Self {
        match word {
            Word::Udp => Self::Udp,
            Word::Tcp => Self::Tcp,
            Word::Tls => Self::Tls,
            Word::Admin => Self::Admin,
        }
    }
}

impl From<NonceState> for Nonces {
    fn from(state: NonceState) -> Self {
        let NonceState {
            current,
            previous,
            made_ns,
            now_ns,
        } = state;
        Self {
            current,
            previous,
            made_ns,
            now_ns,
        }
    }
}

impl SelfSigned {
    fn new(names: &[String], pem: SelfSignedPem) -> Self {
        Self {
            names: names.to_vec(),
            certificate: pem.certificate,
            key: pem.key.expose().to_owned(),
        }
    }
}

fn send(channel: &Channel, message: &Message, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let text = serde_json::to_vec(message).map_err(io::Error::other)?;
    channel.send(&text, fds)
}

/// `None`: the other process has ended.
fn receive(channel: &Channel) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
    let Some(Parcel { text, descriptors }) = channel.receive()? else {
        return Ok(None);
    };
    let message = serde_json::from_slice(&text).map_err(io::Error::other)?;
    Ok(Some((message, descriptors)))
}
