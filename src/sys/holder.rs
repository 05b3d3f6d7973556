//! Which process holds a port, for the message of a failed bind. Reads `/proc`; knows nothing without it.
//!
//! Cold: called when starting has failed already. Without the privilege to look into other users' processes
//! the answer is `None`.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Udp,
    Tcp,
}

/// A process that has a socket open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub name: String,
    pub pid: u32,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// State 0A of a TCP socket in `/proc/net/tcp`: listening. Other states do not stop a bind.
const TCP_LISTEN: &str = "0A";

/// The process whose socket is in the way of binding `addr`.
pub fn holder(protocol: Protocol, addr: SocketAddr) -> Option<Holder> {
    let tables = match protocol {
        Protocol::Udp => ["/proc/net/udp", "/proc/net/udp6"],
        Protocol::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
    };
    tables.iter().find_map(|path| {
        let table = fs::read_to_string(path).ok()?;
        let inodes = conflicting(&table, protocol, addr);
        inodes.into_iter().find_map(process_with_socket)
    })
}

/// Inodes of the sockets that a bind of `addr` collides with.
fn conflicting(table: &str, protocol: Protocol, addr: SocketAddr) -> Vec<u64> {
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        let mut fields = line.split_whitespace();
        let (Some(local), Some(state), Some(inode)) = (fields.nth(1), fields.nth(1), fields.nth(5))
        else {
            continue;
        };
        let (Some(local), Ok(inode)) = (parse_address(local), inode.parse()) else {
            continue;
        };
        let is_bound = protocol == Protocol::Udp || state == TCP_LISTEN;
        if is_bound && inode != 0 && collides(local, addr) {
            found.push(inode);
        }
    }
    found
}

fn collides(held: SocketAddr, wanted: SocketAddr) -> bool {
    if held.port() != wanted.port() {
        return false;
    }
    // A wildcard IPv6 socket may hold the IPv4 port as well.
    let wildcard = held.ip().is_unspecified() && (held.is_ipv6() || wanted.is_ipv4());
    let wanted_wildcard = wanted.ip().is_unspecified() && held.is_ipv6() == wanted.is_ipv6();
    held.ip() == wanted.ip() || wildcard || wanted_wildcard
}

/// `0100007F:0D96`: the address as 32-bit words in the machine's own order, the port in hexadecimal.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let hex = ip.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(hex, 16).ok()?.to_ne_bytes())
    };
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut octets = [0; 16];
            for (at, chunk) in octets.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            Ipv6Addr::from(octets).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn process_with_socket(inode: u64) -> Option<Holder> {
    let link = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let path = entry.path();
        let holds = |fd: fs::DirEntry| {
            fs::read_link(fd.path()).is_ok_and(|target| target == Path::new(&link))
        };
        let mut fds = fs::read_dir(path.join("fd")).ok()?.flatten();
        if !fds.any(holds) {
            return None;
        }
        let name = fs::read_to_string(path.join("comm")).ok()?;
        Some(Holder {
            name: name.trim().to_owned(),
            pid,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn the_process_with_the_port_is_named() {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let tcp = TcpListener::bind("[::1]:0").expect("bound");
        let us = Some(std::process::id());
        let udp_addr = udp.local_addr().expect("bound");
        let wildcard = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), udp_addr.port());
        let pid = |holder: Option<Holder>| holder.map(|holder| holder.pid);
        assert_eq!(pid(holder(Protocol::Udp, udp_addr)), us);
        assert_eq!(pid(holder(Protocol::Udp, wildcard)), us);
        let tcp_addr = tcp.local_addr().expect("bound");
        assert_eq!(pid(holder(Protocol::Tcp, tcp_addr)), us);
    }

    #[test]
    fn only_what_is_in_the_way_counts() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("valid");
        assert!(collides(at("0.0.0.0:53"), at("127.0.0.1:53")));
        assert!(collides(at("127.0.0.1:53"), at("0.0.0.0:53")));
        assert!(collides(at("[::]:53"), at("127.0.0.1:53")));
        assert!(!collides(at("127.0.0.2:53"), at("127.0.0.1:53")));
        assert!(!collides(at("0.0.0.0:53"), at("127.0.0.1:54")));
        assert!(!collides(at("0.0.0.0:53"), at("[::1]:53")));
    }

    #[test]
    fn tables_that_are_not_what_they_should_be_are_ignored() {
        let addr = "127.0.0.1:3478".parse().expect("valid");
        let word = u32::from_ne_bytes([127, 0, 0, 1]);
        let line = format!(
            "1: {word:08X}:0D96 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 4711 2 0 0"
        );
        let table = format!("header\n\n 1: x\n1: 0:zz 0:0 07\n{line}\n");
        assert_eq!(conflicting(&table, Protocol::Udp, addr), [4711]);
        assert_eq!(conflicting(&table, Protocol::Tcp, addr), [0u64; 0]);
    }
}
