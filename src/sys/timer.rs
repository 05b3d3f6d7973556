//! A timer that an epoll reports (`timerfd_create(2)`).
//!
//! A timeout handed to `epoll_wait` is set up and torn down by the kernel at every call; this is touched only when what
//! is waited for changes.

use crate::sys::epoll::owned;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

pub struct Timer {
    fd: OwnedFd,
}

impl Timer {
    pub fn new() -> io::Result<Self> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: the call takes no pointer.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
        owned(fd).map(|fd| Self { fd })
    }

    /// Becomes readable once, `after` from now; forgets what it was set to before.
    pub fn set(&self, after: Duration) -> io::Result<()> {
        // A value of zero would switch it off.
        let after = after.max(Duration::from_nanos(1));
        let spec = libc::itimerspec {
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: libc::timespec {
                tv_sec: libc::time_t::try_from(after.as_secs()).unwrap_or(libc::time_t::MAX),
                tv_nsec: libc::c_long::from(after.subsec_nanos() as i32),
            },
        };
        let fd = self.fd.as_raw_fd();
        // SAFETY: `spec` lives through the call, and a null pointer asks for no old value.
        let rc = unsafe { libc::timerfd_settime(fd, 0, &raw const spec, std::ptr::null_mut()) };
        if rc < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Makes it unreadable until it fires again.
    pub fn clear(&self) {
        let mut count = 0u64;
        // SAFETY: at most eight bytes are written to `count`, which lives through the call.
        unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut count).cast(), 8) };
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::epoll::{Epoll, Events, Interest};

    #[test]
    fn a_timer_is_reported_when_it_is_due_and_not_after_it_is_cleared() {
        let epoll = Epoll::new().expect("epoll");
        let timer = Timer::new().expect("timerfd");
        epoll.add(timer.as_fd(), 7, Interest::Read).expect("added");
        let mut events = Events::with_capacity(4);
        let reported = |events: &mut Events, wait| {
            epoll.wait(events, wait).expect("waited");
            events.len()
        };
        timer.set(Duration::from_secs(3600)).expect("set");
        assert_eq!(reported(&mut events, Some(Duration::ZERO)), 0);
        for after in [Duration::ZERO, Duration::from_millis(1)] {
            timer.set(after).expect("set");
            assert_eq!(reported(&mut events, None), 1);
            timer.clear();
            assert_eq!(reported(&mut events, Some(Duration::ZERO)), 0);
        }
    }
}
