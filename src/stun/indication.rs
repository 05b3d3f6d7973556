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
