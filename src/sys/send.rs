//! Sending many datagrams by one call (`sendmmsg(2)`), runs of equal length to one receiver as one message
//! that the kernel cuts (UDP GSO).
//!
//! Never waits: what a full socket does not take is dropped and counted, as a router would.

use crate::sys::control::Control;
use crate::sys::name::Name;
use crate::sys::recv::BATCH_MAX;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

/// One datagram to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    pub bytes: &'a [u8],
    pub to: SocketAddr,
    /// The local address it leaves from, on a socket that is bound to a wildcard.
    pub from: Option<IpAddr>,
}

impl Datagram<'_> {
    fn has_route_of(&self, other: &Datagram<'_>) -> bool {
        self.to == other.to && self.from == other.from
    }
}

/// What became of datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendCounts {
    pub sent: u64,
    /// The socket's send buffer or the interface's queue was full.
    pub full: u64,
    /// Longer than the path takes, with DF or beyond what UDP can carry.
    pub too_long: u64,
    /// Any other refusal, for example no route.
    pub failed: u64,
}

impl SendCounts {
    fn count(&mut self, error: &io::Error, datagrams: usize) {
        let counter = match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => &mut self.full,
            Some(libc::EMSGSIZE) => &mut self.too_long,
            _ => &mut self.failed,
        };
        *counter += datagrams as u64;
    }
}

/// Shorter datagrams gain nothing from being cut by the kernel.
const SEGMENT_LEN_MIN: usize = 32;
/// Longer ones may not fit the path in one piece, which the kernel refuses for cut messages.
const SEGMENT_LEN_MAX: usize = 1452;
/// Longest message that is cut: what one IP packet could carry.
const SEGMENTS_BYTES_MAX: usize = 60_000;

/// The arrays that `sendmmsg` reads; one for each worker.
pub struct Sender {
    headers: Box<[libc::mmsghdr; BATCH_MAX]>,
    vectors: Box<[libc::iovec; BATCH_MAX]>,
    names: Box<[Name; BATCH_MAX]>,
    controls: Box<[Control; BATCH_MAX]>,
    /// False once the kernel has said that it cannot cut messages.
    segmenting: bool,
}

impl Default for Sender {
    fn default() -> Self {
        Self::new()
    }
}

impl Sender {
    pub fn new() -> Self {
        // SAFETY: a header of null pointers and zero lengths is valid.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let null = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        Self {
            headers: Box::new([header; BATCH_MAX]),
            vectors: Box::new([null; BATCH_MAX]),
            names: Box::new([Name::empty(); BATCH_MAX]),
            controls: Box::new([Control::empty(); BATCH_MAX]),
            segmenting: true,
        }
    }

    /// Sends one datagram by the cheapest call.
    pub fn send_one(&mut self, socket: BorrowedFd<'_>, datagram: &Datagram<'_>) -> io::Result<()> {
        if datagram.from.is_some() {
            self.begin_message(0, datagram);
            self.set_vectors(0, 0, 1);
            return retried(|| self.send_header(socket, 0));
        }
        let len = self.names[0].set(datagram.to);
        let name = &raw const self.names[0];
        retried(|| {
            // SAFETY: the payload and the name are borrowed through the call, with their true lengths.
            let rc = unsafe {
                libc::sendto(
                    socket.as_raw_fd(),
                    datagram.bytes.as_ptr().cast(),
                    datagram.bytes.len(),
                    libc::MSG_DONTWAIT,
                    name.cast(),
                    len,
                )
            };
            if rc < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        })
    }

    /// Sends them all, in order, and counts what became of each. Never fails as a whole.
    pub fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        datagrams: impl Iterator<Item = Datagram<'a>>,
        counts: &mut SendCounts,
    ) {
        let mut datagrams = datagrams.peekable();
        while datagrams.peek().is_some() {
            let filled = self.fill(&mut datagrams);
            self.send_filled(socket, filled, counts);
        }
    }

    /// Lays out messages until the arrays are full; returns how many.
    ///
    /// The pointers stay valid through `send_filled`: the payloads are borrowed for `'a`, which outlives `send`.
    fn fill<'a>(
        &mut self,
        datagrams: &mut std::iter::Peekable<impl Iterator<Item = Datagram<'a>>>,
    ) -> usize {
        let mut messages = 0;
        let mut vectors = 0;
        while vectors < BATCH_MAX {
            let Some(first) = datagrams.next() else {
                break;
            };
            let start = vectors;
            self.vectors[vectors] = vector(first.bytes);
            vectors += 1;
            let segment = first.bytes.len();
            let mut total = segment;
            let mut last = segment;
            let may_run = self.segmenting && (SEGMENT_LEN_MIN..=SEGMENT_LEN_MAX).contains(&segment);
            while may_run && vectors < BATCH_MAX && last == segment {
                // Only the last piece of a cut message may be shorter than the others.
                let continues = |next: &Datagram<'a>| {
                    let len = next.bytes.len();
                    let fits = len > 0 && len <= segment && total + len <= SEGMENTS_BYTES_MAX;
                    fits && next.has_route_of(&first)
                };
                let Some(next) = datagrams.next_if(continues) else {
                    break;
                };
                self.vectors[vectors] = vector(next.bytes);
                vectors += 1;
                last = next.bytes.len();
                total += last;
            }
            self.lay_out(messages, &first, start, vectors - start);
            messages += 1;
        }
        messages
    }

    fn lay_out(&mut self, message: usize, first: &Datagram<'_>, start: usize, len: usize) {
        let control = &mut self.controls[message];
        control.clear();
        if let Some(ip) = first.from {
            control.push_source(ip);
        }
        if len > 1 {
            control.push_segment_size(first.bytes.len() as u16);
        }
        let name_len = self.names[message].set(first.to);
        let header = &mut self.headers[message].msg_hdr;
        header.msg_name = (&raw mut self.names[message]).cast();
        header.msg_namelen = name_len;
        header.msg_controllen = control.len() as _;
        header.msg_control = if control.len() == 0 {
            std::ptr::null_mut()
        } else {
            control.as_mut_ptr()
        };
        self.set_vectors(message, start, len);
    }

    fn begin_message(&mut self, message: usize, datagram: &Datagram<'_>) {
        self.vectors[message] = vector(datagram.bytes);
        self.lay_out(message, datagram, message, 1);
    }

    fn set_vectors(&mut self, message: usize, start: usize, len: usize) {
        let header = &mut self.headers[message].msg_hdr;
        header.msg_iov = &raw mut self.vectors[start];
        header.msg_iovlen = len as _;
    }

    fn send_filled(&mut self, socket: BorrowedFd<'_>, filled: usize, counts: &mut SendCounts) {
        let mut next = 0;
        let mut retried = false;
        while next < filled {
            let error = match self.send_headers(socket, next, filled) {
                Ok(taken) => {
                    counts.sent += self.datagrams(next, next + taken);
                    next += taken;
                    retried = false;
                    continue;
                }
                Err(error) => error,
            };
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            if is_full(&error) {
                counts.full += self.datagrams(next, filled);
                return;
            }
            // An error may be the answer to an earlier datagram (ICMP), which sends nothing; ask once more.
            if !retried {
                retried = true;
                continue;
            }
            if self.len_of(next) > 1 {
                self.send_apart(socket, next, &error, counts);
            } else {
                counts.count(&error, 1);
            }
            next += 1;
            retried = false;
        }
    }

    /// Sends the pieces of a message that the kernel did not cut one by one.
    fn send_apart(
        &mut self,
        socket: BorrowedFd<'_>,
        message: usize,
        error: &io::Error,
        counts: &mut SendCounts,
    ) {
        if matches!(error.raw_os_error(), Some(libc::EIO | libc::EOPNOTSUPP)) {
            self.segmenting = false;
        }
        let pieces = self.len_of(message);
        let whole = self.headers[message].msg_hdr;
        // The segment size is the last control message; without it only the source address is left.
        let control_len = self.controls[message].len();
        let source_len = control_len - Control::SEGMENT_SIZE_LEN;
        for piece in 0..pieces {
            let header = &mut self.headers[message].msg_hdr;
            header.msg_iov = whole.msg_iov.wrapping_add(piece);
            header.msg_iovlen = 1;
            header.msg_controllen = source_len as _;
            if source_len == 0 {
                header.msg_control = std::ptr::null_mut();
            }
            match retried(|| self.send_header(socket, message)) {
                Ok(()) => counts.sent += 1,
                Err(error) => counts.count(&error, 1),
            }
        }
    }

    fn send_headers(
        &mut self,
        socket: BorrowedFd<'_>,
        from: usize,
        to: usize,
    ) -> io::Result<usize> {
        let headers = &mut self.headers[from..to];
        // SAFETY: these headers were laid out by `fill`: payloads are borrowed by the caller of `send`,
        // names and controls by `self`.
        let n = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT as _,
            )
        };
        if n < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(n as usize)
    }

    fn send_header(&self, socket: BorrowedFd<'_>, message: usize) -> io::Result<()> {
        let header = &raw const self.headers[message].msg_hdr;
        // SAFETY: the header was laid out by the caller, with payload, name and control borrowed through the call.
        let rc = unsafe { libc::sendmsg(socket.as_raw_fd(), header, libc::MSG_DONTWAIT) };
        if rc < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Datagrams in the messages from `from` to `to`.
    fn datagrams(&self, from: usize, to: usize) -> u64 {
        (from..to).map(|message| self.len_of(message) as u64).sum()
    }

    #[allow(
        clippy::unnecessary_cast,
        reason = "the type differs between C libraries"
    )]
    fn len_of(&self, message: usize) -> usize {
        self.headers[message].msg_hdr.msg_iovlen as usize
    }
}

fn vector(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

fn is_full(error: &io::Error) -> bool {
    let full = [libc::EAGAIN, libc::ENOBUFS, libc::ENOMEM];
    error
        .raw_os_error()
        .is_some_and(|code| full.contains(&code))
}

/// Calls again after a signal, and once more after an error that may belong to an earlier datagram.
fn retried(mut call: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let mut again = true;
    loop {
        let Err(error) = call() else {
            return Ok(());
        };
        if error.kind() == io::ErrorKind::Interrupted {
            continue;
        }
        if is_full(&error) || !again {
            return Err(error);
        }
        again = false;
    }
}

impl SendCounts {
    /// Counts the outcome of one datagram.
    pub fn record(&mut self, outcome: &io::Result<()>) {
        match outcome {
            Ok(()) => self.sent += 1,
            Err(error) => self.count(error, 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::recv::{Receiver, SlotLayout};
    use crate::sys::socket::{Purpose, UdpSocket};
    use std::os::fd::AsFd;

    const LAYOUT: SlotLayout = SlotLayout {
        stride: 2048,
        headroom: 0,
        tailroom: 0,
    };

    #[test]
    fn runs_to_one_receiver_arrive_as_the_datagrams_they_were() {
        let [a, b] = [(); 2].map(|()| bound("127.0.0.1:0"));
        let sender = bound("0.0.0.0:0");
        let source = Some("127.0.0.3".parse().expect("valid"));
        // Equal, equal, shorter (ends the run), longer, one for the other receiver, and back.
        let plan = [
            (900, &a),
            (900, &a),
            (100, &a),
            (1400, &a),
            (1400, &b),
            (1400, &a),
            (0, &a),
        ];
        let payload: Vec<u8> = (0..1400u32).map(|n| n as u8).collect();
        let datagrams = plan.iter().map(|(len, to)| Datagram {
            bytes: &payload[..*len],
            to: to.addr(),
            from: source,
        });
        let mut counts = SendCounts::default();
        Sender::new().send(sender.as_fd(), datagrams, &mut counts);
        assert_eq!(counts.sent, plan.len() as u64);
        assert_eq!(drain(&a, &payload), [900, 900, 100, 1400, 1400, 0]);
        assert_eq!(drain(&b, &payload), [1400]);
    }

    /// Every length that fails is counted, and the others pass.
    #[test]
    fn a_datagram_that_is_too_long_costs_only_itself() {
        let receiver = bound("127.0.0.1:0");
        let sender = bound("127.0.0.1:0");
        let long = vec![7; 70_000];
        let datagrams = [10, 70_000, 20].map(|len| Datagram {
            bytes: &long[..len],
            to: receiver.addr(),
            from: None,
        });
        let mut counts = SendCounts::default();
        Sender::new().send(sender.as_fd(), datagrams.into_iter(), &mut counts);
        assert_eq!((counts.sent, counts.too_long), (2, 1));
        assert_eq!(drain(&receiver, &long), [10, 20]);
    }

    /// The answer to an earlier datagram (ICMP port unreachable) does not cost the next one.
    #[test]
    fn a_refusal_of_an_earlier_datagram_loses_nothing() {
        let gone = bound("127.0.0.1:0").addr();
        let receiver = bound("127.0.0.1:0");
        let sender = UdpSocket::bind("127.0.0.1:0".parse().expect("valid"), Purpose::Relay);
        let sender = sender.expect("bound");
        let mut calls = Sender::new();
        let to = |to| Datagram {
            bytes: b"hello",
            to,
            from: None,
        };
        for _ in 0..3 {
            calls.send_one(sender.as_fd(), &to(gone)).expect("sent");
            calls
                .send_one(sender.as_fd(), &to(receiver.addr()))
                .expect("sent");
            let mut counts = SendCounts::default();
            let pair = [gone, receiver.addr()].map(to);
            calls.send(sender.as_fd(), pair.into_iter(), &mut counts);
            assert_eq!(counts.sent, 2);
        }
        assert_eq!(drain(&receiver, b"hello"), [5; 6]);
    }

    #[test]
    fn pieces_are_sent_apart_when_the_kernel_does_not_cut() {
        let receiver = bound("127.0.0.1:0");
        let sender = bound("0.0.0.0:0");
        let payload = [9; 300];
        for from in [None, Some("127.0.0.4".parse().expect("valid"))] {
            let mut calls = Sender::new();
            let mut datagrams = [300, 300, 44]
                .map(|len| Datagram {
                    bytes: &payload[..len],
                    to: receiver.addr(),
                    from,
                })
                .into_iter()
                .peekable();
            assert_eq!(calls.fill(&mut datagrams), 1);
            let mut counts = SendCounts::default();
            let refusal = io::Error::from_raw_os_error(libc::EIO);
            calls.send_apart(sender.as_fd(), 0, &refusal, &mut counts);
            assert_eq!(counts.sent, 3);
            assert!(!calls.segmenting);
            assert_eq!(drain(&receiver, &payload), [300, 300, 44]);
        }
    }

    fn bound(addr: &str) -> UdpSocket {
        UdpSocket::bind(addr.parse().expect("valid"), Purpose::Listener).expect("bound")
    }

    /// Lengths of what has arrived; each datagram must be a beginning of `payload`.
    fn drain(socket: &UdpSocket, payload: &[u8]) -> Vec<usize> {
        let mut slots = vec![0; LAYOUT.stride * BATCH_MAX];
        let mut batch = Receiver::new();
        let mut lengths = Vec::new();
        while let Ok(n) = batch.receive(socket.as_fd(), &mut slots, LAYOUT) {
            for (index, slot) in slots.chunks(LAYOUT.stride).take(n).enumerate() {
                let got = batch.get(index).expect("an IP datagram");
                assert_eq!(slot[..got.len], payload[..got.len]);
                lengths.push(got.len);
            }
        }
        lengths
    }
}
