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

/// "STUN", so that the CRC-32 of a protocol around it does not match (RFC 8489 §14.7).
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// Whether FINGERPRINT at the end of `bytes` is right (RFC 8489 §14.7).
pub(super) fn check_fingerprint(bytes: &[u8], attribute: &Attribute) -> Result<(), ParseError> {
    let found = bytes.get(attribute.value.clone()).unwrap_or_default();
    let length = attribute.start.saturating_add(8) - HEADER_LEN;
    let length = u16::try_from(length).map_err(|_| ParseError::Length)?;
    let (Some(kind), Some(rest)) = (bytes.get(..2), bytes.get(4..attribute.start)) else {
        return Err(ParseError::Overrun);
    };
    let crc = Fingerprint::compute(&[kind, &length.to_be_bytes(), rest]);
    if (u32::from_be_bytes(crc) ^ FINGERPRINT_XOR).to_be_bytes() == found {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stun::integrity::md5_key;
    use proptest::prelude::*;
    use stun_types::attribute::Fingerprint as ReferenceFingerprint;
    use stun_types::attribute::{Attribute as _, XorMappedAddress};

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |pair: &[u8]| {
            let text = std::str::from_utf8(pair).expect("hex digits");
            u8::from_str_radix(text, 16).expect("hex digits")
        };
        digits.chunks(2).map(pair).collect()
    }

    const ID: &str = "b7e7a701 bc34d686 fa87dfae";

    /// RFC 5769 §2.1.
    fn sample_request() -> Vec<u8> {
        bytes(&format!(
            "00010058 2112a442 {ID} 80220010 5354554e 20746573 7420636c 69656e74 00240004 6e0001ff
             80290008 932ff9b1 51263b36 00060009 6576746a 3a683676 59202020 00080014 9aeaa70c bfd8cb56
             781ef2b5 b2d3f249 c1b571a2 80280004 e57a3bcf"
        ))
    }

    /// RFC 5769 §2.2.
    fn sample_ipv4_response() -> Vec<u8> {
        bytes(&format!(
            "0101003c 2112a442 {ID} 8022000b 74657374 20766563 746f7220 00200008 0001a147 e112a643
             00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7 80280004 c07d4c96"
        ))
    }

    /// RFC 5769 §2.3.
    fn sample_ipv6_response() -> Vec<u8> {
        bytes(&format!(
            "01010048 2112a442 {ID} 8022000b 74657374 20766563 746f7220 00200014 0002a147 0113a9fa
             a5d3f179 bc25f4b5 bed2b9d9 00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41
             80280004 c8fb0b4c"
        ))
    }

    /// RFC 5769 §2.4.
    fn sample_long_term_request() -> Vec<u8> {
        bytes(
            "00010060 2112a442 78ad3433 c6ad72c0 29da412e 00060012 e3839ee3 8388e383 aae38383 e382afe3
             82b90000 0015001c 662f2f34 39396b39 35346436 4f4c3334 6f4c3946 53547679 36347341
             0014000b 6578616d 706c652e 6f726700 00080014 f6702465 6dd64a3e 02b8e071 2e85c9a2 8ca89666",
        )
    }

    #[test]
    fn rfc_5769_short_term_messages_verify_with_their_password_and_no_other() {
        for sample in [
            sample_request(),
            sample_ipv4_response(),
            sample_ipv6_response(),
        ] {
            let message = Message::parse(&sample).expect("a sample message");
            assert!(message.has_fingerprint());
            assert_eq!(message.integrity(), Some(Algorithm::Sha1));
            assert!(message.is_protected_by(Algorithm::Sha1, b"VOkJxbRl1RmTxUk/WvJxBt"));
            assert!(!message.is_protected_by(Algorithm::Sha1, b"VOkJxbRl1RmTxUk/WvJxBu"));
        }
    }

    #[test]
    fn rfc_5769_mapped_addresses_are_read_as_the_rfc_says() {
        for (sample, addr) in [
            (sample_ipv4_response(), "192.0.2.1:32853"),
            (
                sample_ipv6_response(),
                "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
            ),
        ] {
            let message = Message::parse(&sample).expect("a sample message");
            let mapped = message.get::<XorMappedAddress>().expect("well-formed");
            let id = transaction_id(message.transaction_id());
            let mapped = mapped.expect("there").addr(id);
            assert_eq!(mapped, addr.parse().expect("an address"));
        }
    }

    #[test]
    fn rfc_5769_long_term_request_verifies_with_the_key_of_its_user() {
        let sample = sample_long_term_request();
        let message = Message::parse(&sample).expect("a sample message");
        let username = message.text(attributes::USERNAME, 513).expect("text");
        assert_eq!(username, "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}");
        let key = md5_key(username, "example.org", "TheMatrIX");
        assert!(message.is_protected_by(Algorithm::Sha1, &key));
        assert!(!message.has_fingerprint());
    }

    #[test]
    fn our_answers_reproduce_the_rfc_5769_response_but_for_its_padding() {
        let request = sample_request();
        let request = Message::parse(&request).expect("a sample message");
        let mut reply = Reply::success(&request);
        reply.add_software("test vector");
        let mapped = XorMappedAddress::new(
            SocketAddr::from(([192, 0, 2, 1], 32853)),
            reply.transaction_id(),
        );
        reply.add(&mapped);
        let ours = reply.finish(Some((Algorithm::Sha1, b"VOkJxbRl1RmTxUk/WvJxBt")));
        let theirs = sample_ipv4_response();
        assert_eq!(ours.len(), theirs.len());
        assert_eq!(ours[..35], theirs[..35]);
        assert_eq!((ours[35], theirs[35]), (0, b' '), "padding bytes are zero");
        assert_eq!(ours[36..52], theirs[36..52]);
        let ours = Message::parse(&ours).expect("our answer");
        assert!(ours.is_protected_by(Algorithm::Sha1, b"VOkJxbRl1RmTxUk/WvJxBt"));
    }

    #[test]
    fn one_changed_bit_anywhere_is_noticed() {
        let sample = sample_request();
        for bit in 0..sample.len() * 8 {
            let mut changed = sample.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let accepted = Message::parse(&changed).is_ok_and(|message| {
                message.has_fingerprint()
                    && message.is_protected_by(Algorithm::Sha1, b"VOkJxbRl1RmTxUk/WvJxBt")
            });
            assert!(!accepted, "bit {bit}");
        }
    }

    #[test]
    fn attributes_after_message_integrity_are_ignored_but_for_fingerprint() {
        let mut write = Wire::builder_request(Method::new(1), MessageWriteVec::new());
        write.push_attribute_unchecked(&MessageIntegrity::new([0; 20]));
        write.push_attribute_unchecked(&RawAttribute::new(AttributeType::new(0x0014), b"evil"));
        write.push_attribute_unchecked(&RawAttribute::new(AttributeType::new(0x7777), b""));
        let without_fingerprint = write.data().to_vec();
        write.add_fingerprint().expect("the first one");
        let message = write.finish();
        for (bytes, fingerprint) in [(without_fingerprint, false), (message, true)] {
            let message = Message::parse(&bytes).expect("well-formed");
            assert!(!message.has(attributes::REALM));
            assert!(message.unknown_required().is_empty());
            assert_eq!(message.has_fingerprint(), fingerprint);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(message) = Message::parse(&bytes) {
                let _ = (message.class(), message.method(), message.unknown_required());
                let _ = message.peers().count();
                message.is_protected_by(Algorithm::Sha256, b"key");
            }
        }

        /// Both find the same attributes in the same order, or both refuse.
        #[test]
        fn we_read_a_message_as_the_reference_does(
            kind in 0_u16..0x4000,
            attributes in prop::collection::vec(
                (prop_oneof![any::<u16>(), 0_u16..0x30], prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            integrity: [bool; 2],
            fingerprint: bool,
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut body: Vec<u8> = Vec::new();
            let ending = [attributes::MESSAGE_INTEGRITY, attributes::MESSAGE_INTEGRITY_SHA256];
            let mut listed = attributes;
            listed.retain(|(kind, _)| !ending.contains(kind) && *kind != attributes::FINGERPRINT);
            let macs = ending.into_iter().zip([20, 32]).zip(integrity);
            listed.extend(macs.filter(|(_, wanted)| *wanted).map(|((kind, len), _)| (kind, vec![3; len])));
            for (kind, value) in &listed {
                body.extend(kind.to_be_bytes());
                body.extend((value.len() as u16).to_be_bytes());
                body.extend(value);
                body.resize(body.len().next_multiple_of(4), 0);
            }
            let mut bytes = kind.to_be_bytes().to_vec();
            bytes.extend((body.len() as u16).to_be_bytes());
            bytes.extend(MAGIC_COOKIE.to_be_bytes());
            bytes.extend([7; 12]);
            bytes.extend(&body);
            if fingerprint {
                bytes[2..4].copy_from_slice(&(body.len() as u16 + 8).to_be_bytes());
                let crc = u32::from_be_bytes(ReferenceFingerprint::compute(&[&bytes]));
                bytes.extend([0x80, 0x28, 0, 4]);
                bytes.extend((crc ^ FINGERPRINT_XOR).to_be_bytes());
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let ours = Message::parse(&bytes);
            let theirs = Wire::from_bytes(&bytes);
            prop_assert_eq!(ours.is_ok(), theirs.is_ok());
            let (Ok(ours), Ok(theirs)) = (ours, theirs) else { return Ok(()) };
            prop_assert_eq!(ours.method(), theirs.method().value());
            let found: Vec<_> = ours.attributes().map(|a| (a.kind, bytes[a.value].to_vec())).collect();
            let expected: Vec<_> = theirs
                .iter_attributes()
                .map(|(_, raw)| (raw.get_type().value(), raw.value.to_vec()))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
