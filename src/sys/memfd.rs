//! Memory that is passed on as a file: how a message that is too large for a datagram travels.

use super::control::Control;
use socket2::{MsgHdr, SockAddr, SockRef};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// Sends `bytes` to `to` as a sealed memory file, in a datagram that is otherwise empty.
///
/// The seals promise the reader that nobody changes the file under it.
pub fn send_sealed(socket: &UnixDatagram, to: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut memory = create()?;
    memory.write_all(bytes)?;
    seal(&memory)?;
    let mut control = Control::empty();
    control.push_descriptor(memory.as_fd());
    let to = SockAddr::unix(to)?;
    let message = MsgHdr::new()
        .with_addr(&to)
        .with_control(control.as_bytes());
    SockRef::from(socket).sendmsg(&message, libc::MSG_NOSIGNAL)?;
    Ok(())
}

fn create() -> io::Result<File> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a C string that lives through the call.
    let fd = unsafe { libc::memfd_create(c"relayd-log".as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made the descriptor, and nobody else knows it.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(File::from(owned))
}

fn seal(memory: &File) -> io::Result<()> {
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | libc::F_SEAL_SEAL;
    // SAFETY: the descriptor is open, and the command takes an integer.
    if unsafe { libc::fcntl(memory.as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The file of an empty datagram, as the journal takes it.
#[cfg(test)]
pub fn receive_file(socket: &UnixDatagram) -> io::Result<File> {
    use std::mem::MaybeUninit;

    let mut control = Control::empty();
    let mut room = [MaybeUninit::new(0u8); super::control::LEN_MAX];
    let mut message = socket2::MsgHdrMut::new().with_control(&mut room);
    let payload = SockRef::from(socket).recvmsg(&mut message, libc::MSG_CMSG_CLOEXEC)?;
    assert_eq!(payload, 0, "the message is in the file");
    let len = message.control_len();
    // SAFETY: every byte was initialised above, and the kernel writes nothing but bytes.
    let bytes = room.map(|byte| unsafe { byte.assume_init() });
    control.copy_from(&bytes);
    let message = control.messages(len).next().expect("a control message");
    assert_eq!(
        (message.level, message.kind),
        (libc::SOL_SOCKET, libc::SCM_RIGHTS)
    );
    let number = message.data.first_chunk().expect("a descriptor");
    // SAFETY: the kernel has made the descriptor for this process with this message.
    let owned = unsafe { OwnedFd::from_raw_fd(i32::from_ne_bytes(*number)) };
    Ok(File::from(owned))
}
