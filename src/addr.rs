//! Transport addresses, one type for each party, so that they cannot be mixed (RFC 8656 §2).
//!
//! Invariant: an address inside these types is in its plain form: an IPv4-mapped IPv6 address
//! (`::ffff:a.b.c.d`) is held as the IPv4 address that it is. No policy here, see `ip_rules`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Turns `::ffff:a.b.c.d` into `a.b.c.d` and drops IPv6 flow information.
///
/// The scope identifier of a link-local address stays: without it no answer can be sent.
pub fn plain(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(_) => addr,
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::from((v4, v6.port())),
            None => SocketAddr::V6(std::net::SocketAddrV6::new(
                *v6.ip(),
                v6.port(),
                0,
                v6.scope_id(),
            )),
        },
    }
}

macro_rules! party {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(SocketAddr);

        impl $name {
            pub fn new(addr: SocketAddr) -> Self {
                Self(plain(addr))
            }

            pub fn socket_addr(self) -> SocketAddr {
                self.0
            }

            pub fn ip(self) -> IpAddr {
                self.0.ip()
            }

            pub fn port(self) -> u16 {
                self.0.port()
            }

            pub fn family(self) -> Family {
                Family::of(self.0.ip())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

party! {
    /// The client's server-reflexive transport address: where its packets come from.
    ClientAddr
}
party! {
    /// A peer's transport address, as the relay socket sees it.
    PeerAddr
}
party! {
    /// A relayed transport address, as it is bound on this machine (not its external form).
    RelayedAddr
}

/// Address family of a transport address (RFC 8656 §18.8: 0x01 IPv4, 0x02 IPv6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// What carries the messages between client and server (RFC 8656 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    pub const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::Tls];

    /// Place in `ALL`, and in arrays of counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Metric label and log text.
    pub fn label(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// True over TCP and TLS, where ChannelData is padded to four bytes (RFC 8656 §12.5).
    pub fn is_stream(self) -> bool {
        match self {
            Self::Udp => false,
            Self::Tcp | Self::Tls => true,
        }
    }
}

/// Client address, server address and transport: the identity of an allocation (RFC 8656 §2).
///
/// `server` is the address that the client asked, also on a wildcard listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FiveTuple {
    pub client: ClientAddr,
    pub server: SocketAddr,
    pub transport: Transport,
}
