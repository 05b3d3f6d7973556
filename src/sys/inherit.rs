//! Sockets that were bound before this process began: given by a service manager (`sd_listen_fds(3)`), or by the relayd
//! that this one takes over from.
//!
//! They wait here until the listener that is configured for their address takes them. Every descriptor is checked for
//! what it is before anything is done with it, and is closed in programs that this process starts.

use socket2::{Domain, Socket, Type};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The first descriptor of a service manager.
const FIRST: RawFd = 3;
/// More is a mistake.
const COUNT_MAX: i32 = 4096;

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Udp,
    Tcp,
    Tls,
    Admin,
}

impl Purpose {
    pub const ALL: [Self; 4] = [Self::Udp, Self::Tcp, Self::Tls, Self::Admin];

    pub fn label(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Admin => "admin",
        }
    }
}

/// Where a socket comes from, which decides what else may be bound beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Any listener of its protocol and address may take it.
    ServiceManager,
    /// One listener of the former process.
    Former {
        purpose: Purpose,
        /// The former process's worker that reads it, and its place among that worker's listeners.
        worker: usize,
        index: usize,
    },
}

/// One socket that is bound already.
#[derive(Debug)]
pub struct Given {
    pub socket: Socket,
    pub address: SocketAddr,
    pub origin: Origin,
    /// Its name in messages.
    pub name: String,
    is_stream: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "LISTEN_FDS={text} is no number of sockets that a service manager gives (1 to {COUNT_MAX})"
    )]
    Count { text: String },
    #[error("{name} cannot be used")]
    Unusable { name: String, source: io::Error },
    #[error(
        "{name} is no socket that listens for UDP or TCP; relayd takes ListenDatagram= and ListenStream= with an address and a port"
    )]
    WrongKind { name: String },
    #[error(
        "{name} takes IPv4 too, which relayd has sockets of their own for: set BindIPv6Only=ipv6-only in the socket unit and give 0.0.0.0 a line of its own"
    )]
    BothFamilies { name: String },
    #[error(
        "{name} has {protocol} {address}, which no listener of the configuration has: add it to {tables}, or take it out of the socket unit"
    )]
    Unclaimed {
        name: String,
        protocol: &'static str,
        address: SocketAddr,
        tables: &'static str,
    },
}

/// What a service manager says, as it stands in the environment.
#[derive(Debug, Default)]
pub struct Variables {
    pub listen_pid: Option<String>,
    pub listen_fds: Option<String>,
    pub listen_fdnames: Option<String>,
}

impl Variables {
    pub fn read() -> Self {
        let read = |name| std::env::var(name).ok();
        Self {
            listen_pid: read("LISTEN_PID"),
            listen_fds: read("LISTEN_FDS"),
            listen_fdnames: read("LISTEN_FDNAMES"),
        }
    }

    /// Names of the sockets that are meant for the process `pid`; the variables of another process are not ours.
    fn names(&self, pid: u32) -> Result<Vec<String>, Error> {
        let meant = |text: &String| text.parse() == Ok(pid);
        let (true, Some(text)) = (
            self.listen_pid.as_ref().is_some_and(meant),
            &self.listen_fds,
        ) else {
            return Ok(Vec::new());
        };
        let count = text.parse::<i32>().ok();
        let count = count.filter(|count| (1..=COUNT_MAX).contains(count));
        let count = count.ok_or_else(|| Error::Count { text: text.clone() })?;
        let mut names = self.listen_fdnames.as_deref().unwrap_or("").split(':');
        let name = |number: i32| match names.next().filter(|name| !name.is_empty()) {
            Some(name) => format!("socket {name:?} (descriptor {number})"),
            None => format!("the socket at descriptor {number}"),
        };
        Ok((FIRST..FIRST + count).map(name).collect())
    }
}

/// Sockets that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<Given>,
}

impl Inherited {
    /// Takes what a service manager has opened for this process. To be called once, before the process opens anything.
    pub fn from_service_manager(variables: &Variables) -> Result<Self, Error> {
        let names = variables.names(std::process::id())?;
        let mut sockets = Vec::with_capacity(names.len());
        for (number, name) in (FIRST..).zip(names) {
            let fd = adopt(number).map_err(|source| Error::Unusable {
                name: name.clone(),
                source,
            })?;
            sockets.push(Given::new(fd, Origin::ServiceManager, name)?);
        }
        Ok(Self { sockets })
    }

    pub fn new(sockets: Vec<Given>) -> Self {
        Self { sockets }
    }

    /// The sockets of a listener that is configured as `address`; none where it is to be bound.
    ///
    /// Two listeners that ask for port 0 are told apart by their order.
    pub fn take(&mut self, purpose: Purpose, address: SocketAddr) -> Vec<Given> {
        let first = self
            .sockets
            .iter()
            .find(|given| given.fits(purpose, address));
        let Some(bound) = first.map(|given| given.address) else {
            return Vec::new();
        };
        let ours = |given: &mut Given| given.address == bound && given.fits(purpose, address);
        self.sockets.extract_if(.., ours).collect()
    }

    /// What no listener took: a mistake in the service manager's configuration.
    pub fn refuse_rest(&self) -> Result<(), Error> {
        let given = self.sockets.iter();
        let mut left = given.filter(|given| given.origin == Origin::ServiceManager);
        let Some(left) = left.next() else {
            return Ok(());
        };
        Err(Error::Unclaimed {
            name: left.name.clone(),
            protocol: if left.is_stream { "tcp" } else { "udp" },
            address: left.address,
            tables: if left.is_stream {
                "listen.tcp or listen.tls (or make it admin.listen)"
            } else {
                "listen.udp"
            },
        })
    }
}

impl Given {
    pub fn new(fd: OwnedFd, origin: Origin, name: String) -> Result<Self, Error> {
        let socket = Socket::from(fd);
        let unusable = |source| Error::Unusable {
            name: name.clone(),
            source,
        };
        let domain = socket.domain().map_err(unusable)?;
        let kind = socket.r#type().map_err(unusable)?;
        let is_stream = kind == Type::STREAM;
        let address = socket.local_addr().map_err(unusable)?.as_socket();
        let address = address.filter(|address| address.port() != 0);
        let listens = !is_stream || socket.is_listener().map_err(unusable)?;
        let (true, true, Some(address)) = (is_stream || kind == Type::DGRAM, listens, address)
        else {
            return Err(Error::WrongKind { name });
        };
        let is_wildcard = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        if domain == Domain::IPV6 && is_wildcard && !socket.only_v6().map_err(unusable)? {
            return Err(Error::BothFamilies { name });
        }
        socket.set_nonblocking(true).map_err(unusable)?;
        Ok(Self {
            socket,
            address,
            origin,
            name,
            is_stream,
        })
    }

    fn fits(&self, purpose: Purpose, address: SocketAddr) -> bool {
        match self.origin {
            Origin::ServiceManager => {
                self.is_stream == (purpose != Purpose::Udp) && self.address == address
            }
            Origin::Former {
                purpose: former, ..
            } => {
                let any_port = address.port() == 0 && self.address.ip() == address.ip();
                former == purpose && (self.address == address || any_port)
            }
        }
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Takes a descriptor that was open when the process began, after making sure that it is.
fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointer; on a number that is not open it fails.
    let rc = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and by the protocol of `sd_listen_fds(3)` it is this process's to own; it is asked for once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixDatagram;

    fn given(socket: impl Into<OwnedFd>) -> Result<Given, Error> {
        Given::new(socket.into(), Origin::ServiceManager, "it".to_owned())
    }

    #[test]
    fn variables_of_another_process_or_of_none_mean_no_sockets() {
        let variables = |pid: &str, fds: &str| Variables {
            listen_pid: Some(pid.to_owned()),
            listen_fds: Some(fds.to_owned()),
            listen_fdnames: None,
        };
        for wrong in [
            variables("7", "1"),
            variables("x", "1"),
            Variables::default(),
        ] {
            assert_eq!(wrong.names(8).expect("not ours"), Vec::<String>::new());
        }
        assert_eq!(variables("8", "2").names(8).expect("ours").len(), 2);
        for count in ["0", "-1", "many", "99999"] {
            assert!(matches!(
                variables("8", count).names(8),
                Err(Error::Count { .. })
            ));
        }
    }

    #[test]
    fn sockets_are_called_by_their_names() {
        let variables = Variables {
            listen_pid: Some("8".to_owned()),
            listen_fds: Some("2".to_owned()),
            listen_fdnames: Some("relayd.socket".to_owned()),
        };
        let names = variables.names(8).expect("ours");
        assert_eq!(names[0], "socket \"relayd.socket\" (descriptor 3)");
        assert_eq!(names[1], "the socket at descriptor 4");
    }

    #[test]
    fn only_udp_sockets_and_listening_tcp_sockets_are_taken() {
        assert!(given(UdpSocket::bind("127.0.0.1:0").expect("bound")).is_ok());
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let connected =
            TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        assert!(given(listener).is_ok());
        assert!(matches!(given(connected), Err(Error::WrongKind { .. })));
        let unix = UnixDatagram::unbound().expect("made");
        assert!(matches!(given(unix), Err(Error::WrongKind { .. })));
        let file = std::fs::File::open("/dev/null").expect("opened");
        assert!(matches!(given(file), Err(Error::Unusable { .. })));
        let both = UdpSocket::bind("[::]:0").expect("bound");
        assert!(matches!(given(both), Err(Error::BothFamilies { .. })));
    }

    #[test]
    fn a_socket_goes_to_the_listener_of_its_protocol_and_address_once() {
        let udp = given(UdpSocket::bind("127.0.0.1:0").expect("bound")).expect("usable");
        let address = udp.address;
        let mut inherited = Inherited::new(vec![udp]);
        assert!(inherited.take(Purpose::Tcp, address).is_empty());
        let other = SocketAddr::new([127, 0, 0, 2].into(), address.port());
        assert!(inherited.take(Purpose::Udp, other).is_empty());
        let error = inherited.refuse_rest().expect_err("it is left").to_string();
        assert!(error.contains(&format!("udp {address}")), "{error}");
        assert_eq!(inherited.take(Purpose::Udp, address).len(), 1);
        assert!(inherited.take(Purpose::Udp, address).is_empty());
        assert!(inherited.refuse_rest().is_ok());
    }

    #[test]
    fn two_listeners_that_ask_for_any_port_take_one_former_socket_each() {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("valid");
        let sockets = (0..2).map(|index| {
            let socket = UdpSocket::bind(any).expect("bound");
            let origin = Origin::Former {
                purpose: Purpose::Udp,
                index,
                worker: 0,
            };
            Given::new(socket.into(), origin, "it".to_owned()).expect("usable")
        });
        let mut inherited = Inherited::new(sockets.collect());
        let first = inherited.take(Purpose::Udp, any);
        let second = inherited.take(Purpose::Udp, any);
        assert_eq!((first.len(), second.len()), (1, 1));
        assert_ne!(first[0].address, second[0].address);
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_refused() {
        assert!(adopt(1_000_000).is_err());
    }
}
