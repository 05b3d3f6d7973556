//! Control messages: a parsed request in place, and the builder of its answer.

use crate::addr::Family;
use crate::stun::attributes::{self, Attribute, Attributes};
use crate::stun::integrity::{self, Algorithm};
use crate::stun::{HEADER_LEN, MAGIC_COOKIE};
use std::net::SocketAddr;
use stun_types::attribute::{
    AttributeFromRaw, AttributeStaticType, AttributeType, AttributeWrite, ErrorCode, Fingerprint,
    MessageIntegrity, MessageIntegritySha256, RawAttribute, Software, UnknownAttributes,
};
use stun_types::message::{
    Message as Wire, MessageClass, MessageType, MessageWrite, MessageWriteExt, MessageWriteVec,
    Method, TransactionId,
};
use turn_types::attribute::XorPeerAddress;

/// RFC 8489 §5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Request,
    Indication,
    Success,
    Error,
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("not a STUN message")]
    NotStun,
    /// RFC 3489, before the magic cookie; `classic` reads it.
    #[error("a message without the magic cookie")]
    NoCookie,
    #[error("the length field does not agree with the bytes")]
    Length,
    #[error("an attribute runs past the end")]
    Overrun,
    #[error("the fingerprint is wrong")]
    Fingerprint,
}

/// An attribute is there, and its value is not of its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attribute {0:#06x} is malformed")]
pub struct Malformed(pub u16);

/// A STUN message whose structure and FINGERPRINT have been checked; integrity has not.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    kind: u16,
    fingerprint: bool,
}

impl<'a> Message<'a> {
    /// `bytes` is one whole datagram, or one whole message from a stream.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let (&[k0, k1, l0, l1, c0, c1, c2, c3], _) =
            bytes.split_first_chunk().ok_or(ParseError::NotStun)?;
        let kind = u16::from_be_bytes([k0, k1]);
        if kind & 0xc000 != 0 {
            return Err(ParseError::NotStun);
        }
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        if len % 4 != 0 || bytes.len() != HEADER_LEN + len {
            return Err(ParseError::Length);
        }
        if u32::from_be_bytes([c0, c1, c2, c3]) != MAGIC_COOKIE {
            return Err(ParseError::NoCookie);
        }
        let mut fingerprint = false;
        for attribute in Attributes::of(bytes) {
            let attribute = attribute.map_err(|_| ParseError::Overrun)?;
            if attribute.kind == attributes::FINGERPRINT {
                check_fingerprint(bytes, &attribute)?;
                fingerprint = true;
            }
        }
        Ok(Self {
            bytes,
            kind,
            fingerprint,
        })
    }

    pub fn class(&self) -> Class {
        match self.kind & 0x0110 {
            0x0000 => Class::Request,
            0x0010 => Class::Indication,
            0x0100 => Class::Success,
            _ => Class::Error,
        }
    }

    pub fn method(&self) -> u16 {
        (self.kind & 0x3e00) >> 2 | (self.kind & 0x00e0) >> 1 | self.kind & 0x000f
    }

    pub fn transaction_id(&self) -> [u8; 12] {
        let mut id = [0; 12];
        id.copy_from_slice(self.bytes.get(8..20).unwrap_or(&[0; 12]));
        id
    }

    pub fn has_fingerprint(&self) -> bool {
        self.fingerprint
    }

    pub fn has(&self, kind: u16) -> bool {
        self.find(kind).is_some()
    }

    /// The value of the first attribute of this type; later ones are ignored (RFC 8489 §14).
    pub fn value(&self, kind: u16) -> Option<&'a [u8]> {
        self.bytes.get(self.find(kind)?.value)
    }

    /// The first attribute of this type, read by the codec.
    pub fn get<T>(&self) -> Result<Option<T>, Malformed>
    where
        T: for<'b> AttributeFromRaw<'b> + AttributeStaticType,
    {
        let Some(value) = self.value(T::TYPE.value()) else {
            return Ok(None);
        };
        T::from_raw_ref(&RawAttribute::new(T::TYPE, value))
            .map(Some)
            .map_err(|_| Malformed(T::TYPE.value()))
    }

    /// The value of a text attribute of at most `len_max` bytes.
    pub fn text(&self, kind: u16, len_max: usize) -> Option<&'a str> {
        let value = self.value(kind).filter(|value| value.len() <= len_max)?;
        std::str::from_utf8(value).ok()
    }

    /// Every XOR-PEER-ADDRESS, in order.
    pub fn peers(&self) -> impl Iterator<Item = Result<SocketAddr, Malformed>> {
        let id = transaction_id(self.transaction_id());
        self.attributes()
            .filter(|attribute| attribute.kind == attributes::XOR_PEER_ADDRESS)
            .map(move |attribute| {
                let value = self.bytes.get(attribute.value).unwrap_or_default();
                let raw = RawAttribute::new(XorPeerAddress::TYPE, value);
                XorPeerAddress::from_raw_ref(&raw)
                    .map(|peer| peer.addr(id))
                    .map_err(|_| Malformed(attributes::XOR_PEER_ADDRESS))
            })
    }

    /// The family that an attribute of RFC 8656 §18.8 or §18.11 names; `Some(None)`: one that does not exist.
    pub fn family(&self, kind: u16) -> Result<Option<Option<Family>>, Malformed> {
        let Some(value) = self.value(kind) else {
            return Ok(None);
        };
        match value {
            [1, _, _, _] => Ok(Some(Some(Family::V4))),
            [2, _, _, _] => Ok(Some(Some(Family::V6))),
            [_, _, _, _] => Ok(Some(None)),
            _ => Err(Malformed(kind)),
        }
    }

    /// Comprehension-required attributes that this server does not know (RFC 8489 §6.3.1).
    pub fn unknown_required(&self) -> Vec<u16> {
        self.attributes()
            .map(|attribute| attribute.kind)
            .filter(|kind| attributes::is_unknown_and_required(*kind))
            .collect()
    }

    /// The attribute that protects the message: MESSAGE-INTEGRITY-SHA256 where both are there (§9.2.4).
    pub fn integrity(&self) -> Option<Algorithm> {
        [Algorithm::Sha256, Algorithm::Sha1]
            .into_iter()
            .find(|algorithm| self.has(algorithm.attribute()))
    }

    pub fn is_protected_by(&self, algorithm: Algorithm, key: &[u8]) -> bool {
        let Some(attribute) = self.find(algorithm.attribute()) else {
            return false;
        };
        let mac = self.bytes.get(attribute.value).unwrap_or_default();
        integrity::verify(self.bytes, attribute.start, mac, algorithm, key)
    }

    fn find(&self, kind: u16) -> Option<Attribute> {
        self.attributes().find(|attribute| attribute.kind == kind)
    }

    fn attributes(&self) -> impl Iterator<Item = Attribute> {
        Attributes::of(self.bytes).filter_map(Result::ok)
    }
}

/// Whether FINGERPRINT at the end of `bytes` is right (RFC 8489 §14.7).
pub(super) fn check_fingerprint(bytes: &[u8], attribute: &Attribute) -> Result<(), ParseError> {
    let found = bytes.get(attribute.value.clone()).unwrap_or_default();
    let length = attribute.start.saturating_add(8) - HEADER_LEN;
    let length = u16::try_from(length).map_err(|_| ParseError::Length)?;
    let (Some(kind), Some(rest)) = (bytes.get(..2), bytes.get(4..attribute.start)) else {
        return Err(ParseError::Overrun);
    };
    if Fingerprint::compute(&[kind, &length.to_be_bytes(), rest]) == found {
        Ok(())
    } else {
        Err(ParseError::Fingerprint)
    }
}

pub fn transaction_id(id: [u8; 12]) -> TransactionId {
    let mut wide = [0; 16];
    wide[4..].copy_from_slice(&id);
    TransactionId::from(u128::from_be_bytes(wide))
}

/// An answer in the making. Order: attributes, integrity, fingerprint.
pub struct Reply {
    write: MessageWriteVec,
    id: TransactionId,
    fingerprint: bool,
}

impl Reply {
    /// Enough for every answer of this server without growing, but for long realms.
    const CAPACITY: usize = 192;

    pub fn success(to: &Message) -> Self {
        Self::new(to, MessageClass::Success)
    }

    /// `reason` may be empty: diagnostics only (RFC 8489 §14.8).
    pub fn error(to: &Message, code: u16, reason: &str) -> Self {
        let mut reply = Self::new(to, MessageClass::Error);
        if let Ok(error) = ErrorCode::new(code, reason) {
            reply.add(&error);
        }
        reply
    }

    fn new(to: &Message, class: MessageClass) -> Self {
        let id = transaction_id(to.transaction_id());
        let kind = MessageType::from_class_method(class, Method::new(to.method()));
        let write = MessageWriteVec::with_capacity(Self::CAPACITY);
        Self {
            write: Wire::builder(kind, id, write),
            id,
            fingerprint: to.has_fingerprint(),
        }
    }

    pub fn transaction_id(&self) -> TransactionId {
        self.id
    }

    pub fn add(&mut self, attribute: &dyn AttributeWrite) -> &mut Self {
        self.write.push_attribute_unchecked(attribute);
        self
    }

    pub fn add_raw(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.add(&RawAttribute::new(AttributeType::new(kind), value))
    }

    pub fn add_unknown(&mut self, unknown: &[u16]) -> &mut Self {
        let unknown: Vec<_> = unknown.iter().copied().map(AttributeType::new).collect();
        self.add(&UnknownAttributes::new(&unknown))
    }

    /// SOFTWARE; text of more than 763 bytes is left out.
    pub fn add_software(&mut self, software: &str) -> &mut Self {
        if let Ok(software) = Software::new(software) {
            self.add(&software);
        }
        self
    }

    /// The whole message, protected with a key where one is known, with FINGERPRINT where the request had one.
    pub fn finish(mut self, key: Option<(Algorithm, &[u8])>) -> Vec<u8> {
        if let Some((algorithm, key)) = key {
            self.protect(algorithm, key);
        }
        if self.fingerprint {
            // It fails where there is one already, and nothing else adds one.
            let added = self.write.add_fingerprint();
            debug_assert!(added.is_ok());
        }
        self.write.finish()
    }

    fn protect(&mut self, algorithm: Algorithm, key: &[u8]) {
        let start = self.write.len();
        let Some(tag) = integrity::compute(self.write.data(), start, algorithm, key) else {
            return;
        };
        match algorithm {
            Algorithm::Sha1 => {
                let mut mac = [0; 20];
                mac.copy_from_slice(tag.as_ref());
                self.write
                    .push_attribute_unchecked(&MessageIntegrity::new(mac));
            }
            Algorithm::Sha256 => {
                if let Ok(mac) = MessageIntegritySha256::new(tag.as_ref()) {
                    self.write.push_attribute_unchecked(&mac);
                }
            }
        }
    }
}
