//! Socket addresses in the kernel's form (`sockaddr_in`, `sockaddr_in6`).

use std::mem;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for one IPv4 or IPv6 address, as `msg_name` points to it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union Name {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
    family: libc::sa_family_t,
}

impl Name {
    pub(super) const LEN_MAX: libc::socklen_t = mem::size_of::<Self>() as libc::socklen_t;

    pub(super) const fn empty() -> Self {
        Self {
            v6: libc::sockaddr_in6 {
                sin6_family: libc::AF_UNSPEC as libc::sa_family_t,
                sin6_port: 0,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
                sin6_scope_id: 0,
            },
        }
    }

    /// Writes `addr` and returns its length in bytes.
    pub(super) fn set(&mut self, addr: SocketAddr) -> libc::socklen_t {
        match addr {
            SocketAddr::V4(v4) => {
                self.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from(*v4.ip()).to_be(),
                    },
                    sin_zero: [0; 8],
                };
                mem::size_of::<libc::sockaddr_in>() as libc::socklen_t
            }
            SocketAddr::V6(v6) => {
                self.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr {
                        s6_addr: v6.ip().octets(),
                    },
                    sin6_scope_id: v6.scope_id(),
                };
                mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t
            }
        }
    }

    /// The address that the kernel wrote, `None` when it wrote none or one of another family.
    pub(super) fn get(&self, len: libc::socklen_t) -> Option<SocketAddr> {
        if (len as usize) < mem::size_of::<libc::sa_family_t>() {
            return None;
        }
        // SAFETY: every variant starts with the family, and all bytes of the union are always initialised.
        let family = unsafe { self.family };
        match i32::from(family) {
            libc::AF_INET => {
                // SAFETY: plain integers; any bytes are valid, and all of them are initialised.
                let v4 = unsafe { self.v4 };
                let ip = u32::from_be(v4.sin_addr.s_addr).into();
                Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: plain integers; any bytes are valid, and all of them are initialised.
                let v6 = unsafe { self.v6 };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Some(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernel_form() {
        for text in ["127.0.0.2:3478", "[::1]:65535", "[fe80::1%7]:1"] {
            let addr: SocketAddr = text.parse().expect("valid");
            let mut name = Name::empty();
            let len = name.set(addr);
            assert_eq!(name.get(len), Some(addr));
        }
        assert_eq!(Name::empty().get(Name::LEN_MAX), None);
        assert_eq!(Name::empty().get(0), None);
    }
}
