//! UDP sockets and their options.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Datagrams that are thrown away at once, at most: nobody can keep us busy with it.
const DISCARDED_MAX: usize = 65_536;

/// A UDP socket that never blocks.
pub struct UdpSocket {
    socket: Socket,
    addr: SocketAddr,
}

/// What a UDP socket is for, which decides its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Receives from clients; the first of its address, so the port must be free.
    Listener,
    /// Shares the port of a `Listener` that was bound before it (SO_REUSEPORT).
    SharedListener,
    /// Receives from peers; ICMP errors are queued.
    Relay,
}

impl UdpSocket {
    /// Binds `addr`. An IPv6 socket takes no IPv4 traffic; DF is not set on what is sent.
    pub fn bind(addr: SocketAddr, purpose: Purpose) -> io::Result<Self> {
        let domain = Domain::for_address(addr);
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket = Socket::new_raw(domain, kind, Some(Protocol::UDP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if purpose == Purpose::SharedListener {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&addr.into())?;
        let bound = socket.local_addr()?.as_socket();
        let addr = bound.ok_or_else(|| io::Error::other("the socket has no IP address"))?;
        let socket = Self { socket, addr };
        socket.set_options(purpose)?;
        Ok(socket)
    }

    /// Takes a bound socket of somebody else's as a listener.
    pub fn adopt(socket: Socket, addr: SocketAddr) -> io::Result<Self> {
        let socket = Self { socket, addr };
        socket.set_options(Purpose::Listener)?;
        Ok(socket)
    }

    /// Takes a bound relay socket of another process.
    pub fn adopt_relay(socket: Socket, addr: SocketAddr) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let socket = Self { socket, addr };
        socket.set_options(Purpose::Relay)?;
        Ok(socket)
    }

    /// What its full receive buffer has cost so far, in datagrams: what `SO_RXQ_OVFL` counts on from.
    pub fn overflow(&self) -> u32 {
        /// Place of the drops in the kernel's answer (`SK_MEMINFO_DROPS`).
        const DROPS: usize = 8;
        let mut info = [0u32; 16];
        let mut len = std::mem::size_of_val(&info) as libc::socklen_t;
        let pointer = info.as_mut_ptr().cast();
        let fd = self.socket.as_raw_fd();
        // SAFETY: the kernel writes at most `len` bytes to `info`, which lives through the call.
        let rc = unsafe {
            libc::getsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                pointer,
                &raw mut len,
            )
        };
        // An older kernel does not tell; its first report counts whole then.
        if rc < 0 { 0 } else { info[DROPS] }
    }

    /// Has runs of datagrams handed over merged from here on (`UDP_GRO`, Linux 5.0).
    pub fn merge_runs(&self) -> io::Result<()> {
        set(self.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 1)
    }

    /// Whether [`merge_runs`](Self::merge_runs) was asked for, here or in another process that has this socket.
    ///
    /// An error where the kernel does not tell: before Linux 5.12 and in some later 5.x.
    pub fn merges_runs(&self) -> io::Result<bool> {
        let mut value = 0i32;
        let mut len = std::mem::size_of_val(&value) as libc::socklen_t;
        let pointer = (&raw mut value).cast();
        let fd = self.socket.as_raw_fd();
        // SAFETY: the kernel writes at most `len` bytes to `value`, which lives through the call.
        let rc =
            unsafe { libc::getsockopt(fd, libc::SOL_UDP, libc::UDP_GRO, pointer, &raw mut len) };
        if rc < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(value != 0)
    }

    /// Has what is sent cut into datagrams of `bytes` (`UDP_SEGMENT`): as runs from another machine arrive.
    #[cfg(test)]
    pub fn cut_what_is_sent(fd: BorrowedFd<'_>, bytes: u16) -> io::Result<()> {
        set(fd, libc::SOL_UDP, libc::UDP_SEGMENT, i32::from(bytes))
    }

    /// Whether others may bind its address beside it (SO_REUSEPORT).
    pub fn is_shared(&self) -> io::Result<bool> {
        self.socket.reuse_port()
    }

    fn set_options(&self, purpose: Purpose) -> io::Result<()> {
        let fd = self.as_fd();
        set(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
        if self.addr.is_ipv6() {
            let dont = libc::IPV6_PMTUDISC_DONT;
            set(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, dont)?;
        } else {
            let dont = libc::IP_PMTUDISC_DONT;
            set(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, dont)?;
        }
        match purpose {
            Purpose::Listener | Purpose::SharedListener if self.addr.ip().is_unspecified() => {
                self.receive_packet_info()
            }
            Purpose::Listener | Purpose::SharedListener => Ok(()),
            Purpose::Relay if self.addr.is_ipv6() => {
                set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)
            }
            Purpose::Relay => set(fd, libc::IPPROTO_IP, libc::IP_RECVERR, 1),
        }
    }

    fn receive_packet_info(&self) -> io::Result<()> {
        if self.addr.is_ipv6() {
            return set(self.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1);
        }
        set(self.as_fd(), libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
    }

    /// Lets `SharedListener`s bind this socket's port from here on.
    ///
    /// It was bound without this, so no other process shared the port before us; a bind with it would have
    /// joined any other process of the same user in silence.
    pub fn share_port(&self) -> io::Result<()> {
        self.socket.set_reuse_port(true)
    }

    /// The address as bound, with its real port.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Asks for receive and send buffers of `bytes` and returns what the smaller one became, in bytes.
    ///
    /// The privileged way past `net.core.rmem_max` is tried first. The kernel doubles a value for its own
    /// book-keeping; the answer is in the caller's terms, undoubled.
    pub fn set_buffers(&self, bytes: usize) -> io::Result<usize> {
        let wanted = i32::try_from(bytes).unwrap_or(i32::MAX / 2);
        let fd = self.as_fd();
        if set(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, wanted).is_err() {
            self.socket.set_recv_buffer_size(bytes)?;
        }
        if set(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, wanted).is_err() {
            self.socket.set_send_buffer_size(bytes)?;
        }
        let receive = self.socket.recv_buffer_size()?;
        let send = self.socket.send_buffer_size()?;
        Ok(receive.min(send) / 2)
    }

    /// Sets or clears the DF bit (IPv6: forbids fragmenting here) for what is sent from here on.
    ///
    /// A datagram that is too long then fails with EMSGSIZE and is reported in the error queue.
    pub fn set_dont_fragment(&self, dont_fragment: bool) -> io::Result<()> {
        let fd = self.as_fd();
        if self.addr.is_ipv6() {
            let discover = if dont_fragment {
                libc::IPV6_PMTUDISC_DO
            } else {
                libc::IPV6_PMTUDISC_DONT
            };
            set(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, discover)?;
            let forbid = i32::from(dont_fragment);
            return set(fd, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, forbid);
        }
        let discover = if dont_fragment {
            libc::IP_PMTUDISC_DO
        } else {
            libc::IP_PMTUDISC_DONT
        };
        set(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, discover)
    }

    /// Throws away what has arrived so far.
    pub fn discard_received(&self) {
        // What does not fit is cut off: one byte takes a datagram of any length.
        for _ in 0..DISCARDED_MAX {
            if self.socket.recv(&mut [MaybeUninit::uninit()]).is_err() {
                return;
            }
        }
    }

    /// Takes the pending error, if any, so that it is not reported again.
    pub fn take_pending_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.take_error()
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

pub(super) fn set(fd: BorrowedFd<'_>, level: i32, option: i32, value: i32) -> io::Result<()> {
    let len = std::mem::size_of::<i32>() as libc::socklen_t;
    let pointer = (&raw const value).cast();
    // SAFETY: `value` is valid for reading its four bytes through the call, and the descriptor is open.
    let rc = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, pointer, len) };
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::epoll::{Epoll, Events, Interest};
    use crate::sys::errors::{Origin, take_error};
    use crate::sys::send::{Datagram, Sender};

    fn local(text: &str, purpose: Purpose) -> UdpSocket {
        UdpSocket::bind(text.parse().expect("valid"), purpose).expect("bound")
    }

    #[test]
    fn a_port_is_shared_only_after_its_owner_says_so() {
        let first = local("127.0.0.1:0", Purpose::Listener);
        let refused = UdpSocket::bind(first.addr(), Purpose::SharedListener);
        let kind = refused.map(|_| ()).map_err(|error| error.kind());
        assert_eq!(kind, Err(io::ErrorKind::AddrInUse));
        first.share_port().expect("shared");
        let second = UdpSocket::bind(first.addr(), Purpose::SharedListener).expect("bound");
        assert_eq!(second.addr(), first.addr());
        let stranger = UdpSocket::bind(first.addr(), Purpose::Listener).map(|_| ());
        assert!(stranger.is_err(), "only those who share may share");
    }

    #[test]
    fn buffers_are_reported_as_they_became() {
        let socket = local("127.0.0.1:0", Purpose::Listener);
        let small = socket.set_buffers(64 << 10).expect("set");
        assert_eq!(small, 64 << 10);
        let huge = socket.set_buffers(usize::MAX).expect("set");
        assert!(huge < usize::MAX);
    }

    /// A datagram to a closed port comes back as an ICMP error with the peer's address.
    #[test]
    fn a_refusal_arrives_in_the_error_queue() {
        for ip in ["127.0.0.1", "[::1]"] {
            let closed = local(&format!("{ip}:0"), Purpose::Relay).addr();
            let socket = local(&format!("{ip}:0"), Purpose::Relay);
            let epoll = Epoll::new().expect("epoll");
            epoll.add(socket.as_fd(), 1, Interest::Read).expect("added");
            let datagram = Datagram {
                bytes: b"anyone?",
                to: closed,
                from: None,
            };
            Sender::new()
                .send_one(socket.as_fd(), &datagram)
                .expect("sent");
            let mut events = Events::with_capacity(1);
            epoll.wait(&mut events, None).expect("waited");
            assert!(events.get(0).is_some_and(|event| event.error));
            let error = take_error(socket.as_fd()).expect("queued").expect("known");
            assert_eq!(error.peer, closed);
            assert_eq!(error.errno, libc::ECONNREFUSED);
            let unreachable = match error.origin {
                Origin::Icmp => (3, 3),
                Origin::Icmp6 => (1, 4),
                Origin::Local => (0, 0),
            };
            assert_eq!((error.kind, error.code), unreachable);
            let empty = take_error(socket.as_fd()).map_err(|error| error.kind());
            assert_eq!(empty, Err(io::ErrorKind::WouldBlock));
        }
    }

    /// Loopback takes 64 KiB, so DF makes no difference there; the options must be accepted all the same.
    #[test]
    fn dont_fragment_can_be_set_and_cleared_in_both_families() {
        for ip in ["127.0.0.1:0", "[::1]:0"] {
            let socket = local(ip, Purpose::Relay);
            socket.set_dont_fragment(true).expect("set");
            socket.set_dont_fragment(false).expect("cleared");
        }
    }
}
