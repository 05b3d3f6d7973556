//! Addresses in filters: `192.0.2.1`, `192.0.2.1:4000`, `[2001:db8::1]:4000`, `2001:db8::1`, or a port alone, `4000`.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFilter {
    Ip(IpAddr),
    Port(u16),
    Both(SocketAddr),
}

impl AddressFilter {
    pub fn matches(self, addr: SocketAddr) -> bool {
        match self {
            Self::Ip(ip) => addr.ip().to_canonical() == ip,
            Self::Port(port) => addr.port() == port,
            Self::Both(both) => addr.ip().to_canonical() == both.ip() && addr.port() == both.port(),
        }
    }
}

impl FromStr for AddressFilter {
    type Err = ();

    /// IPv4-mapped IPv6 addresses are taken as the IPv4 addresses that they are.
    fn from_str(text: &str) -> Result<Self, ()> {
        if let Ok(both) = text.parse::<SocketAddr>() {
            return Ok(Self::Both(SocketAddr::new(
                both.ip().to_canonical(),
                both.port(),
            )));
        }
        let bare = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        if let Ok(ip) = bare.unwrap_or(text).parse::<IpAddr>() {
            return Ok(Self::Ip(ip.to_canonical()));
        }
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let port = text.parse().ok().filter(|port| digits && *port > 0);
        port.map(Self::Port).ok_or(())
    }
}
