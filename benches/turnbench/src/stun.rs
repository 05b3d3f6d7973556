//! The slice of STUN/TURN (RFC 8489, RFC 8656) that a client needs.

use aws_lc_rs::hmac;
use md5::Digest as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub const MAGIC: u32 = 0x2112_A442;

pub mod method {
    pub const ALLOCATE: u16 = 0x003;
    pub const REFRESH: u16 = 0x004;
    pub const SEND: u16 = 0x006;
    pub const DATA: u16 = 0x007;
    pub const CREATE_PERMISSION: u16 = 0x008;
    pub const CHANNEL_BIND: u16 = 0x009;
}

/// Class bits, already spread over the message type field.
pub mod class {
    pub const REQUEST: u16 = 0x000;
    pub const INDICATION: u16 = 0x010;
    pub const SUCCESS: u16 = 0x100;
    pub const ERROR: u16 = 0x110;
    pub const MASK: u16 = 0x110;
}

pub mod attr {
    pub const USERNAME: u16 = 0x0006;
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub const ERROR_CODE: u16 = 0x0009;
    pub const CHANNEL_NUMBER: u16 = 0x000C;
    pub const LIFETIME: u16 = 0x000D;
    pub const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub const DATA: u16 = 0x0013;
    pub const REALM: u16 = 0x0014;
    pub const NONCE: u16 = 0x0015;
    pub const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub const FINGERPRINT: u16 = 0x8028;
}

pub type TxId = [u8; 12];

/// MD5(user ":" realm ":" password), the long-term credential key.
pub fn long_term_key(user: &str, realm: &[u8], password: &str) -> [u8; 16] {
    let mut h = md5::Md5::new();
    h.update(user.as_bytes());
    h.update(b":");
    h.update(realm);
    h.update(b":");
    h.update(password.as_bytes());
    h.finalize().into()
}

fn hmac_sha1(key: &[u8], data: &[u8]) -> [u8; 20] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let tag = hmac::sign(&key, data);
    tag.as_ref().try_into().expect("HMAC-SHA1 is 20 bytes long")
}

/// CRC-32 as FINGERPRINT wants it (RFC 8489 §14.7).
fn crc32(data: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
    !data.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc))
    })
}

pub struct Builder {
    buf: Vec<u8>,
}

impl Builder {
    pub fn new(method: u16, class: u16, txid: &TxId) -> Self {
        let mut buf = Vec::with_capacity(256);
        buf.extend_from_slice(&(method | class).to_be_bytes());
        buf.extend_from_slice(&[0, 0]);
        buf.extend_from_slice(&MAGIC.to_be_bytes());
        buf.extend_from_slice(txid);
        Builder { buf }
    }

    pub fn attr(mut self, kind: u16, value: &[u8]) -> Self {
        self.buf.extend_from_slice(&kind.to_be_bytes());
        self.buf
            .extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.buf.extend_from_slice(value);
        self.buf.resize(self.buf.len().next_multiple_of(4), 0);
        self.set_len(0);
        self
    }

    pub fn xor_addr(self, kind: u16, addr: SocketAddr) -> Self {
        let mut v = vec![0, 1];
        v.extend_from_slice(&(addr.port() ^ (MAGIC >> 16) as u16).to_be_bytes());
        match addr.ip() {
            IpAddr::V4(ip) => v.extend_from_slice(&(u32::from(ip) ^ MAGIC).to_be_bytes()),
            IpAddr::V6(ip) => {
                v[1] = 2;
                v.extend(ip.octets().iter().zip(&self.buf[4..20]).map(|(a, b)| a ^ b));
            }
        }
        self.attr(kind, &v)
    }

    fn set_len(&mut self, extra: usize) {
        let len = (self.buf.len() - 20 + extra) as u16;
        self.buf[2..4].copy_from_slice(&len.to_be_bytes());
    }

    /// The message as it stands, without integrity or fingerprint.
    pub fn plain(self) -> Vec<u8> {
        self.buf
    }

    /// Appends MESSAGE-INTEGRITY (when a key is given) and FINGERPRINT.
    pub fn finish(mut self, key: Option<&[u8]>) -> Vec<u8> {
        if let Some(key) = key {
            self.set_len(24);
            let mac = hmac_sha1(key, &self.buf);
            self = self.attr(attr::MESSAGE_INTEGRITY, &mac);
        }
        self.set_len(8);
        let crc = crc32(&self.buf) ^ 0x5354_554E;
        self.attr(attr::FINGERPRINT, &crc.to_be_bytes()).buf
    }
}

#[derive(Clone, Copy)]
pub struct Message<'a> {
    raw: &'a [u8],
}

impl<'a> Message<'a> {
    pub fn parse(raw: &'a [u8]) -> Option<Self> {
        if raw.len() < 20 || raw[0] & 0xC0 != 0 || raw[4..8] != MAGIC.to_be_bytes() {
            return None;
        }
        let len = u16::from_be_bytes([raw[2], raw[3]]) as usize;
        (raw.len() == len + 20 && len.is_multiple_of(4)).then_some(Message { raw })
    }

    fn kind(&self) -> u16 {
        u16::from_be_bytes([self.raw[0], self.raw[1]])
    }

    pub fn class(&self) -> u16 {
        self.kind() & class::MASK
    }

    pub fn method(&self) -> u16 {
        self.kind() & !class::MASK
    }

    pub fn txid(&self) -> &'a [u8] {
        &self.raw[8..20]
    }

    /// (type, offset of the attribute header, value) of every attribute.
    fn attrs(&self) -> impl Iterator<Item = (u16, usize, &'a [u8])> {
        let raw = self.raw;
        let mut at = 20;
        std::iter::from_fn(move || {
            let head = raw.get(at..at + 4)?;
            let len = u16::from_be_bytes([head[2], head[3]]) as usize;
            let item = (
                u16::from_be_bytes([head[0], head[1]]),
                at,
                raw.get(at + 4..at + 4 + len)?,
            );
            at += 4 + len.next_multiple_of(4);
            Some(item)
        })
    }

    pub fn attr(&self, kind: u16) -> Option<&'a [u8]> {
        self.attrs().find(|a| a.0 == kind).map(|a| a.2)
    }

    pub fn error_code(&self) -> Option<u16> {
        let v = self.attr(attr::ERROR_CODE)?;
        Some(*v.get(2)? as u16 * 100 + *v.get(3)? as u16)
    }

    pub fn xor_addr(&self, kind: u16) -> Option<SocketAddr> {
        let v = self.attr(kind)?;
        let port = u16::from_be_bytes([*v.get(2)?, *v.get(3)?]) ^ (MAGIC >> 16) as u16;
        let ip = match (v[1], v.len()) {
            (1, 8) => IpAddr::V4(Ipv4Addr::from(
                u32::from_be_bytes(v[4..8].try_into().ok()?) ^ MAGIC,
            )),
            (2, 20) => {
                let mut o: [u8; 16] = v[4..20].try_into().ok()?;
                o.iter_mut()
                    .zip(&self.raw[4..20])
                    .for_each(|(a, b)| *a ^= b);
                IpAddr::V6(Ipv6Addr::from(o))
            }
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }

    /// `None` when the message carries no MESSAGE-INTEGRITY.
    pub fn integrity_ok(&self, key: &[u8]) -> Option<bool> {
        let (_, at, value) = self.attrs().find(|a| a.0 == attr::MESSAGE_INTEGRITY)?;
        let mut head = self.raw[..at].to_vec();
        head[2..4].copy_from_slice(&((at - 20 + 24) as u16).to_be_bytes());
        Some(hmac_sha1(key, &head) == value)
    }

    /// `None` when the message carries no FINGERPRINT.
    pub fn fingerprint_ok(&self) -> Option<bool> {
        let (_, at, value) = self.attrs().find(|a| a.0 == attr::FINGERPRINT)?;
        let crc = crc32(&self.raw[..at]) ^ 0x5354_554E;
        Some(value == crc.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769 section 2.4: request with long-term authentication.
    #[test]
    fn rfc5769_long_term_sample() {
        let hex = "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aa\
                   e38383e382af e382b90000 0015001c 662f2f34 39396b39 35346436 4f4c33\
                   34 6f4c394653 54767936 3473 4100140 00b 6578616d 706c652e 6f726700\
                   000800 14f67024656dd64a3e02b8e0712e85c9a28ca89666";
        let digits: Vec<u8> = hex.bytes().filter(|b| b.is_ascii_hexdigit()).collect();
        let raw: Vec<u8> = digits
            .chunks(2)
            .map(|c| u8::from_str_radix(std::str::from_utf8(c).unwrap(), 16).unwrap())
            .collect();
        let m = Message::parse(&raw).expect("parses");
        let key = long_term_key(
            "\u{30de}\u{30c8}\u{30ea}\u{30c3}\u{30af}\u{30b9}",
            b"example.org",
            "TheMatrIX",
        );
        assert_eq!(m.integrity_ok(&key), Some(true));
        assert_eq!(m.attr(attr::REALM), Some(&b"example.org"[..]));
    }

    #[test]
    fn round_trip() {
        let key = long_term_key("u", b"r", "p");
        for addr in ["192.0.2.1:4242", "[2001:db8::7]:99"] {
            let addr: SocketAddr = addr.parse().unwrap();
            let raw = Builder::new(method::CREATE_PERMISSION, class::REQUEST, &[7; 12])
                .xor_addr(attr::XOR_PEER_ADDRESS, addr)
                .attr(attr::USERNAME, b"u")
                .finish(Some(&key));
            let m = Message::parse(&raw).unwrap();
            assert_eq!(m.xor_addr(attr::XOR_PEER_ADDRESS), Some(addr));
            assert_eq!(m.integrity_ok(&key), Some(true));
            assert_eq!(m.fingerprint_ok(), Some(true));
            assert_eq!(
                (m.method(), m.class()),
                (method::CREATE_PERMISSION, class::REQUEST)
            );
        }
    }
}
