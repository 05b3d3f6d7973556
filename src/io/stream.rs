//! One TCP or TLS connection of a client: reading into the round's arena, writing frames, what waits for either.
//!
//! Nothing blocks. Over TLS no frame is encrypted while earlier records wait for the socket, since a record
//! cannot be taken back; so a slow client's media is dropped before encryption, in whole frames.

use crate::accepted::Accepted;
use crate::addr::{FiveTuple, Transport};
use crate::io::outbox::Chain;
use crate::io::write_queue::{RepliesOverflow, WriteQueue};
use rustls::ServerConnection;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

/// Most bytes of one read from a socket.
const SOCKET_READ_LEN: usize = 16 << 10;

/// Room that one `Stream::read` needs, in bytes: over TLS, one read completes at most the record that was
/// begun (16 KiB) and the plaintext that was ready before.
pub const READ_LEN: usize = 3 * SOCKET_READ_LEN;

/// Most frames of one write.
pub const FRAMES_MAX: usize = 64;

/// Bytes of a message that a client without an allocation may leave unfinished. Requests are far shorter.
const PARTIAL_LEN_MAX: usize = 8 << 10;

/// Why a connection ended: metric label and log text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// FIN, or TLS close_notify.
    ClosedByClient,
    /// Reset, or another error of the socket.
    SocketError,
    /// The client broke the TLS protocol.
    TlsError,
    /// Bytes that are neither STUN nor ChannelData of a bound channel.
    Unparseable,
    /// No allocation for `stream_idle_s`.
    Idle,
    /// Replies alone exceed `stream_queue_bytes_max`.
    RepliesOverflow,
    /// Another connection came with the same 5-tuple (PROXY protocol).
    Replaced,
    /// The server stopped.
    Stopped,
}

impl StreamEnd {
    pub const ALL: [Self; 8] = [
        Self::ClosedByClient,
        Self::SocketError,
        Self::TlsError,
        Self::Unparseable,
        Self::Idle,
        Self::RepliesOverflow,
        Self::Replaced,
        Self::Stopped,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Self::ClosedByClient => "closed_by_client",
            Self::SocketError => "socket_error",
            Self::TlsError => "tls_error",
            Self::Unparseable => "unparseable",
            Self::Idle => "idle",
            Self::RepliesOverflow => "replies_overflow",
            Self::Replaced => "replaced",
            Self::Stopped => "stopped",
        }
    }
}

/// What one `Stream::read` brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOutcome {
    /// Plaintext bytes, in front of whatever ended the stream.
    pub len: usize,
    pub end: Option<StreamEnd>,
}

pub struct Stream {
    transport: Plain,
    pub five_tuple: FiveTuple,
    /// Counts the connection against the listeners' limits.
    _guard: Box<dyn Send>,
    /// The beginning of a message whose end has not come yet.
    pub partial: Vec<u8>,
    queue: WriteQueue,
    queue_bytes_max: usize,
    /// What waits to be sent in this round.
    pub chain: Chain,
    pub allocation: Option<u64>,
    /// Until its first allocation a client has no channel, so ChannelData would be garbage.
    pub has_had_allocation: bool,
    /// Since when it has no allocation.
    pub idle_since: Instant,
    /// The epoll interest that is in force includes writing.
    pub waits_for_write: bool,
}

struct Plain {
    socket: TcpStream,
    tls: Option<Box<ServerConnection>>,
}

impl Stream {
    pub fn new(accepted: Accepted, queue_bytes_max: usize, now: Instant) -> Self {
        let Accepted {
            socket,
            tls,
            early,
            five_tuple,
            guard,
        } = accepted;
        debug_assert_eq!(tls.is_some(), five_tuple.transport == Transport::Tls);
        Self {
            transport: Plain { socket, tls },
            five_tuple,
            _guard: guard,
            partial: early,
            queue: WriteQueue::default(),
            queue_bytes_max,
            chain: Chain::EMPTY,
            allocation: None,
            has_had_allocation: false,
            idle_since: now,
            waits_for_write: false,
        }
    }

    /// Reads what is there into `room`, which has at least [`READ_LEN`] bytes; `scratch` is for ciphertext.
    pub fn read(&mut self, room: &mut [u8], scratch: &mut [u8]) -> ReadOutcome {
        debug_assert!(room.len() >= READ_LEN && scratch.len() >= SOCKET_READ_LEN);
        match &mut self.transport.tls {
            None => read_plain(&self.transport.socket, room),
            Some(tls) => read_tls(&self.transport.socket, tls, room, scratch),
        }
    }

    /// Keeps an unfinished message; false when it is longer than this client may leave it.
    pub fn keep_partial(&mut self, bytes: &[u8]) -> bool {
        self.partial.clear();
        self.partial.extend_from_slice(bytes);
        if bytes.is_empty() && self.partial.capacity() > PARTIAL_LEN_MAX {
            self.partial = Vec::new();
        }
        self.allocation.is_some() || bytes.len() <= PARTIAL_LEN_MAX
    }

    /// Sends frames, or queues what the socket does not take; returns how many media frames had to go for it.
    ///
    /// `media[i]` tells whether `frames[i]` may be dropped.
    pub fn send(&mut self, frames: &[IoSlice<'_>], media: &[bool]) -> Result<u64, StreamEnd> {
        let mut written = 0;
        if self.queue.is_empty() {
            written = self.transport.write(frames)?;
        }
        let mut dropped = 0;
        for (frame, media) in frames.iter().zip(media) {
            if written >= frame.len() {
                written -= frame.len();
                continue;
            }
            let pushed = self
                .queue
                .push(frame, written, *media, self.queue_bytes_max);
            dropped += pushed.map_err(|RepliesOverflow| StreamEnd::RepliesOverflow)?;
            written = 0;
        }
        Ok(dropped)
    }

    /// Sends what waits, as far as the socket takes it.
    pub fn send_queued(&mut self) -> Result<(), StreamEnd> {
        loop {
            let mut slices = [IoSlice::new(&[]); FRAMES_MAX];
            let count = self.queue.slices(&mut slices);
            let slices = &slices[..count];
            let len: usize = slices.iter().map(|slice| slice.len()).sum();
            let written = self.transport.write(slices)?;
            self.queue.advance(written);
            if written < len || len == 0 {
                return Ok(());
            }
        }
    }

    /// True while something waits for the socket to take more.
    pub fn is_blocked(&self) -> bool {
        let tls = self.transport.tls.as_ref();
        !self.queue.is_empty() || tls.is_some_and(|tls| tls.wants_write())
    }

    /// Says goodbye as far as that goes without waiting.
    pub fn close(mut self) {
        if let Some(tls) = &mut self.transport.tls {
            tls.send_close_notify();
            // Best effort: the connection ends either way.
            let _ = flush_tls(&self.transport.socket, tls);
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.transport.socket.as_fd()
    }
}

impl Plain {
    /// Bytes taken; fewer than given when the socket is full.
    fn write(&mut self, slices: &[IoSlice<'_>]) -> Result<usize, StreamEnd> {
        let Some(tls) = &mut self.tls else {
            if slices.is_empty() {
                return Ok(0);
            }
            return write_plain(&self.socket, slices);
        };
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut taken = 0;
        loop {
            flush_tls(&self.socket, tls)?;
            if tls.wants_write() || taken == len {
                return Ok(taken);
            }
            let accepted = write_after(tls, slices, taken);
            let accepted = accepted.map_err(|_| StreamEnd::TlsError)?;
            if accepted == 0 {
                return Ok(taken);
            }
            taken += accepted;
        }
    }
}

/// Encrypts what follows the first `skip` bytes, several frames into one record.
fn write_after(
    tls: &mut ServerConnection,
    slices: &[IoSlice<'_>],
    mut skip: usize,
) -> io::Result<usize> {
    if skip == 0 {
        return tls.writer().write_vectored(slices);
    }
    for slice in slices {
        if let Some(rest) = slice.get(skip..).filter(|rest| !rest.is_empty()) {
            return tls.writer().write(rest);
        }
        skip -= slice.len();
    }
    Ok(0)
}

fn write_plain(mut socket: &TcpStream, slices: &[IoSlice<'_>]) -> Result<usize, StreamEnd> {
    loop {
        match socket.write_vectored(slices) {
            Ok(written) => return Ok(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(StreamEnd::SocketError),
        }
    }
}

fn flush_tls(mut socket: &TcpStream, tls: &mut ServerConnection) -> Result<(), StreamEnd> {
    while tls.wants_write() {
        match tls.write_tls(&mut socket) {
            Ok(0) => return Err(StreamEnd::SocketError),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(StreamEnd::SocketError),
        }
    }
    Ok(())
}

fn read_plain(mut socket: &TcpStream, room: &mut [u8]) -> ReadOutcome {
    loop {
        let (len, end) = match socket.read(room) {
            Ok(0) => (0, Some(StreamEnd::ClosedByClient)),
            Ok(len) => (len, None),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => (0, None),
                io::ErrorKind::Interrupted => continue,
                _ => (0, Some(StreamEnd::SocketError)),
            },
        };
        return ReadOutcome { len, end };
    }
}

fn read_tls(
    socket: &TcpStream,
    tls: &mut ServerConnection,
    room: &mut [u8],
    scratch: &mut [u8],
) -> ReadOutcome {
    let mut len = 0;
    // After a take-over, plaintext may be ready that no readiness will tell of.
    let mut end = take_plaintext(tls, room, &mut len);
    if end.is_some() {
        return ReadOutcome { len, end };
    }
    let ciphertext = &mut scratch[..SOCKET_READ_LEN];
    let outcome = read_plain(socket, ciphertext);
    let mut records = &ciphertext[..outcome.len];
    while !records.is_empty() && end.is_none() {
        end = take_records(tls, &mut records);
        let ended = take_plaintext(tls, room, &mut len);
        end = end.or(ended);
    }
    // A key update or an alert may want to be answered.
    if end != Some(StreamEnd::SocketError)
        && let Err(failed) = flush_tls(socket, tls)
    {
        end = end.or(Some(failed));
    }
    ReadOutcome {
        len,
        end: end.or(outcome.end),
    }
}

fn take_records(tls: &mut ServerConnection, records: &mut &[u8]) -> Option<StreamEnd> {
    match tls.read_tls(records) {
        // Nothing is read after close_notify.
        Ok(0) => return Some(StreamEnd::ClosedByClient),
        Ok(_) => {}
        Err(_) => return Some(StreamEnd::TlsError),
    }
    match tls.process_new_packets() {
        Ok(_) => None,
        Err(error) => {
            tracing::debug!(%error, "TLS error");
            Some(StreamEnd::TlsError)
        }
    }
}

fn take_plaintext(
    tls: &mut ServerConnection,
    room: &mut [u8],
    len: &mut usize,
) -> Option<StreamEnd> {
    loop {
        let free = room.get_mut(*len..).unwrap_or_default();
        if free.is_empty() {
            return None;
        }
        match tls.reader().read(free) {
            Ok(0) => return Some(StreamEnd::ClosedByClient),
            Ok(n) => *len += n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(_) => return Some(StreamEnd::SocketError),
        }
    }
}
