//! A small STUN and TURN codec (RFC 8489, RFC 8656) for tests, written apart from the server's.
//!
//! The writer can make any message, valid or not. The reader is strict: what a careful client would
//! refuse (wrong length, dirty padding, anything but FINGERPRINT after the integrity) is an error.

use aws_lc_rs::{digest, hmac};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];

pub const BINDING: u16 = 0x001;
pub const ALLOCATE: u16 = 0x003;
pub const REFRESH: u16 = 0x004;
pub const SEND: u16 = 0x006;
pub const DATA: u16 = 0x007;
pub const CREATE_PERMISSION: u16 = 0x008;
pub const CHANNEL_BIND: u16 = 0x009;
pub const CONNECT: u16 = 0x00a;

pub mod attr {
    pub const MAPPED_ADDRESS: u16 = 0x0001;
    pub const USERNAME: u16 = 0x0006;
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub const ERROR_CODE: u16 = 0x0009;
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub const CHANNEL_NUMBER: u16 = 0x000c;
    pub const LIFETIME: u16 = 0x000d;
    pub const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub const DATA: u16 = 0x0013;
    pub const REALM: u16 = 0x0014;
    pub const NONCE: u16 = 0x0015;
    pub const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    pub const EVEN_PORT: u16 = 0x0018;
    pub const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub const DONT_FRAGMENT: u16 = 0x001a;
    pub const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
    pub const PASSWORD_ALGORITHM: u16 = 0x001d;
    pub const USERHASH: u16 = 0x001e;
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub const RESERVATION_TOKEN: u16 = 0x0022;
    pub const ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8000;
    pub const ADDRESS_ERROR_CODE: u16 = 0x8001;
    pub const PASSWORD_ALGORITHMS: u16 = 0x8002;
    pub const ICMP: u16 = 0x8004;
    pub const SOFTWARE: u16 = 0x8022;
    pub const FINGERPRINT: u16 = 0x8028;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Request,
    Indication,
    Success,
    Error,
}

impl Class {
    fn bits(self) -> u16 {
        match self {
            Self::Request => 0x000,
            Self::Indication => 0x010,
            Self::Success => 0x100,
            Self::Error => 0x110,
        }
    }
}

fn message_type(class: Class, method: u16) -> u16 {
    let spread = (method & 0xf80) << 2 | (method & 0x070) << 1 | (method & 0x00f);
    spread | class.bits()
}

/// Which of the two integrity attributes protects a message, and with which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Integrity {
    Sha1(Vec<u8>),
    Sha256(Vec<u8>),
}

/// Writes one message, attribute by attribute, in the order of the calls.
#[derive(Clone, Debug)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub fn new(class: Class, method: u16, transaction_id: [u8; 12]) -> Self {
        let mut bytes = message_type(class, method).to_be_bytes().to_vec();
        bytes.extend([0, 0]);
        bytes.extend(COOKIE);
        bytes.extend(transaction_id);
        Self { bytes }
    }

    /// A request of RFC 3489: 16 bytes of transaction ID where the cookie would be.
    pub fn rfc3489(method: u16, transaction_id: [u8; 16]) -> Self {
        let mut bytes = method.to_be_bytes().to_vec();
        bytes.extend([0, 0]);
        bytes.extend(transaction_id);
        Self { bytes }
    }

    pub fn attr(self, kind: u16, value: &[u8]) -> Self {
        self.attr_padded_with(kind, value, 0)
    }

    /// RFC 8489 §14: padding is ignored by the receiver, whatever it holds.
    pub fn attr_padded_with(mut self, kind: u16, value: &[u8], padding: u8) -> Self {
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend((value.len() as u16).to_be_bytes());
        self.bytes.extend(value);
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(padding);
        }
        self.set_length(self.bytes.len() - 20);
        self
    }

    pub fn xor_addr(self, kind: u16, addr: SocketAddr) -> Self {
        let value = xor_address(addr, &self.bytes[4..20]);
        self.attr(kind, &value)
    }

    pub fn integrity(mut self, integrity: &Integrity) -> Self {
        let (kind, len) = match integrity {
            Integrity::Sha1(_) => (attr::MESSAGE_INTEGRITY, 20),
            Integrity::Sha256(_) => (attr::MESSAGE_INTEGRITY_SHA256, 32),
        };
        self.set_length(self.bytes.len() - 20 + 4 + len);
        let tag = hmac_tag(integrity, &self.bytes);
        self.attr(kind, &tag)
    }

    pub fn fingerprint(mut self) -> Self {
        self.set_length(self.bytes.len() - 20 + 8);
        let value = crc32(&self.bytes) ^ 0x5354_554e;
        self.attr(attr::FINGERPRINT, &value.to_be_bytes())
    }

    pub fn bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn set_length(&mut self, len: usize) {
        self.bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    }
}

/// A message as read, with what is needed to verify it.
#[derive(Clone)]
pub struct Message {
    pub class: Class,
    pub method: u16,
    pub cookie: bool,
    pub transaction_id: [u8; 12],
    pub attrs: Vec<Attr>,
    raw: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attr {
    pub kind: u16,
    pub value: Vec<u8>,
    /// Where the attribute's header starts in the message.
    offset: usize,
    clean_padding: bool,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:#05x} [", self.class, self.method)?;
        for attr in &self.attrs {
            write!(f, " {:04x}:{}", attr.kind, attr.value.len())?;
        }
        write!(f, " ]")?;
        if let Some(code) = self.error_code() {
            write!(f, " code {code}")?;
        }
        Ok(())
    }
}

impl Message {
    /// Reads a message that must fill `bytes`.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let header = bytes.get(..20).ok_or("shorter than a header")?;
        let kind = u16::from_be_bytes([header[0], header[1]]);
        if kind & 0xc000 != 0 {
            return Err("the first two bits are not zero".into());
        }
        let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if !len.is_multiple_of(4) || bytes.len() != 20 + len {
            return Err(format!("length field {len} in {} bytes", bytes.len()));
        }
        let class = match kind & 0x110 {
            0x000 => Class::Request,
            0x010 => Class::Indication,
            0x100 => Class::Success,
            _ => Class::Error,
        };
        let mut transaction_id = [0; 12];
        transaction_id.copy_from_slice(&header[8..20]);
        let mut attrs = Vec::new();
        let mut offset = 20;
        while offset < bytes.len() {
            let attr = read_attr(bytes, offset)?;
            offset += 4 + attr.value.len().next_multiple_of(4);
            attrs.push(attr);
        }
        Ok(Self {
            class,
            method: (kind & 0x3e00) >> 2 | (kind & 0x00e0) >> 1 | (kind & 0x000f),
            cookie: header[4..8] == COOKIE,
            transaction_id,
            attrs,
            raw: bytes.to_vec(),
        })
    }

    /// Of the whole message, in bytes.
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    pub fn get(&self, kind: u16) -> Option<&[u8]> {
        self.find(kind).map(|attr| attr.value.as_slice())
    }

    fn find(&self, kind: u16) -> Option<&Attr> {
        self.attrs.iter().find(|attr| attr.kind == kind)
    }

    pub fn has(&self, kind: u16) -> bool {
        self.find(kind).is_some()
    }

    pub fn all(&self, kind: u16) -> impl Iterator<Item = &[u8]> {
        let of_kind = move |attr: &&Attr| attr.kind == kind;
        self.attrs
            .iter()
            .filter(of_kind)
            .map(|attr| attr.value.as_slice())
    }

    pub fn text(&self, kind: u16) -> Option<String> {
        String::from_utf8(self.get(kind)?.to_vec()).ok()
    }

    pub fn u32(&self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    pub fn xor_addr(&self, kind: u16) -> Option<SocketAddr> {
        unxor_address(self.get(kind)?, &self.raw[4..20])
    }

    pub fn xor_addrs(&self, kind: u16) -> Vec<Option<SocketAddr>> {
        let addr = |value: &[u8]| unxor_address(value, &self.raw[4..20]);
        self.all(kind).map(addr).collect()
    }

    /// MAPPED-ADDRESS, which is not masked.
    pub fn plain_addr(&self, kind: u16) -> Option<SocketAddr> {
        unxor_address(self.get(kind)?, &[0; 16])
    }

    pub fn error_code(&self) -> Option<u16> {
        let value = self.get(attr::ERROR_CODE)?;
        let (class, number) = (*value.get(2)?, *value.get(3)?);
        Some(u16::from(class & 7) * 100 + u16::from(number))
    }

    /// Attributes that count: those before the integrity (RFC 8489 §9.2.4), and FINGERPRINT.
    pub fn protected(&self) -> Self {
        let is_end = |attr: &Attr| {
            matches!(
                attr.kind,
                attr::MESSAGE_INTEGRITY | attr::MESSAGE_INTEGRITY_SHA256
            )
        };
        let mut copy = self.clone();
        if let Some(end) = self.attrs.iter().position(is_end) {
            let mut index = 0;
            copy.attrs.retain(|attr| {
                index += 1;
                let trailing = [attr::MESSAGE_INTEGRITY_SHA256, attr::FINGERPRINT];
                index <= end + 1 || trailing.contains(&attr.kind)
            });
        }
        copy
    }

    pub fn verify(&self, integrity: &Integrity) -> bool {
        let kind = match integrity {
            Integrity::Sha1(_) => attr::MESSAGE_INTEGRITY,
            Integrity::Sha256(_) => attr::MESSAGE_INTEGRITY_SHA256,
        };
        let Some(found) = self.find(kind) else {
            return false;
        };
        let mut covered = self.raw[..found.offset].to_vec();
        let len = (found.offset - 20 + 4 + found.value.len()) as u16;
        covered[2..4].copy_from_slice(&len.to_be_bytes());
        let tag = hmac_tag(integrity, &covered);
        tag.get(..found.value.len()) == Some(&found.value)
    }

    pub fn has_integrity(&self) -> bool {
        self.has(attr::MESSAGE_INTEGRITY) || self.has(attr::MESSAGE_INTEGRITY_SHA256)
    }

    /// True when a FINGERPRINT stands last and is right.
    pub fn fingerprint_holds(&self) -> bool {
        let Some(last) = self.attrs.last() else {
            return false;
        };
        let value = crc32(&self.raw[..last.offset]) ^ 0x5354_554e;
        last.kind == attr::FINGERPRINT && last.value == value.to_be_bytes()
    }

    /// What a careful client refuses in a server's message, beyond what `read` refuses.
    pub fn complaint(&self) -> Option<String> {
        if let Some(attr) = self.attrs.iter().find(|attr| !attr.clean_padding) {
            return Some(format!("padding after {:#06x} is not zero", attr.kind));
        }
        if self.has(attr::FINGERPRINT) && !self.fingerprint_holds() {
            return Some("FINGERPRINT is wrong or not last".into());
        }
        let rank = |kind: u16| match kind {
            attr::MESSAGE_INTEGRITY => 1,
            attr::MESSAGE_INTEGRITY_SHA256 => 2,
            attr::FINGERPRINT => 3,
            _ => 0,
        };
        if !self.attrs.is_sorted_by_key(|attr| rank(attr.kind)) {
            return Some("an attribute follows the integrity".into());
        }
        let repeatable = [attr::XOR_RELAYED_ADDRESS];
        for (index, attr) in self.attrs.iter().enumerate() {
            let again = self.attrs[..index]
                .iter()
                .any(|other| other.kind == attr.kind);
            if again && !repeatable.contains(&attr.kind) {
                return Some(format!("attribute {:#06x} appears twice", attr.kind));
            }
        }
        None
    }
}

fn read_attr(bytes: &[u8], offset: usize) -> Result<Attr, String> {
    let header = bytes
        .get(offset..offset + 4)
        .ok_or("attribute header cut")?;
    let kind = u16::from_be_bytes([header[0], header[1]]);
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let end = offset + 4 + len;
    let value = bytes.get(offset + 4..end).ok_or("attribute value cut")?;
    let padding = bytes
        .get(end..end.next_multiple_of(4))
        .ok_or("attribute padding cut")?;
    Ok(Attr {
        kind,
        value: value.to_vec(),
        offset,
        clean_padding: padding.iter().all(|byte| *byte == 0),
    })
}

fn xor_address(addr: SocketAddr, mask: &[u8]) -> Vec<u8> {
    let mut value = vec![0, if addr.is_ipv4() { 1 } else { 2 }];
    value.extend((addr.port() ^ u16::from_be_bytes([mask[0], mask[1]])).to_be_bytes());
    let octets = match addr.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    value.extend(octets.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    value
}

fn unxor_address(value: &[u8], mask: &[u8]) -> Option<SocketAddr> {
    let (head, octets) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([head[2] ^ mask[0], head[3] ^ mask[1]]);
    let octets: Vec<u8> = octets
        .iter()
        .zip(mask)
        .map(|(byte, mask)| byte ^ mask)
        .collect();
    let ip: IpAddr = match (head[1], value.len()) {
        (1, 8) => Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?).into(),
        (2, 20) => Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn hmac_tag(integrity: &Integrity, bytes: &[u8]) -> Vec<u8> {
    let (algorithm, key) = match integrity {
        Integrity::Sha1(key) => (hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key),
        Integrity::Sha256(key) => (hmac::HMAC_SHA256, key),
    };
    hmac::sign(&hmac::Key::new(algorithm, key), bytes)
        .as_ref()
        .to_vec()
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

pub fn key_md5(username: &str, realm: &str, password: &str) -> Vec<u8> {
    super::md5::md5(format!("{username}:{realm}:{password}").as_bytes()).to_vec()
}

pub fn key_sha256(username: &str, realm: &str, password: &str) -> Vec<u8> {
    sha256(format!("{username}:{realm}:{password}").as_bytes())
}

pub fn userhash(username: &str, realm: &str) -> Vec<u8> {
    sha256(format!("{username}:{realm}").as_bytes())
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

/// The password of a time-limited username: base64(HMAC-SHA1(secret, username)).
pub fn rest_password(secret: &str, username: &str) -> String {
    use base64::Engine;
    let key = Integrity::Sha1(secret.as_bytes().to_vec());
    base64::engine::general_purpose::STANDARD.encode(hmac_tag(&key, username.as_bytes()))
}

/// A ChannelData message (RFC 8656 §12.4), padded to four bytes when asked.
pub fn channel_data(number: u16, payload: &[u8], padded: bool) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend(payload);
    while padded && !bytes.len().is_multiple_of(4) {
        bytes.push(0);
    }
    bytes
}

/// RFC 5769 §2.1: the codec of the tests is itself held against a published vector.
#[test]
fn the_test_codec_agrees_with_the_rfc_5769_sample_request() {
    let hex = "000100582112a442b7e7a701bc34d686fa87dfae\
        802200105354554e207465737420636c69656e74\
        002400046e0001ff80290008932ff9b151263b36\
        000600096576746a3a68367659202020\
        000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2\
        80280004e57a3bcf";
    let digit = |byte: &u8| (*byte as char).to_digit(16).expect("hex digits") as u8;
    let pairs = hex.as_bytes().chunks_exact(2);
    let sample: Vec<u8> = pairs
        .map(|pair| digit(&pair[0]) << 4 | digit(&pair[1]))
        .collect();

    let message = Message::read(&sample).expect("the sample is a message");
    let key = Integrity::Sha1(b"VOkJxbRl1RmTxUk/WvJxBt".to_vec());
    assert_eq!(message.text(attr::USERNAME).as_deref(), Some("evtj:h6vY"));
    assert!(message.verify(&key));
    assert!(message.fingerprint_holds());
    assert!(!message.verify(&Integrity::Sha1(b"another key".to_vec())));
    let complaint = message.complaint().expect("the sample pads with spaces");
    assert!(complaint.contains("padding"), "{complaint}");
}
