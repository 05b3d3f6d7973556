//! Giving freed memory back to the system after a crowd has left.
//!
//! The allocator keeps what was freed in case it is needed again, and after ten thousand calls that is more than relayd
//! itself. Absent: any other C library than glibc, whose allocators give memory back by themselves.

/// Returns free pages of the heap to the system. Takes milliseconds after a large crowd, so not often.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes no pointer and may be made at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
