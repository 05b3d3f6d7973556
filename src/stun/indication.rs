//! Send and Data indications, the packet path of clients without channels (RFC 8656 §11).

use crate::stun::attributes::{self, Attributes, is_unknown_and_required};
use crate::stun::message::check_fingerprint;
use crate::stun::{HEADER_LEN, MAGIC_COOKIE, padding};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

/// First bytes of a Send indication.
pub const SEND: [u8; 2] = [0x00, 0x16];
/// First bytes of a Data indication.
pub const DATA: [u8; 2] = [0x00, 0x17];
/// Longest header of a Data indication, that of an IPv6 peer, in bytes.
pub const DATA_HEADER_LEN_MAX: usize = 48;

/// A Send indication as it lies in the received bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    pub peer: SocketAddr,
    /// Where the value of DATA is.
    pub payload: Range<usize>,
    pub dont_fragment: bool,
}

/// Why a Send indication is discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("not a well-formed Send indication")]
    Malformed,
    #[error("an attribute that must be understood is not")]
    UnknownAttribute,
}

/// Reads a message that starts with [`SEND`].
pub fn parse_send(bytes: &[u8]) -> Result<Send, SendError> {
    let (header, rest) = bytes
        .split_first_chunk::<HEADER_LEN>()
        .ok_or(SendError::Malformed)?;
    let &[k0, k1, l0, l1, c0, c1, c2, c3, ..] = header;
    let cookie = u32::from_be_bytes([c0, c1, c2, c3]);
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    if [k0, k1] != SEND || cookie != MAGIC_COOKIE || length != rest.len() || length % 4 != 0 {
        return Err(SendError::Malformed);
    }
    let mut peer = None;
    let mut payload = None;
    let mut dont_fragment = false;
    let mut unknown = false;
    for attribute in Attributes::of(bytes) {
        let attribute = attribute.map_err(|_| SendError::Malformed)?;
        match attribute.kind {
            attributes::XOR_PEER_ADDRESS if peer.is_none() => {
                let value = bytes.get(attribute.value).unwrap_or_default();
                peer = Some(xored_address(value, header).ok_or(SendError::Malformed)?);
            }
            attributes::DATA if payload.is_none() => payload = Some(attribute.value),
            attributes::DONT_FRAGMENT => dont_fragment = true,
            attributes::FINGERPRINT => {
                check_fingerprint(bytes, &attribute).map_err(|_| SendError::Malformed)?;
            }
            kind => unknown |= is_unknown_and_required(kind),
        }
    }
    if unknown {
        return Err(SendError::UnknownAttribute);
    }
    Ok(Send {
        peer: peer.ok_or(SendError::Malformed)?,
        payload: payload.ok_or(SendError::Malformed)?,
        dont_fragment,
    })
}

/// The address in a value of XOR-PEER-ADDRESS (RFC 8489 §14.2).
fn xored_address(value: &[u8], header: &[u8; HEADER_LEN]) -> Option<SocketAddr> {
    let (&[_, family, p0, p1], ip) = value.split_first_chunk()?;
    let key = u128::from_be_bytes(*header.last_chunk()?);
    let port = u16::from_be_bytes([p0, p1]) ^ (MAGIC_COOKIE >> 16) as u16;
    let ip = match family {
        1 => IpAddr::V4(Ipv4Addr::from(
            u32::from_be_bytes(ip.try_into().ok()?) ^ MAGIC_COOKIE,
        )),
        2 => IpAddr::V6(Ipv6Addr::from(
            u128::from_be_bytes(ip.try_into().ok()?) ^ key,
        )),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Writes the bytes in front of `len` bytes of payload from `peer`: 36 for IPv4, 48 for IPv6.
///
/// XOR-PEER-ADDRESS comes first, DATA last, so that [`padding`] of the payload ends the message. `None` where
/// the payload is longer than the length fields can tell.
pub fn data_header(
    out: &mut [u8; DATA_HEADER_LEN_MAX],
    transaction_id: [u8; 12],
    peer: SocketAddr,
    len: usize,
) -> Option<usize> {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    key[4..].copy_from_slice(&transaction_id);
    let port = (peer.port() ^ (MAGIC_COOKIE >> 16) as u16).to_be_bytes();
    out[4..20].copy_from_slice(&key);
    out[26..28].copy_from_slice(&port);
    let header_len = match peer.ip() {
        IpAddr::V4(ip) => {
            let ip = u32::from(ip) ^ MAGIC_COOKIE;
            out[20..26].copy_from_slice(&[0x00, 0x12, 0, 8, 0, 1]);
            out[28..32].copy_from_slice(&ip.to_be_bytes());
            36
        }
        IpAddr::V6(ip) => {
            let ip = u128::from(ip) ^ u128::from_be_bytes(key);
            out[20..26].copy_from_slice(&[0x00, 0x12, 0, 20, 0, 2]);
            out[28..44].copy_from_slice(&ip.to_be_bytes());
            48
        }
    };
    let message_len = u16::try_from(header_len - HEADER_LEN + len + padding(len)).ok()?;
    let data_len = u16::try_from(len).ok()?;
    out[..2].copy_from_slice(&DATA);
    out[2..4].copy_from_slice(&message_len.to_be_bytes());
    out[header_len - 4..header_len - 2].copy_from_slice(&[0x00, 0x13]);
    out[header_len - 2..header_len].copy_from_slice(&data_len.to_be_bytes());
    Some(header_len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use stun_types::attribute::{AttributeType, RawAttribute};
    use stun_types::message::{
        Message as Reference, MessageClass, MessageType, MessageWriteVec, TransactionId,
    };
    use stun_types::prelude::*;
    use turn_types::attribute::{Data, DontFragment, XorPeerAddress};
    use turn_types::message as method;

    fn address() -> impl Strategy<Value = SocketAddr> {
        prop_oneof![
            any::<([u8; 4], u16)>().prop_map(SocketAddr::from),
            any::<([u8; 16], u16)>().prop_map(SocketAddr::from),
        ]
    }

    /// An attribute that others may follow: the reference writes none after these three.
    fn middle_kind() -> impl Strategy<Value = u16> {
        const LAST: [u16; 3] = [0x0008, 0x001C, attributes::FINGERPRINT];
        any::<u16>().prop_filter("ends a message", |kind| !LAST.contains(kind))
    }

    fn reference_send(
        id: u128,
        peer: SocketAddr,
        data: &[u8],
        extra: &[(u16, Vec<u8>)],
    ) -> MessageWriteVec {
        let id = TransactionId::from(id);
        let kind = MessageType::from_class_method(MessageClass::Indication, method::SEND);
        let mut write = Reference::builder(kind, id, MessageWriteVec::new());
        for (kind, value) in extra {
            write.push_attribute_unchecked(&RawAttribute::new(AttributeType::new(*kind), value));
        }
        write
            .add_attribute(&XorPeerAddress::new(peer, id))
            .expect("fits");
        write.add_attribute(&Data::new(data)).expect("fits");
        write
    }

    proptest! {
        #[test]
        fn a_send_indication_of_the_reference_is_read_whole(
            id: u128, peer in address(), data in prop::collection::vec(any::<u8>(), 0..1500),
            dont_fragment: bool, fingerprint: bool,
        ) {
            let mut write = reference_send(id, peer, &data, &[(0x8022, b"software".to_vec())]);
            if dont_fragment {
                write.add_attribute(&DontFragment::new()).expect("fits");
            }
            if fingerprint {
                write.add_fingerprint().expect("the first one");
            }
            let bytes = write.finish();
            let send = parse_send(&bytes).expect("well-formed");
            prop_assert_eq!(send.peer, peer);
            prop_assert_eq!(&bytes[send.payload], &data[..]);
            prop_assert_eq!(send.dont_fragment, dont_fragment);
        }

        #[test]
        fn a_data_indication_of_ours_is_read_whole_by_the_reference(
            id: [u8; 12], peer in address(), data in prop::collection::vec(any::<u8>(), 0..1500),
        ) {
            let mut header = [0; DATA_HEADER_LEN_MAX];
            let len = data_header(&mut header, id, peer, data.len()).expect("fits");
            prop_assert_eq!(len, if peer.is_ipv4() { 36 } else { 48 });
            let mut bytes = header[..len].to_vec();
            bytes.extend(&data);
            bytes.resize(bytes.len() + padding(data.len()), 0);
            let message = Reference::from_bytes(&bytes).expect("well-formed");
            prop_assert!(message.has_class(MessageClass::Indication) && message.has_method(method::DATA));
            let id = message.transaction_id();
            let found = message.attribute::<XorPeerAddress>().expect("there").addr(id);
            prop_assert_eq!(found, peer);
            let raw = message.raw_attribute(Data::TYPE).expect("there");
            prop_assert_eq!(&raw.value[..], &data[..]);
        }

        /// The fast reader and the reference agree on every mutation of a message.
        #[test]
        fn a_mutated_send_indication_is_read_as_the_reference_reads_it(
            id: u128, peer in address(), data in prop::collection::vec(any::<u8>(), 0..40),
            extra in prop::collection::vec((middle_kind(), prop::collection::vec(any::<u8>(), 0..9)), 0..3),
            fingerprint: bool,
            flips in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut write = reference_send(id, peer, &data, &extra);
            if fingerprint {
                write.add_fingerprint().expect("the first one");
            }
            let mut bytes = write.finish();
            for flip in flips {
                let bit = flip.index(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let ours = parse_send(&bytes).ok().map(|send| (send.peer, bytes[send.payload].to_vec()));
            prop_assert_eq!(ours, read_by_reference(&bytes));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse_send(&bytes);
            let mut message = vec![0, 0x16, 0, (bytes.len() & !3) as u8, 0x21, 0x12, 0xa4, 0x42];
            message.resize(20, 9);
            message.extend(&bytes[..bytes.len() & !3]);
            let _ = parse_send(&message);
        }
    }

    /// What a server that uses the reference would relay. It knows no limit of one datagram to one message.
    fn read_by_reference(bytes: &[u8]) -> Option<(SocketAddr, Vec<u8>)> {
        let message = Reference::from_bytes(bytes).ok()?;
        let whole =
            bytes.len() == HEADER_LEN + usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        let send = message.has_class(MessageClass::Indication) && message.has_method(method::SEND);
        let known = message
            .iter_attributes()
            .all(|(_, raw)| !is_unknown_and_required(raw.get_type().value()));
        if !whole || !send || !known {
            return None;
        }
        let peer = message.attribute::<XorPeerAddress>().ok()?;
        let data = message.raw_attribute(Data::TYPE)?;
        Some((peer.addr(message.transaction_id()), data.value.to_vec()))
    }

    #[test]
    fn the_longest_payload_of_a_data_indication_is_bounded_by_its_length_field() {
        let mut header = [0; DATA_HEADER_LEN_MAX];
        let peer = SocketAddr::from(([192, 0, 2, 1], 1));
        assert!(data_header(&mut header, [0; 12], peer, 65516).is_some());
        assert!(data_header(&mut header, [0; 12], peer, 65520).is_none());
    }
}
