//! Readiness (`epoll(7)`, level-triggered) and waking a sleeping worker (`eventfd(2)`).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// What to be told about a descriptor. Errors and hang-ups are always told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    Read,
    ReadWrite,
}

/// One report; a hint only, since the descriptor may have been closed and its token given away since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub token: u64,
    pub readable: bool,
    pub writable: bool,
    /// An error is pending: on a UDP socket, something waits in its error queue.
    pub error: bool,
}

pub struct Epoll {
    fd: OwnedFd,
}

/// Buffer of one `Epoll::wait`.
pub struct Events {
    raw: Vec<libc::epoll_event>,
    len: usize,
}

impl Events {
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            raw: vec![libc::epoll_event { events: 0, u64: 0 }; capacity.max(1)],
            len: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The report at `index`, which is below `len`.
    pub fn get(&self, index: usize) -> Option<Event> {
        let raw = self.raw[..self.len].get(index)?;
        let flags = raw.events;
        let any = |mask: i32| flags & mask as u32 != 0;
        Some(Event {
            token: raw.u64,
            readable: any(libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLRDHUP | libc::EPOLLERR),
            writable: any(libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR),
            error: any(libc::EPOLLERR),
        })
    }
}

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: the call takes no pointer.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        owned(fd).map(|fd| Self { fd })
    }

    /// A descriptor leaves by being closed, where no other refers to the same socket.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, interest)
    }

    pub fn modify(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, interest)
    }

    /// For a descriptor whose socket stays open, here or in another process.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, Interest::Read)
    }

    fn control(&self, op: i32, fd: BorrowedFd<'_>, token: u64, want: Interest) -> io::Result<()> {
        let flags = match want {
            Interest::Read => libc::EPOLLIN,
            Interest::ReadWrite => libc::EPOLLIN | libc::EPOLLOUT,
        };
        let mut event = libc::epoll_event {
            events: flags as u32,
            u64: token,
        };
        // SAFETY: both descriptors are open while borrowed, and `event` outlives the call.
        let rc =
            unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), op, fd.as_raw_fd(), &raw mut event) };
        if rc < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Waits for reports; `None` waits without end. A signal ends the wait with no report.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.len = 0;
        let capacity = events.raw.len().min(i32::MAX as usize) as i32;
        let fd = self.fd.as_raw_fd();
        // SAFETY: the kernel writes at most `capacity` events, all inside `raw`.
        let n =
            unsafe { libc::epoll_wait(fd, events.raw.as_mut_ptr(), capacity, timeout_ms(timeout)) };
        if n < 0 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                return Ok(());
            }
            return Err(error);
        }
        events.len = n as usize;
        Ok(())
    }
}

/// Milliseconds, rounded up so that a timer is never asked for before it is due.
fn timeout_ms(timeout: Option<Duration>) -> i32 {
    let Some(timeout) = timeout else {
        return -1;
    };
    let ms = timeout.as_nanos().div_ceil(1_000_000);
    i32::try_from(ms).unwrap_or(i32::MAX)
}

/// Wakes the worker that has it in its epoll; safe from any thread.
pub struct Waker {
    fd: OwnedFd,
}

impl Waker {
    pub fn new() -> io::Result<Self> {
        // SAFETY: the call takes no pointer.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        owned(fd).map(|fd| Self { fd })
    }

    /// Makes the descriptor readable. A full counter is readable already, so nothing can fail that matters.
    pub fn wake(&self) {
        let one = 1u64;
        // SAFETY: eight bytes are read from `one`, which lives through the call.
        unsafe { libc::write(self.fd.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    /// Makes the descriptor unreadable until the next `wake`.
    pub fn clear(&self) {
        let mut count = 0u64;
        // SAFETY: at most eight bytes are written to `count`, which lives through the call.
        unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut count).cast(), 8) };
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

pub(super) fn owned(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_is_reported_once_and_until_it_is_cleared() {
        let epoll = Epoll::new().expect("epoll");
        let waker = Waker::new().expect("eventfd");
        epoll.add(waker.as_fd(), 7, Interest::Read).expect("added");
        let mut events = Events::with_capacity(4);
        let at_once = Some(Duration::ZERO);
        epoll.wait(&mut events, at_once).expect("waited");
        assert!(events.is_empty());
        waker.wake();
        waker.wake();
        for _ in 0..2 {
            epoll.wait(&mut events, None).expect("waited");
            assert_eq!(events.len(), 1);
            assert_eq!(events.get(0).map(|event| event.token), Some(7));
        }
        waker.clear();
        epoll.wait(&mut events, at_once).expect("waited");
        assert!(events.is_empty());
    }

    #[test]
    fn timeouts_are_rounded_up_and_capped() {
        assert_eq!(timeout_ms(None), -1);
        assert_eq!(timeout_ms(Some(Duration::ZERO)), 0);
        assert_eq!(timeout_ms(Some(Duration::from_nanos(1))), 1);
        assert_eq!(timeout_ms(Some(Duration::from_micros(1001))), 2);
        assert_eq!(timeout_ms(Some(Duration::MAX)), i32::MAX);
    }
}
