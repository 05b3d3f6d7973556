//! Signals to a child process and to this one.

use std::io;
use std::process::Child;

/// Sends SIGHUP to a child that has not been waited for: its number is still its own.
pub fn hang_up(child: &Child) -> io::Result<()> {
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    // SAFETY: a call without pointers.
    match unsafe { libc::kill(pid, libc::SIGHUP) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Stops this process, as a shell's Ctrl-Z does; returns when it is continued.
pub fn stop_self() {
    // SAFETY: a call without pointers. SIGSTOP cannot fail to be raised, and nothing is left half done: the process waits here.
    unsafe { libc::raise(libc::SIGSTOP) };
}
