//! Batched UDP io: sendmmsg/recvmmsg over preallocated buffers, IPv4.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::RawFd;

pub const MAX_MSG: usize = 2048;
const CTL: usize = 64;
/// Room for a run of datagrams that leave together.
const BUF: usize = 8 * MAX_MSG;

/// The datagrams of one entry: `segments` of them, `len` bytes each.
struct Run {
    to: SocketAddrV4,
    from: Option<Ipv4Addr>,
    len: usize,
    segments: usize,
}

/// Sets length and control messages of an entry: its source address, and where the kernel is to cut it.
///
/// # Safety
/// `msg_iov` points to an iovec, and `ctl` to `CTL` bytes that live as long as the header is used.
unsafe fn set_run(h: &mut libc::msghdr, run: &Run, ctl: *mut u64) {
    (*h.msg_iov).iov_len = run.len * run.segments;
    h.msg_control = ctl.cast();
    h.msg_controllen = CTL;
    let mut used = 0;
    let mut c = libc::CMSG_FIRSTHDR(h);
    if let Some(source) = run.from {
        (*c).cmsg_level = libc::IPPROTO_IP;
        (*c).cmsg_type = libc::IP_PKTINFO;
        (*c).cmsg_len = libc::CMSG_LEN(size_of::<libc::in_pktinfo>() as u32) as usize;
        let info = libc::CMSG_DATA(c) as *mut libc::in_pktinfo;
        *info = zeroed();
        (*info).ipi_spec_dst.s_addr = u32::from(source).to_be();
        used += libc::CMSG_SPACE(size_of::<libc::in_pktinfo>() as u32) as usize;
        c = (ctl as *mut u8).add(used).cast();
    }
    if run.segments > 1 {
        (*c).cmsg_level = libc::SOL_UDP;
        (*c).cmsg_type = libc::UDP_SEGMENT;
        (*c).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as usize;
        *(libc::CMSG_DATA(c) as *mut u16) = run.len as u16;
        used += libc::CMSG_SPACE(size_of::<u16>() as u32) as usize;
    }
    h.msg_controllen = used;
}

pub fn sockaddr(a: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: a.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(*a.ip()).to_be(),
        },
        sin_zero: [0; 8],
    }
}

pub fn from_sockaddr(a: &libc::sockaddr_in) -> SocketAddrV4 {
    SocketAddrV4::new(
        Ipv4Addr::from(u32::from_be(a.sin_addr.s_addr)),
        u16::from_be(a.sin_port),
    )
}

pub fn setsockopt(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: passes a valid int of the declared size.
    let rc = unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            &value as *const i32 as *const libc::c_void,
            size_of::<i32>() as u32,
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A UDP socket bound to `at`, with buffers forced to `buf` bytes (0: leave them).
pub fn udp_bind(at: SocketAddrV4, buf: i32) -> io::Result<RawFd> {
    // SAFETY: plain socket calls with valid arguments.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        if buf > 0 {
            let _ = setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, buf);
            let _ = setsockopt(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, buf);
        }
        let sa = sockaddr(at);
        if libc::bind(
            fd,
            &sa as *const _ as *const libc::sockaddr,
            size_of::<libc::sockaddr_in>() as u32,
        ) != 0
        {
            return Err(io::Error::last_os_error());
        }
        Ok(fd)
    }
}

pub fn local_addr(fd: RawFd) -> io::Result<SocketAddrV4> {
    // SAFETY: getsockname into a sockaddr_in of the right size.
    unsafe {
        let mut sa: libc::sockaddr_in = zeroed();
        let mut len = size_of::<libc::sockaddr_in>() as u32;
        if libc::getsockname(fd, &mut sa as *mut _ as *mut libc::sockaddr, &mut len) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(from_sockaddr(&sa))
    }
}

/// Datagrams that the kernel dropped at this socket, its buffer being full.
pub fn drops(fd: RawFd) -> u64 {
    // SK_MEMINFO_DROPS, the last of SO_MEMINFO's values (linux/sock_diag.h).
    const SO_MEMINFO: libc::c_int = 55;
    const DROPS: usize = 8;
    let mut values = [0u32; DROPS + 1];
    let mut len = size_of::<[u32; DROPS + 1]>() as u32;
    // SAFETY: getsockopt writes at most `len` bytes into `values`.
    let rc = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            SO_MEMINFO,
            values.as_mut_ptr().cast(),
            &mut len,
        )
    };
    if rc == 0 {
        u64::from(values[DROPS])
    } else {
        0
    }
}

/// Fixed arrays for one batch; the boxes never move, so the pointers stay good.
pub struct Batch {
    cap: usize,
    queued: usize,
    bufs: Box<[[u8; BUF]]>,
    join: bool,
    /// What the last entry holds.
    run: Run,
    addrs: Box<[libc::sockaddr_in]>,
    ctls: Box<[[u64; CTL / 8]]>,
    _iovs: Box<[libc::iovec]>,
    hdrs: Box<[libc::mmsghdr]>,
    pub send_errors: u64,
}

impl Batch {
    pub fn new(cap: usize) -> Self {
        // SAFETY: all-zero is a valid value of these C structs.
        let (mut addrs, mut iovs, mut hdrs) = unsafe {
            (
                vec![zeroed::<libc::sockaddr_in>(); cap].into_boxed_slice(),
                vec![zeroed::<libc::iovec>(); cap].into_boxed_slice(),
                vec![zeroed::<libc::mmsghdr>(); cap].into_boxed_slice(),
            )
        };
        let mut bufs = vec![[0u8; BUF]; cap].into_boxed_slice();
        let mut ctls = vec![[0u64; CTL / 8]; cap].into_boxed_slice();
        for i in 0..cap {
            iovs[i] = libc::iovec {
                iov_base: bufs[i].as_mut_ptr().cast(),
                iov_len: MAX_MSG,
            };
            let h = &mut hdrs[i].msg_hdr;
            h.msg_name = (&mut addrs[i] as *mut libc::sockaddr_in).cast();
            h.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
            h.msg_iov = &mut iovs[i];
            h.msg_iovlen = 1;
            h.msg_control = ctls[i].as_mut_ptr().cast();
        }
        Batch {
            cap,
            queued: 0,
            join: false,
            run: Run {
                to: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
                from: None,
                len: 0,
                segments: 0,
            },
            bufs,
            addrs,
            ctls,
            _iovs: iovs,
            hdrs,
            send_errors: 0,
        }
    }

    pub fn is_full(&self) -> bool {
        self.queued == self.cap
    }

    /// Datagrams of one length, to and from the same addresses, leave as one run that the kernel cuts (UDP_SEGMENT).
    pub fn join_runs(&mut self) {
        self.join = true;
    }

    /// Queues one datagram of `len` bytes, at most `MAX_MSG`; `fill` writes it.
    #[inline]
    pub fn push(
        &mut self,
        to: SocketAddrV4,
        from: Option<Ipv4Addr>,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) {
        let run = &mut self.run;
        let joins = self.join
            && self.queued > 0
            && (run.to, run.from, run.len) == (to, from, len)
            && (run.segments + 1) * len <= BUF;
        if joins {
            let at = run.segments * len;
            run.segments += 1;
            fill(&mut self.bufs[self.queued - 1][at..at + len]);
            let i = self.queued - 1;
            // SAFETY: msg_iov and msg_control point into arrays owned by self.
            unsafe { set_run(&mut self.hdrs[i].msg_hdr, run, self.ctls[i].as_mut_ptr()) };
            return;
        }
        *run = Run {
            to,
            from,
            len,
            segments: 1,
        };
        let i = self.queued;
        fill(&mut self.bufs[i][..len]);
        self.addrs[i] = sockaddr(to);
        // SAFETY: msg_iov and msg_control point into arrays owned by self.
        unsafe { set_run(&mut self.hdrs[i].msg_hdr, run, self.ctls[i].as_mut_ptr()) };
        self.queued += 1;
    }

    /// Sends what is queued. Datagrams that the kernel refuses are dropped and counted.
    pub fn flush(&mut self, fd: RawFd) {
        let mut at = 0;
        let mut again = 0;
        while at < self.queued {
            // SAFETY: hdrs[at..queued] are initialised headers.
            let n = unsafe {
                libc::sendmmsg(
                    fd,
                    &mut self.hdrs[at],
                    (self.queued - at) as u32,
                    libc::MSG_DONTWAIT,
                )
            };
            if n > 0 {
                at += n as usize;
                continue;
            }
            let full = matches!(
                io::Error::last_os_error().raw_os_error(),
                Some(libc::EAGAIN | libc::ENOBUFS)
            );
            if full && again < 100 {
                again += 1;
                std::thread::yield_now();
                continue;
            }
            self.send_errors += 1;
            at += 1;
        }
        self.queued = 0;
    }

    /// One recvmmsg; returns how many datagrams are ready to be read with `get`.
    #[inline]
    pub fn recv(&mut self, fd: RawFd, control: bool) -> usize {
        for i in 0..self.cap {
            let h = &mut self.hdrs[i].msg_hdr;
            h.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
            h.msg_controllen = if control { CTL } else { 0 };
            // SAFETY: msg_iov points into `_iovs`.
            unsafe { (*h.msg_iov).iov_len = MAX_MSG };
        }
        // SAFETY: hdrs are initialised, no timeout.
        let n = unsafe {
            libc::recvmmsg(
                fd,
                self.hdrs.as_mut_ptr(),
                self.cap as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        n.max(0) as usize
    }

    /// (payload, sender) of datagram `i` of the last `recv`.
    #[inline]
    pub fn get(&self, i: usize) -> (&[u8], SocketAddrV4) {
        (
            &self.bufs[i][..self.hdrs[i].msg_len as usize],
            from_sockaddr(&self.addrs[i]),
        )
    }

    /// Destination address from IP_PKTINFO, and destination port from
    /// IP_ORIGDSTADDR where that option is on.
    #[inline]
    pub fn dst(&self, i: usize) -> (Option<Ipv4Addr>, Option<u16>) {
        let (mut ip, mut port) = (None, None);
        let h = &self.hdrs[i].msg_hdr;
        // SAFETY: walks the control messages the kernel wrote for this datagram.
        unsafe {
            let mut c = libc::CMSG_FIRSTHDR(h);
            while !c.is_null() {
                match ((*c).cmsg_level, (*c).cmsg_type) {
                    (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                        let info = &*(libc::CMSG_DATA(c) as *const libc::in_pktinfo);
                        ip = Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)));
                    }
                    (libc::IPPROTO_IP, libc::IP_ORIGDSTADDR) => {
                        let sa = &*(libc::CMSG_DATA(c) as *const libc::sockaddr_in);
                        port = Some(u16::from_be(sa.sin_port));
                    }
                    _ => {}
                }
                c = libc::CMSG_NXTHDR(h, c);
            }
        }
        (ip, port)
    }
}
