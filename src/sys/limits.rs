//! What the system allows: open files, receive buffers, and what that means for allocations.

use std::fs;
use std::io;

/// As root the hard limit is raised up to this; what systemd and containers call unlimited.
const OPEN_FILES_TARGET: u64 = 1_048_576;
/// Descriptors kept for logs, certificates, resolvers, admin connections and the like.
const OPEN_FILES_RESERVED: u64 = 256;

/// The open-files limit (`RLIMIT_NOFILE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    pub soft: u64,
    pub hard: u64,
}

/// Raises the soft limit to the hard one, and with the privilege for it both to 1 048 576.
///
/// Returns the limit that holds afterwards; failing to raise it is no error.
pub fn raise_open_files() -> io::Result<OpenFiles> {
    let before = open_files()?;
    let target = nr_open().map_or(OPEN_FILES_TARGET, |max| max.min(OPEN_FILES_TARGET));
    if before.hard < target {
        let raised = set_open_files(OpenFiles {
            soft: target,
            hard: target,
        });
        if raised.is_ok() {
            return open_files();
        }
    }
    if before.soft < before.hard {
        // An endless hard limit is more than the kernel grants as a soft one.
        let soft = before.hard.min(target.max(before.soft));
        set_open_files(OpenFiles { soft, ..before })?;
    }
    open_files()
}

pub fn open_files() -> io::Result<OpenFiles> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid place for the answer.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(OpenFiles {
        soft: limit.rlim_cur,
        hard: limit.rlim_max,
    })
}

fn set_open_files(wanted: OpenFiles) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: wanted.soft,
        rlim_max: wanted.hard,
    };
    // SAFETY: `limit` is valid for reading through the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What an open-files limit is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Live allocations, one descriptor each.
    pub allocations: u32,
    /// TCP and TLS connections of clients, and upstream connections, together.
    pub connections: u32,
}

/// Divides an open-files limit: two thirds for relay sockets, one third for connections, after what the
/// process itself needs. `listeners` is the number of listening sockets of all workers together.
///
/// A client over TCP or TLS costs one of each, a proxied tunnel two connections.
pub fn capacity(open_files: u64, listeners: usize) -> Capacity {
    let own = OPEN_FILES_RESERVED.saturating_add(listeners as u64);
    let free = open_files.saturating_sub(own);
    let connections = free / 3;
    let clamp = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Capacity {
        allocations: clamp(free - connections),
        connections: clamp(connections),
    }
}

/// Largest SO_RCVBUF an ordinary process may ask for, in bytes (`net.core.rmem_max`).
pub fn rmem_max() -> Option<usize> {
    read_number("/proc/sys/net/core/rmem_max")
}

fn nr_open() -> Option<u64> {
    read_number("/proc/sys/fs/nr_open")
}

fn read_number<T: std::str::FromStr>(path: &str) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let before = open_files().expect("read");
        let after = raise_open_files().expect("raised");
        assert!(after.soft >= before.soft);
        assert!(after.hard >= before.hard);
        assert!(after.soft == after.hard || after.soft >= OPEN_FILES_TARGET);
    }

    #[test]
    fn capacity_keeps_descriptors_for_the_process_itself() {
        let none = Capacity {
            allocations: 0,
            connections: 0,
        };
        assert_eq!(capacity(0, 4), none);
        assert_eq!(capacity(256, 4), none);
        let small = capacity(1024, 8);
        assert_eq!(small.allocations + small.connections, 1024 - 256 - 8);
        assert!(capacity(20_000, 16).allocations >= 10_000);
        assert_eq!(capacity(u64::MAX, 0).allocations, u32::MAX);
    }
}
