//! Timer slack: how late the kernel may wake a thread that sleeps, to save power (`prctl(2)`).

/// Lets this thread's short sleeps end within about a microsecond of their time; the kernel's default is 50 µs.
///
/// A failure is no error: sleeps are as exact as before then.
pub fn make_sleeps_exact() {
    const SLACK_NS: libc::c_ulong = 1000;
    // SAFETY: the call reads its arguments by value and touches no memory of the process.
    let _ = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, SLACK_NS) };
}
