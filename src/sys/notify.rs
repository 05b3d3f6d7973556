//! Telling the service manager about this process (`sd_notify(3)`).

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends `state`, lines of `NAME=value`, where a service manager listens; without one it does nothing.
pub fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = send(path.as_bytes(), state) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}

fn send(path: &[u8], state: &str) -> io::Result<()> {
    let address = match path.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_arrives_at_a_path_and_at_an_abstract_name() {
        let name = format!("relayd-notify-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        let _ = std::fs::remove_file(&path);
        let at_path = UnixDatagram::bind(&path).expect("bound");
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let at_name = UnixDatagram::bind_addr(&address).expect("bound");
        for (socket, text) in [
            (at_path, path.to_str().expect("UTF-8").to_owned()),
            (at_name, format!("@{name}")),
        ] {
            send(text.as_bytes(), "MAINPID=7").expect("sent");
            let mut buffer = [0; 16];
            let len = socket.recv(&mut buffer).expect("received");
            assert_eq!(&buffer[..len], b"MAINPID=7");
        }
        let _ = std::fs::remove_file(&path);
        assert!(
            send(path.as_os_str().as_bytes(), "x").is_err(),
            "nobody listens"
        );
    }
}
