//! Lanes: message-keeping unix sockets between two processes (`SOCK_SEQPACKET`). What is sent on one end arrives whole,
//! in order, or not at all; the end of either process ends the lane.

use crate::sys::recv::BATCH_MAX;
use socket2::{Domain, Socket, Type};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Room for messages on their way, in bytes; the kernel may grant less.
const BUFFER_BYTES: usize = 4 << 20;

/// One end; it never blocks.
#[derive(Debug)]
pub struct Lane {
    socket: Socket,
}

impl Lane {
    pub fn pair() -> io::Result<(Self, Self)> {
        let kind = Type::SEQPACKET.nonblocking().cloexec();
        let (one, other) = Socket::pair(Domain::UNIX, kind, None)?;
        Ok((Self::new(one)?, Self::new(other)?))
    }

    /// An end that came from another process.
    pub fn received(fd: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(fd);
        if (socket.domain()?, socket.r#type()?) != (Domain::UNIX, Type::SEQPACKET) {
            return Err(io::Error::other("not a lane"));
        }
        socket.set_nonblocking(true)?;
        Self::new(socket)
    }

    fn new(socket: Socket) -> io::Result<Self> {
        let bytes = i32::try_from(BUFFER_BYTES).unwrap_or(i32::MAX);
        // Past `net.core.wmem_max`, where the process may.
        if super::socket::set(
            socket.as_fd(),
            libc::SOL_SOCKET,
            libc::SO_SNDBUFFORCE,
            bytes,
        )
        .is_err()
        {
            socket.set_send_buffer_size(BUFFER_BYTES)?;
        }
        Ok(Self { socket })
    }

    pub fn into_fd(self) -> OwnedFd {
        self.socket.into()
    }

    /// 0 bytes: the other end is gone.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.socket).read(buffer)
    }

    /// Sends as many messages as the lane takes, in order, and says how many these were.
    pub fn send<'a>(&self, messages: impl Iterator<Item = &'a [u8]>) -> io::Result<usize> {
        let mut messages = messages.fuse();
        let mut sent = 0;
        loop {
            let batch: Vec<&[u8]> = messages.by_ref().take(BATCH_MAX).collect();
            if batch.is_empty() {
                return Ok(sent);
            }
            let taken = match self.send_batch(&batch) {
                Ok(taken) => taken,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) if is_full(&error) => return Ok(sent),
                Err(error) => return Err(error),
            };
            sent += taken;
            if taken < batch.len() {
                return Ok(sent);
            }
        }
    }

    fn send_batch(&self, batch: &[&[u8]]) -> io::Result<usize> {
        let vector = |bytes: &&[u8]| libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        let mut vectors: Vec<libc::iovec> = batch.iter().map(vector).collect();
        let header = |vector: &mut libc::iovec| {
            // SAFETY: a header of null pointers and zero lengths is valid.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header
        };
        let mut headers: Vec<libc::mmsghdr> = vectors.iter_mut().map(header).collect();
        // SAFETY: every header has one vector, which leads to a slice that `batch` borrows; all outlive the call.
        let n = unsafe {
            libc::sendmmsg(
                self.socket.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as libc::c_uint,
                (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
            )
        };
        if n < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(n as usize)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM)
    )
}

impl AsFd for Lane {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_whole_in_order_until_the_lane_is_full_and_then_the_end() {
        let (one, other) = Lane::pair().expect("made");
        let messages: Vec<Vec<u8>> = (1..100_000usize)
            .map(|n| vec![n as u8; 1 + n % 2000])
            .collect();
        let sent = one.send(messages.iter().map(Vec::as_slice)).expect("sent");
        assert!(sent > 100 && sent < messages.len(), "{sent}");
        drop(one);
        let mut buffer = vec![0; 4096];
        for message in &messages[..sent] {
            let len = other.receive(&mut buffer).expect("a message");
            assert_eq!(buffer[..len], message[..]);
        }
        assert_eq!(other.receive(&mut buffer).expect("the end"), 0);
        assert!(other.send([&b"anyone?"[..]].into_iter()).is_err());
    }

    #[test]
    fn a_lane_from_elsewhere_is_checked() {
        let file = std::fs::File::open("/dev/null").expect("opened");
        assert!(Lane::received(file.into()).is_err());
        let (one, other) = Lane::pair().expect("made");
        let one = Lane::received(one.into_fd()).expect("a lane");
        one.send([&b"here"[..]].into_iter()).expect("sent");
        assert_eq!(other.receive(&mut [0; 8]).expect("received"), 4);
    }
}
