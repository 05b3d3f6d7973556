//! Control messages (`cmsg(3)`): packet information, drop counts, extended errors, segment sizes.
//!
//! Written and read as bytes, so no pointer is followed; a malformed or cut list simply ends.

use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

const HEADER_LEN: usize = mem::size_of::<libc::cmsghdr>();
const ALIGN: usize = mem::align_of::<libc::cmsghdr>();
const LEVEL_AT: usize = mem::offset_of!(libc::cmsghdr, cmsg_level);
const TYPE_AT: usize = mem::offset_of!(libc::cmsghdr, cmsg_type);

/// Enough for packet information of either family, a drop count and a segment size, in bytes.
pub(super) const LEN_MAX: usize = 128;

/// A control buffer, aligned as the kernel wants it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct Control {
    bytes: [u8; LEN_MAX],
    len: usize,
}

const _: () = assert!(mem::align_of::<Control>() >= ALIGN && HEADER_LEN.is_multiple_of(ALIGN));

impl Control {
    /// Bytes that `push_segment_size` adds.
    pub(super) const SEGMENT_SIZE_LEN: usize = aligned(HEADER_LEN + mem::size_of::<u16>());

    pub(super) const fn empty() -> Self {
        Self {
            bytes: [0; LEN_MAX],
            len: 0,
        }
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.bytes.as_mut_ptr().cast()
    }

    /// Bytes written by `push_*`.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Lets a datagram leave from this address (`IP_PKTINFO`, `IPV6_PKTINFO`).
    pub(super) fn push_source(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(v4) => {
                // in_pktinfo: interface index, the local address to send from, the header's destination.
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&v4.octets());
                self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            IpAddr::V6(v6) => {
                // in6_pktinfo: address, interface index.
                let mut info = [0; 20];
                info[..16].copy_from_slice(&v6.octets());
                self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }
    }

    /// Lets the kernel cut the message into datagrams of this many bytes (UDP GSO).
    pub(super) fn push_segment_size(&mut self, bytes: u16) {
        self.push(libc::SOL_UDP, libc::UDP_SEGMENT, &bytes.to_ne_bytes());
    }

    /// Gives the receiver a descriptor of its own (`SCM_RIGHTS`, unix(7)).
    pub(super) fn push_descriptor(&mut self, fd: BorrowedFd<'_>) {
        let number = fd.as_raw_fd().to_ne_bytes();
        self.push(libc::SOL_SOCKET, libc::SCM_RIGHTS, &number);
    }

    #[cfg(test)]
    pub(super) fn copy_from(&mut self, bytes: &[u8; LEN_MAX]) {
        self.bytes = *bytes;
    }

    /// What `push_*` has written.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }

    fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let at = self.len;
        let end = at + aligned(HEADER_LEN + data.len());
        debug_assert!(end <= LEN_MAX, "two short messages fit");
        let Some(room) = self.bytes.get_mut(at..end) else {
            return;
        };
        room.fill(0);
        room[..mem::size_of::<usize>()].copy_from_slice(&(HEADER_LEN + data.len()).to_ne_bytes());
        room[LEVEL_AT..LEVEL_AT + 4].copy_from_slice(&level.to_ne_bytes());
        room[TYPE_AT..TYPE_AT + 4].copy_from_slice(&kind.to_ne_bytes());
        room[HEADER_LEN..HEADER_LEN + data.len()].copy_from_slice(data);
        self.len = end;
    }

    /// The messages in the first `len` bytes, as the kernel left them.
    pub(super) fn messages(&self, len: usize) -> Messages<'_> {
        Messages {
            rest: self.bytes.get(..len).unwrap_or(&self.bytes),
        }
    }
}

pub(super) struct Messages<'a> {
    rest: &'a [u8],
}

/// One control message: level, type, data.
pub(super) struct Message<'a> {
    pub level: i32,
    pub kind: i32,
    pub data: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let header = self.rest.get(..HEADER_LEN)?;
        let len = usize::from_ne_bytes(*header.first_chunk()?);
        let level = i32::from_ne_bytes(*header.get(LEVEL_AT..)?.first_chunk()?);
        let kind = i32::from_ne_bytes(*header.get(TYPE_AT..)?.first_chunk()?);
        let data = self.rest.get(HEADER_LEN..len)?;
        self.rest = self.rest.get(aligned(len)..).unwrap_or(&[]);
        Some(Message { level, kind, data })
    }
}

impl Message<'_> {
    /// The local address that a datagram was sent to.
    pub(super) fn local_ip(&self) -> Option<IpAddr> {
        match (self.level, self.kind) {
            // The local address of the route, which is also right for a broadcast.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let octets: [u8; 4] = *self.data.get(4..)?.first_chunk()?;
                Some(Ipv4Addr::from(octets).into())
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let octets: [u8; 16] = *self.data.first_chunk()?;
                Some(Ipv6Addr::from(octets).into())
            }
            _ => None,
        }
    }

    /// Datagrams that the socket's full receive buffer has cost so far (`SO_RXQ_OVFL`; wraps).
    pub(super) fn overflow(&self) -> Option<u32> {
        if (self.level, self.kind) != (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) {
            return None;
        }
        Some(u32::from_ne_bytes(*self.data.first_chunk()?))
    }

    /// Length of each datagram but the last of a message that is a merged run (`UDP_GRO`).
    pub(super) fn segment_len(&self) -> Option<usize> {
        if (self.level, self.kind) != (libc::SOL_UDP, libc::UDP_GRO) {
            return None;
        }
        usize::try_from(i32::from_ne_bytes(*self.data.first_chunk()?)).ok()
    }
}

const fn aligned(len: usize) -> usize {
    len.saturating_add(ALIGN - 1) & !(ALIGN - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        let mut control = Control::empty();
        let source: IpAddr = "2001:db8::7".parse().expect("valid");
        control.push_source(source);
        control.push_segment_size(1200);
        let messages: Vec<_> = control.messages(control.len()).collect();
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0].local_ip(), Some(source));
        assert_eq!(messages[1].data, 1200u16.to_ne_bytes());
        assert_eq!(messages[1].local_ip(), None);
    }

    #[test]
    fn lists_that_are_cut_or_lie_about_a_length_end_there() {
        let mut control = Control::empty();
        control.push_segment_size(7);
        for len in 0..control.len() - 8 {
            assert_eq!(control.messages(len).count(), 0, "{len}");
        }
        for length in [0usize, 3, usize::MAX, LEN_MAX + 1] {
            control.bytes[..8].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(control.messages(LEN_MAX).count(), 0, "{length}");
        }
    }
}
