//! CPU time that the process and its threads have used, user and system.

use std::time::Duration;

/// Of the whole process; `None` if the kernel does not tell.
pub fn process_time() -> Option<Duration> {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// The clock of one thread's CPU time, for others to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadClock(libc::clockid_t);

impl ThreadClock {
    /// The clock of the thread that asks.
    pub fn of_this_thread() -> Option<Self> {
        // SAFETY: the call takes nothing and cannot fail.
        let thread = unsafe { libc::pthread_self() };
        let mut clock = 0;
        // SAFETY: `thread` lives, since it makes the call; `clock` lives through it, and nothing else is written.
        let failed = unsafe { libc::pthread_getcpuclockid(thread, &raw mut clock) };
        (failed == 0).then_some(Self(clock))
    }

    /// `None` once the thread has ended (unless another thread has got its number meanwhile).
    pub fn time(self) -> Option<Duration> {
        read(self.0)
    }
}

fn read(clock: libc::clockid_t) -> Option<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` lives through the call, which writes nothing else; a clock that is none is an error.
    let failed = unsafe { libc::clock_gettime(clock, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanoseconds = u32::try_from(time.tv_nsec).ok()?;
    (failed == 0).then(|| Duration::new(seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_threads_time_is_read_from_another_one() {
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let clock = ThreadClock::of_this_thread().expect("a clock");
            while clock.time() < Some(Duration::from_millis(2)) {
                std::hint::spin_loop();
            }
            tell.send(clock).expect("somebody asks");
            let _ = ended.recv();
        });
        let clock = told.recv().expect("the thread tells");
        assert!(clock.time() >= Some(Duration::from_millis(2)));
        assert!(process_time() >= Some(Duration::from_millis(2)));
        drop(end);
        thread.join().expect("it ends well");
    }
}
