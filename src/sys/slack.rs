//! What a short sleep is like: how late the kernel may end it to save power (timer slack, `prctl(2)`), and what it costs.

use std::time::Duration;

/// Lets this thread's short sleeps end within about a microsecond of their time; the kernel's default is 50 µs.
///
/// A failure is no error: sleeps are as exact as before then.
pub fn make_sleeps_exact() {
    const SLACK_NS: libc::c_ulong = 1000;
    // SAFETY: the call reads its arguments by value and touches no memory of the process.
    let _ = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, SLACK_NS) };
}

/// CPU time that a short sleep costs this thread, the median of a few: setting a timer, leaving the core and coming back.
///
/// On hardware that is 2 to 5 us. A virtual machine may leave to its host several times for it and book 40 us.
pub fn sleep_cost() -> Duration {
    const TRIES: usize = 16;
    const SLEEP: Duration = Duration::from_micros(60);
    let mut costs = [(); TRIES].map(|()| {
        let before = thread_cpu_time();
        std::thread::sleep(SLEEP);
        thread_cpu_time().saturating_sub(before)
    });
    costs.sort_unstable();
    costs[TRIES / 2]
}

fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` lives through the call, which writes nothing else.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_time_of_a_thread_grows_with_its_work() {
        let before = thread_cpu_time();
        let mut sum = 0u64;
        while thread_cpu_time() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(thread_cpu_time() > before);
        assert!(sleep_cost() > Duration::ZERO, "a sleep is not free");
    }
}
