//! The datagram socket of a service manager, and the clock that it compares with (sd_notify(3)).

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// A manager that takes nothing for this long is not waited for.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// Where messages to the service manager go.
#[derive(Debug)]
pub struct NotifySocket {
    socket: UnixDatagram,
    manager: SocketAddr,
}

impl NotifySocket {
    /// The socket that `$NOTIFY_SOCKET` names: an absolute path, or `@` and a name without a file.
    pub fn open(name: &OsStr) -> io::Result<Self> {
        let manager = match name.as_bytes() {
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            [b'@', abstract_name @ ..] if !abstract_name.is_empty() => {
                SocketAddr::from_abstract_name(abstract_name)?
            }
            _ => {
                let accepted = "neither an absolute path nor @ and a name";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, accepted));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        Ok(Self { socket, manager })
    }

    /// Sends one message, which arrives whole or not at all.
    pub fn send(&self, message: &str) -> io::Result<()> {
        self.socket
            .send_to_addr(message.as_bytes(), &self.manager)
            .map(|_| ())
    }
}

/// CLOCK_MONOTONIC in microseconds: `Instant` keeps it to itself, and a service manager asks for it.
pub fn monotonic_us() -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the kernel writes one timespec to `time`, which lives through the call.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, time.as_mut_ptr()) };
    if rc < 0 {
        return 0;
    }
    // SAFETY: the call succeeded, so `time` is written.
    let time = unsafe { time.assume_init() };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn receive(manager: &UnixDatagram) -> String {
        manager.set_read_timeout(Some(SEND_TIMEOUT)).expect("set");
        let mut buffer = [0; 64];
        let len = manager.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }

    #[test]
    fn a_path_and_an_abstract_name_are_reached() {
        let path = std::env::temp_dir().join(format!("relayd-notify-{}", std::process::id()));
        let by_path = UnixDatagram::bind(&path).expect("bound");
        let socket = NotifySocket::open(path.as_os_str()).expect("opened");
        socket.send("READY=1").expect("sent");
        assert_eq!(receive(&by_path), "READY=1");
        std::fs::remove_file(&path).expect("removed");

        let name = format!("relayd-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let by_name = UnixDatagram::bind_addr(&address).expect("bound");
        let socket = NotifySocket::open(&OsString::from(format!("@{name}"))).expect("opened");
        socket.send("STOPPING=1").expect("sent");
        assert_eq!(receive(&by_name), "STOPPING=1");
    }

    #[test]
    fn other_names_are_refused_and_an_absent_manager_is_an_error_of_the_message() {
        for name in ["", "@", "relative", "vsock:2:1"] {
            assert!(NotifySocket::open(OsStr::new(name)).is_err(), "{name:?}");
        }
        let long = format!("/{}", "x".repeat(200));
        assert!(NotifySocket::open(OsStr::new(&long)).is_err());
        let absent = NotifySocket::open(OsStr::new("/nowhere/at/all")).expect("a valid name");
        assert!(absent.send("READY=1").is_err());
    }

    #[test]
    fn the_monotonic_clock_does_not_go_back() {
        let first = monotonic_us();
        assert!(first > 0);
        assert!(monotonic_us() >= first);
    }
}
