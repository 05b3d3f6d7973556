//! The error queue of a UDP socket (`IP_RECVERR`, `IPV6_RECVERR`): ICMP errors for what was sent.

use crate::sys::control::Control;
use crate::sys::name::Name;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Who found the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This machine, while sending: a datagram with DF that is longer than the path takes.
    Local,
    Icmp,
    Icmp6,
}

/// One entry of the error queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketError {
    /// Where the datagram that caused it was sent.
    pub peer: SocketAddr,
    pub origin: Origin,
    /// ICMP type and code; 0 for `Origin::Local`.
    pub kind: u8,
    pub code: u8,
    pub errno: i32,
    /// The MTU of the path for "fragmentation needed" and "packet too big", in bytes.
    pub info: u32,
}

/// Takes the oldest entry; `Ok(None)` when the queue is empty or the entry is of no use to us.
///
/// An entry without an origin that we know counts as taken: call again while it returns `Ok`.
pub fn take_error(socket: BorrowedFd<'_>) -> io::Result<Option<SocketError>> {
    let mut name = Name::empty();
    let mut control = Control::empty();
    // The start of the datagram that caused the error is not needed.
    let mut vector = libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    };
    // SAFETY: a header of null pointers and zero lengths is valid.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = Name::LEN_MAX;
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr();
    header.msg_controllen = super::control::LEN_MAX as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: every pointer of `header` leads to a local that outlives the call, with its true length.
    let rc = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    #[allow(
        clippy::unnecessary_cast,
        reason = "the type differs between C libraries"
    )]
    let control_len = header.msg_controllen as usize;
    let Some(peer) = name.get(header.msg_namelen) else {
        return Ok(None);
    };
    let mut messages = control.messages(control_len);
    let entry = messages.find_map(|message| match (message.level, message.kind) {
        (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
            parse(peer, message.data)
        }
        _ => None,
    });
    Ok(entry)
}

/// `sock_extended_err`: errno, origin, type, code, padding, info, data.
fn parse(peer: SocketAddr, data: &[u8]) -> Option<SocketError> {
    let fixed: &[u8; 16] = data.first_chunk()?;
    let origin = match fixed[4] {
        libc::SO_EE_ORIGIN_LOCAL => Origin::Local,
        libc::SO_EE_ORIGIN_ICMP => Origin::Icmp,
        libc::SO_EE_ORIGIN_ICMP6 => Origin::Icmp6,
        _ => return None,
    };
    Some(SocketError {
        peer,
        origin,
        kind: fixed[5],
        code: fixed[6],
        errno: i32::from_ne_bytes([fixed[0], fixed[1], fixed[2], fixed[3]]),
        info: u32::from_ne_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
    })
}
