//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): who a load balancer speaks for.
//!
//! `ppp` reads a whole header; finding its end in a stream is done here, by looking at the bytes first and taking
//! exactly the header's, so that what follows stays in the socket. A header is at most [`HEADER_BYTES_MAX`] long.

use super::metrics::Reason;
use crate::addr;
use ppp::{v1, v2};
use std::net::SocketAddr;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Longest header with all its TLVs, in bytes. Version 1 ends at 107; certificates in TLVs need a few hundred.
const HEADER_BYTES_MAX: usize = 4096;
/// Longest version 1 header (proxy-protocol.txt §2.1).
const V1_BYTES_MAX: usize = 107;
/// Signature, version, family and length of version 2 (§2.2).
const V2_FIXED_BYTES: usize = 16;
const V1_PREFIX: &[u8] = b"PROXY ";
/// Bytes that are looked at in one go; nearly every header is shorter.
const PEEK_BYTES: usize = 256;

/// Client and server as the proxy saw them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    pub client: SocketAddr,
    pub server: SocketAddr,
}

/// Reads the header. `None`: the proxy speaks for itself (LOCAL, UNKNOWN, UNSPEC) or for something that is no TCP
/// connection, so the socket's own addresses hold (§2.1, §2.2).
///
/// No deadline here; the caller has one.
pub(super) async fn read(stream: &mut TcpStream) -> Result<Option<Addresses>, Reason> {
    let mut header = Vec::new();
    loop {
        let mut peeked = [0; PEEK_BYTES];
        let room = PEEK_BYTES.min(HEADER_BYTES_MAX - header.len());
        let seen = stream
            .peek(&mut peeked[..room])
            .await
            .map_err(|_| Reason::Socket)?;
        if seen == 0 {
            return Err(Reason::ClientClosed);
        }
        let taken = header.len();
        header.extend_from_slice(&peeked[..seen]);
        let end = match frame(&header) {
            Frame::Complete(end) => end,
            Frame::Partial => header.len(),
            Frame::Invalid => return Err(Reason::ProxyHeader),
        };
        // These bytes were seen, so they are there and this does not wait.
        stream
            .read_exact(&mut peeked[..end - taken])
            .await
            .map_err(|_| Reason::Socket)?;
        if let Frame::Complete(end) = frame(&header) {
            return parse(&header[..end]).ok_or(Reason::ProxyHeader);
        }
    }
}

/// The length of the valid header that `bytes` begin with, if the whole of it is there.
pub fn header_len(bytes: &[u8]) -> Option<usize> {
    match frame(bytes) {
        Frame::Complete(end) => parse(bytes.get(..end)?).map(|_| end),
        Frame::Partial | Frame::Invalid => None,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Frame {
    /// All of it belongs to the header, and more is to come.
    Partial,
    /// The header ends here.
    Complete(usize),
    Invalid,
}

/// How much of `bytes` is header.
fn frame(bytes: &[u8]) -> Frame {
    if begins(bytes, V1_PREFIX) {
        let line = &bytes[..bytes.len().min(V1_BYTES_MAX)];
        match line.iter().position(|&byte| byte == b'\n') {
            Some(end) => Frame::Complete(end + 1),
            None if line.len() < V1_BYTES_MAX => Frame::Partial,
            None => Frame::Invalid,
        }
    } else if begins(bytes, v2::PROTOCOL_PREFIX) {
        let Some((fixed, _)) = bytes.split_first_chunk::<V2_FIXED_BYTES>() else {
            return Frame::Partial;
        };
        let end = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
        match end {
            _ if end > HEADER_BYTES_MAX => Frame::Invalid,
            _ if end > bytes.len() => Frame::Partial,
            _ => Frame::Complete(end),
        }
    } else {
        Frame::Invalid
    }
}

/// True while `bytes` agree with `prefix` as far as both go.
fn begins(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.iter().zip(prefix).all(|(a, b)| a == b)
}

/// `None`: not a header after all. `Some(None)`: a header without a client's address.
fn parse(header: &[u8]) -> Option<Option<Addresses>> {
    if header.starts_with(V1_PREFIX) {
        let parsed = v1::Header::try_from(header).ok()?;
        // The line ends at its first CR, and that must be the end of what was framed.
        if parsed.header.len() != header.len() {
            return None;
        }
        return Some(match parsed.addresses {
            v1::Addresses::Tcp4(v4) => Some(Addresses::of_v4(&v4)),
            v1::Addresses::Tcp6(v6) => Some(Addresses::of_v6(&v6)),
            v1::Addresses::Unknown => None,
        });
    }
    let parsed = v2::Header::try_from(header).ok()?;
    match (parsed.command, parsed.protocol) {
        (v2::Command::Local, _) => return Some(None),
        (v2::Command::Proxy, v2::Protocol::Unspecified | v2::Protocol::Datagram) => {
            return Some(None);
        }
        (v2::Command::Proxy, v2::Protocol::Stream) => {}
    }
    Some(match parsed.addresses {
        v2::Addresses::IPv4(v4) => Some(Addresses::of_v4(&v4)),
        v2::Addresses::IPv6(v6) => Some(Addresses::of_v6(&v6)),
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
    })
}

impl Addresses {
    fn of_v4(v4: &v1::IPv4) -> Self {
        Self {
            client: SocketAddr::from((v4.source_address, v4.source_port)),
            server: SocketAddr::from((v4.destination_address, v4.destination_port)),
        }
    }

    fn of_v6(v6: &v1::IPv6) -> Self {
        Self {
            client: addr::plain(SocketAddr::from((v6.source_address, v6.source_port))),
            server: addr::plain(SocketAddr::from((
                v6.destination_address,
                v6.destination_port,
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 443\r\n";

    #[test]
    fn header_ends_where_it_ends_whatever_follows() {
        for header in [V1.to_vec(), v2(0x21, 0x11, &ipv4()), v2(0x20, 0x00, &[])] {
            for cut in 1..header.len() {
                assert_eq!(frame(&header[..cut]), Frame::Partial, "at {cut}");
            }
            let mut more = header.clone();
            more.extend_from_slice(b"\x00\x01\n\r\n");
            assert_eq!(frame(&header), Frame::Complete(header.len()));
            assert_eq!(frame(&more), Frame::Complete(header.len()));
        }
    }

    #[test]
    fn addresses_of_both_versions_and_families_are_read() {
        let expected = Addresses {
            client: "192.0.2.7:50000".parse().expect("an address"),
            server: "192.0.2.1:443".parse().expect("an address"),
        };
        assert_eq!(parse(V1), Some(Some(expected)));
        assert_eq!(parse(&v2(0x21, 0x11, &ipv4())), Some(Some(expected)));
        let v6 = Addresses {
            client: "[2001:db8::7]:50000".parse().expect("an address"),
            server: "[2001:db8::1]:443".parse().expect("an address"),
        };
        let line = b"PROXY TCP6 2001:db8::7 2001:db8::1 50000 443\r\n";
        assert_eq!(parse(line), Some(Some(v6)));
        assert_eq!(parse(&v2(0x21, 0x21, &ipv6())), Some(Some(v6)));
    }

    #[test]
    fn mapped_addresses_become_plain() {
        let line = b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.1 50000 443\r\n";
        let addresses = parse(line).flatten().expect("it has addresses");
        assert_eq!(addresses.client.to_string(), "192.0.2.7:50000");
    }

    #[test]
    fn headers_without_a_tcp_client_keep_the_sockets_addresses() {
        for header in [
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
            v2(0x20, 0x11, &ipv4()), // LOCAL
            v2(0x21, 0x00, &[]),     // UNSPEC
            v2(0x21, 0x12, &ipv4()), // UDP
            v2(0x21, 0x31, &[0; 216]),
        ] {
            assert_eq!(parse(&header), Some(None), "{header:?}");
        }
    }

    #[test]
    fn tlvs_are_skipped() {
        let mut body = ipv4();
        body.extend_from_slice(&[0x04, 0x00, 0x03, 1, 2, 3]);
        assert!(parse(&v2(0x21, 0x11, &body)).flatten().is_some());
    }

    #[test]
    fn broken_headers_are_refused() {
        for header in [
            b"PROXY TCP4 192.0.2.7 192.0.2.1 50000\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 70000\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 192.0.2.1 50000 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 443\n".to_vec(),
            b"PROXY TCP9 192.0.2.7 192.0.2.1 50000 443\r\n".to_vec(),
            b"PROXY UNKNOWN\rX\n".to_vec(),
            v2(0x11, 0x11, &ipv4()),
            v2(0x22, 0x11, &ipv4()),
            v2(0x21, 0x41, &ipv4()),
            v2(0x21, 0x11, &ipv4()[..11]),
        ] {
            assert_eq!(parse(&header), None, "{header:?}");
        }
    }

    #[test]
    fn endless_headers_are_cut() {
        let mut line = b"PROXY UNKNOWN ".to_vec();
        line.resize(V1_BYTES_MAX, b'x');
        assert_eq!(frame(&line), Frame::Invalid);
        let long = v2(0x21, 0x11, &[0; HEADER_BYTES_MAX - V2_FIXED_BYTES + 1]);
        assert_eq!(frame(&long[..V2_FIXED_BYTES]), Frame::Invalid);
        let longest = v2(0x21, 0x11, &[0; HEADER_BYTES_MAX - V2_FIXED_BYTES]);
        assert_eq!(frame(&longest), Frame::Complete(HEADER_BYTES_MAX));
    }

    #[test]
    fn first_wrong_byte_is_enough() {
        for bytes in [b"G".as_slice(), b"PROXX", b"\r\nX", b"\x16", b"\x00\x01"] {
            assert_eq!(frame(bytes), Frame::Invalid, "{bytes:?}");
        }
    }

    fn v2(version_command: u8, family_protocol: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("a short body");
        let mut header = v2::PROTOCOL_PREFIX.to_vec();
        header.extend_from_slice(&[version_command, family_protocol]);
        header.extend_from_slice(&length.to_be_bytes());
        header.extend_from_slice(body);
        header
    }

    fn ipv4() -> Vec<u8> {
        vec![192, 0, 2, 7, 192, 0, 2, 1, 0xc3, 0x50, 0x01, 0xbb]
    }

    fn ipv6() -> Vec<u8> {
        let [a, b]: [std::net::Ipv6Addr; 2] =
            ["2001:db8::7", "2001:db8::1"].map(|text| text.parse().expect("an address"));
        let ports = [0xc3, 0x50, 0x01, 0xbb];
        [&a.octets()[..], &b.octets()[..], &ports].concat()
    }
}
