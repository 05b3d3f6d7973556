//! Receiving many datagrams by one call (`recvmmsg(2)`).
//!
//! Datagrams land in slots that the caller lays out, each with headroom for a header to be written in front.
//! One that is longer than its slot is rare (jumbo frames, reassembled fragments): its tail goes to a spill
//! area and the whole is put together on request, so slots stay small and the common case is not copied.

use crate::sys::control::{self, Control};
use crate::sys::name::Name;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Most datagrams of one call.
pub const BATCH_MAX: usize = 64;

/// Longest UDP payload, in bytes.
pub const DATAGRAM_LEN_MAX: usize = 65535 - 8;

/// How slots follow each other in the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotLayout {
    /// From one slot to the next, in bytes.
    pub stride: usize,
    /// Bytes before the payload.
    pub headroom: usize,
    /// Bytes after the longest payload that fits, for padding.
    pub tailroom: usize,
}

impl SlotLayout {
    pub const fn payload_max(self) -> usize {
        self.stride - self.headroom - self.tailroom
    }
}

/// One received datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Payload, in bytes; may be more than the slot holds, see [`Receiver::whole`].
    pub len: usize,
    pub from: SocketAddr,
    /// The address it was sent to, where the socket reports it.
    pub local_ip: Option<IpAddr>,
    /// What the full receive buffer has cost this socket so far; absent means nothing.
    pub overflow: Option<u32>,
    /// It is a run of datagrams, each of this length but the last, which may be shorter.
    pub segment_len: Option<usize>,
}

impl Received {
    /// The datagrams that it consists of; one, if it is no run.
    pub fn parts(&self) -> impl ExactSizeIterator<Item = Range<usize>> + use<> {
        let len = self.len;
        let step = self.segment_len.filter(|step| *step > 0).unwrap_or(len);
        let starts = (0..len.max(1)).step_by(step.max(1));
        starts.map(move |start| start..len.min(start + step))
    }
}

/// Receives one datagram by the cheapest call, without waiting; its length and sender. What is longer than `buffer` is cut.
pub fn one(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    let mut name = Name::empty();
    let mut name_len = Name::LEN_MAX;
    // SAFETY: buffer and name are borrowed through the call, with their true lengths.
    let n = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT,
            (&raw mut name).cast(),
            &raw mut name_len,
        )
    };
    if n < 0 {
        return Err(io::Error::last_os_error());
    }
    let from = name.get(name_len);
    let from = from.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok((n as usize, from))
}

/// The arrays that `recvmmsg` fills; one for each worker.
pub struct Receiver {
    headers: Box<[libc::mmsghdr; BATCH_MAX]>,
    vectors: Box<[[libc::iovec; 2]; BATCH_MAX]>,
    names: Box<[Name; BATCH_MAX]>,
    controls: Box<[Control; BATCH_MAX]>,
    /// Touched only by long datagrams and by merged runs, so it stays unbacked by memory until then.
    spill: Vec<u8>,
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}

impl Receiver {
    pub fn new() -> Self {
        let null = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        // SAFETY: a header of null pointers and zero lengths is valid.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        Self {
            headers: Box::new([header; BATCH_MAX]),
            vectors: Box::new([[null; 2]; BATCH_MAX]),
            names: Box::new([Name::empty(); BATCH_MAX]),
            controls: Box::new([Control::empty(); BATCH_MAX]),
            spill: vec![0; BATCH_MAX * DATAGRAM_LEN_MAX],
        }
    }

    /// Receives into as many slots as `slots` holds, [`BATCH_MAX`] at most, without waiting.
    pub fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        slots: &mut [u8],
        layout: SlotLayout,
    ) -> io::Result<usize> {
        let mut count = 0;
        let slots = slots.chunks_exact_mut(layout.stride);
        let spills = self.spill.chunks_exact_mut(DATAGRAM_LEN_MAX);
        for ((slot, spill), header) in slots.zip(spills).zip(self.headers.iter_mut()) {
            let vectors = &mut self.vectors[count];
            let payload = &mut slot[layout.headroom..layout.stride - layout.tailroom];
            vectors[0].iov_base = payload.as_mut_ptr().cast();
            vectors[0].iov_len = payload.len();
            vectors[1].iov_base = spill.as_mut_ptr().cast();
            vectors[1].iov_len = spill.len();
            let header = &mut header.msg_hdr;
            header.msg_name = (&raw mut self.names[count]).cast();
            header.msg_namelen = Name::LEN_MAX;
            header.msg_iov = vectors.as_mut_ptr();
            header.msg_iovlen = vectors.len() as _;
            header.msg_control = self.controls[count].as_mut_ptr();
            header.msg_controllen = control::LEN_MAX as _;
            count += 1;
        }
        // SAFETY: `count` headers are set up, with true lengths; slots are borrowed through the call, names, controls and
        // spills are arrays of `self`; none of them overlap.
        unsafe { self.call(socket, count) }
    }

    /// Receives up to `count` messages, [`BATCH_MAX`] at most, without waiting; runs may come merged. They lie in
    /// buffers of the receiver's own, see [`merged`](Self::merged).
    pub fn receive_merged(&mut self, socket: BorrowedFd<'_>, count: usize) -> io::Result<usize> {
        let count = count.min(BATCH_MAX);
        let buffers = self.spill.chunks_exact_mut(DATAGRAM_LEN_MAX);
        for (at, (buffer, header)) in buffers.zip(self.headers.iter_mut()).take(count).enumerate() {
            let vector = &mut self.vectors[at][0];
            vector.iov_base = buffer.as_mut_ptr().cast();
            vector.iov_len = buffer.len();
            let header = &mut header.msg_hdr;
            header.msg_name = (&raw mut self.names[at]).cast();
            header.msg_namelen = Name::LEN_MAX;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_control = self.controls[at].as_mut_ptr();
            header.msg_controllen = control::LEN_MAX as _;
        }
        // SAFETY: `count` headers are set up, with true lengths; buffers, names and controls are parts of `self` and do not
        // overlap.
        unsafe { self.call(socket, count) }
    }

    /// Receives into the first `count` headers, all of whose pointers must lead to memory that is borrowed for writing
    /// through the call, with true lengths.
    unsafe fn call(&mut self, socket: BorrowedFd<'_>, count: usize) -> io::Result<usize> {
        // SAFETY: the caller has set the headers up, and they live through the call.
        let n = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        if n < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(n as usize)
    }

    /// The datagram at `index` of the last call; `None` where the kernel named no IP sender.
    #[allow(
        clippy::unnecessary_cast,
        reason = "the types differ between C libraries"
    )]
    pub fn get(&self, index: usize) -> Option<Received> {
        let header = self.headers.get(index)?;
        let from = self.names[index].get(header.msg_hdr.msg_namelen)?;
        let mut received = Received {
            len: header.msg_len as usize,
            from,
            local_ip: None,
            overflow: None,
            segment_len: None,
        };
        let control_len = header.msg_hdr.msg_controllen as usize;
        for message in self.controls[index].messages(control_len) {
            received.local_ip = received.local_ip.or_else(|| message.local_ip());
            received.overflow = received.overflow.or_else(|| message.overflow());
            received.segment_len = received.segment_len.or_else(|| message.segment_len());
        }
        Some(received)
    }

    /// A part of the message at `index` of the last [`receive_merged`](Self::receive_merged).
    pub fn merged(&self, index: usize, part: Range<usize>) -> &[u8] {
        let start = index * DATAGRAM_LEN_MAX;
        &self.spill[start + part.start..start + part.end]
    }

    /// Length of the message at `index` of the last call, from a socket whose messages have no IP sender.
    pub fn length(&self, index: usize) -> usize {
        self.headers
            .get(index)
            .map_or(0, |header| header.msg_len as usize)
    }

    /// Puts a datagram together that was longer than its slot: `head` is what the slot holds.
    ///
    /// The result has the layout's headroom in front and its tailroom behind.
    pub fn whole(&self, index: usize, head: &[u8], len: usize, layout: SlotLayout) -> Vec<u8> {
        let tail_len = len.saturating_sub(head.len()).min(DATAGRAM_LEN_MAX);
        let at = index * DATAGRAM_LEN_MAX;
        let tail = &self.spill[at..at + tail_len];
        let mut whole = Vec::with_capacity(layout.headroom + len + layout.tailroom);
        whole.resize(layout.headroom, 0);
        whole.extend_from_slice(head);
        whole.extend_from_slice(tail);
        whole.resize(whole.len() + layout.tailroom, 0);
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::send::{Datagram, SendCounts, Sender};
    use crate::sys::socket::{Purpose, UdpSocket};
    use std::os::fd::AsFd;

    const LAYOUT: SlotLayout = SlotLayout {
        stride: 256,
        headroom: 64,
        tailroom: 4,
    };

    #[test]
    fn one_datagram_arrives_with_its_sender_and_nothing_is_waited_for() {
        for ip in ["127.0.0.1:0", "[::1]:0"] {
            let bind = |purpose| UdpSocket::bind(ip.parse().expect("valid"), purpose);
            let receiver = bind(Purpose::Listener).expect("bound");
            let sender = bind(Purpose::Relay).expect("bound");
            let bytes = vec![7; 65_507];
            for len in [0, 1, 65_507] {
                let datagram = Datagram {
                    bytes: &bytes[..len],
                    to: receiver.addr(),
                    from: None,
                };
                let sent = Sender::new().send_one(sender.as_fd(), &datagram);
                sent.expect("sent");
                let mut buffer = vec![0; DATAGRAM_LEN_MAX];
                let received = one(receiver.as_fd(), &mut buffer).expect("received");
                assert_eq!(received, (len, sender.addr()));
                assert!(buffer[..len] == bytes[..len]);
            }
            let empty = one(receiver.as_fd(), &mut [0; 10]);
            assert_eq!(
                empty.map_err(|error| error.kind()),
                Err(io::ErrorKind::WouldBlock)
            );
        }
    }

    #[test]
    fn a_batch_arrives_whole_in_order_and_behind_its_headroom() {
        let receiver = UdpSocket::bind(loopback(), Purpose::Listener).expect("bound");
        let sender = UdpSocket::bind(loopback(), Purpose::Relay).expect("bound");
        let payloads: Vec<Vec<u8>> = (0..100u8).map(|n| vec![n; usize::from(n) + 1]).collect();
        let datagrams = payloads.iter().map(|bytes| Datagram {
            bytes,
            to: receiver.addr(),
            from: None,
        });
        let mut counts = SendCounts::default();
        Sender::new().send(sender.as_fd(), datagrams, &mut counts);
        assert_eq!(counts.sent, 100);

        let mut slots = vec![0; LAYOUT.stride * BATCH_MAX];
        let mut batch = Receiver::new();
        let mut seen = 0;
        while seen < payloads.len() {
            let n = batch
                .receive(receiver.as_fd(), &mut slots, LAYOUT)
                .expect("received");
            for (index, slot) in slots.chunks(LAYOUT.stride).take(n).enumerate() {
                let got = batch.get(index).expect("an IP datagram");
                assert_eq!(got.from, sender.addr());
                assert_eq!(slot[64..64 + got.len], payloads[seen]);
                seen += 1;
            }
        }
        let empty = batch.receive(receiver.as_fd(), &mut slots, LAYOUT);
        assert_eq!(
            empty.map_err(|error| error.kind()),
            Err(io::ErrorKind::WouldBlock)
        );
    }

    #[test]
    fn a_datagram_longer_than_its_slot_is_put_together() {
        let receiver = UdpSocket::bind(loopback(), Purpose::Listener).expect("bound");
        let sender = UdpSocket::bind(loopback(), Purpose::Relay).expect("bound");
        let long: Vec<u8> = (0..65_507u32).map(|n| n as u8).collect();
        let datagram = Datagram {
            bytes: &long,
            to: receiver.addr(),
            from: None,
        };
        Sender::new()
            .send_one(sender.as_fd(), &datagram)
            .expect("sent");
        let mut slots = vec![0; LAYOUT.stride];
        let mut batch = Receiver::new();
        let n = batch
            .receive(receiver.as_fd(), &mut slots, LAYOUT)
            .expect("received");
        assert_eq!(n, 1);
        let got = batch.get(0).expect("an IP datagram");
        assert_eq!(got.len, long.len());
        let head = &slots[LAYOUT.headroom..LAYOUT.headroom + LAYOUT.payload_max()];
        let whole = batch.whole(0, head, got.len, LAYOUT);
        assert_eq!(whole[LAYOUT.headroom..LAYOUT.headroom + long.len()], long);
        assert_eq!(whole.len(), LAYOUT.headroom + long.len() + LAYOUT.tailroom);
    }

    #[test]
    fn a_run_arrives_merged_and_is_told_apart_to_the_byte() {
        for ip in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
            let bind = |purpose| UdpSocket::bind(ip.parse().expect("valid"), purpose);
            let receiver = bind(Purpose::Listener).expect("bound");
            assert_eq!(receiver.merges_runs().ok(), Some(false));
            receiver.merge_runs().expect("Linux 5.0");
            assert_eq!(receiver.merges_runs().ok(), Some(true));
            let sender = UdpSocket::bind(ip.parse().expect("valid"), Purpose::Relay);
            let sender = sender.expect("bound");
            let to = match receiver.addr() {
                addr if addr.ip().is_unspecified() => {
                    SocketAddr::from(([127, 0, 0, 5], addr.port()))
                }
                addr => addr,
            };
            let bytes: Vec<u8> = (0..65_507u32).map(|n| (n % 251) as u8).collect();
            // Sent by one call: a run that ends with a shorter one, one alone, an empty one, the longest, a run of two.
            let lengths = [1200, 1200, 1200, 7, 500, 0, 65_507, 900, 900];
            let datagrams = lengths.map(|len| Datagram {
                bytes: &bytes[..len],
                to,
                from: None,
            });
            let mut counts = SendCounts::default();
            Sender::new().send(sender.as_fd(), datagrams.into_iter(), &mut counts);
            assert_eq!(counts.sent, lengths.len() as u64);
            let mut batch = Receiver::new();
            let mut seen = Vec::new();
            let mut messages = 0;
            while let Ok(count) = batch.receive_merged(receiver.as_fd(), 2) {
                for at in 0..count {
                    let received = batch.get(at).expect("an IP datagram");
                    assert_eq!(received.from.port(), sender.addr().port());
                    let asked = receiver.addr().ip().is_unspecified().then(|| to.ip());
                    assert_eq!(received.local_ip, asked);
                    messages += 1;
                    for part in received.parts() {
                        let part = batch.merged(at, part);
                        assert!(*part == bytes[..part.len()]);
                        seen.push(part.len());
                    }
                }
            }
            assert_eq!(seen, lengths);
            assert!(messages < lengths.len(), "nothing was merged");
        }
    }

    #[test]
    fn a_message_has_the_parts_that_the_kernel_says() {
        let lengths = |len, segment_len| -> Vec<usize> {
            let received = Received {
                len,
                from: loopback(),
                local_ip: None,
                overflow: None,
                segment_len,
            };
            let parts: Vec<_> = received.parts().collect();
            assert_eq!(received.parts().len(), parts.len());
            let ends = parts.iter().map(|part| part.end);
            let starts = parts.iter().map(|part| part.start);
            assert!(starts.eq(std::iter::once(0).chain(ends).take(parts.len())));
            parts.iter().map(Range::len).collect()
        };
        assert_eq!(lengths(0, None), [0]);
        assert_eq!(lengths(0, Some(5)), [0]);
        assert_eq!(lengths(9, None), [9]);
        assert_eq!(lengths(9, Some(0)), [9]);
        assert_eq!(lengths(9, Some(20)), [9]);
        assert_eq!(lengths(9, Some(3)), [3, 3, 3]);
        assert_eq!(lengths(10, Some(4)), [4, 4, 2]);
    }

    #[test]
    fn what_a_full_buffer_has_cost_is_told_with_a_later_datagram() {
        let receiver = UdpSocket::bind(loopback(), Purpose::Listener).expect("bound");
        let sender = UdpSocket::bind(loopback(), Purpose::Relay).expect("bound");
        receiver.set_buffers(8 << 10).expect("set");
        let datagram = Datagram {
            bytes: &[7; 150],
            to: receiver.addr(),
            from: None,
        };
        let mut calls = Sender::new();
        let mut batch = Receiver::new();
        let mut slots = vec![0; LAYOUT.stride * BATCH_MAX];
        let mut counts = SendCounts::default();
        calls.send(
            sender.as_fd(),
            std::iter::repeat_n(datagram, 500),
            &mut counts,
        );
        let mut received = 0;
        while let Ok(n) = batch.receive(receiver.as_fd(), &mut slots, LAYOUT) {
            received += n as u64;
        }
        calls.send_one(sender.as_fd(), &datagram).expect("sent");
        let n = batch
            .receive(receiver.as_fd(), &mut slots, LAYOUT)
            .expect("received");
        assert_eq!(n, 1);
        let told = batch.get(0).and_then(|got| got.overflow).expect("told");
        assert_eq!(u64::from(told), counts.sent - received);
        assert_eq!(
            receiver.overflow(),
            told,
            "who takes the socket over goes on from there"
        );
    }

    fn loopback() -> SocketAddr {
        "127.0.0.1:0".parse().expect("valid")
    }
}
