//! The attributes of a message, in place (RFC 8489 §14).
//!
//! Ends where the message's meaning ends: what follows MESSAGE-INTEGRITY is ignored, but for
//! MESSAGE-INTEGRITY-SHA256 and FINGERPRINT, and nothing follows FINGERPRINT (§14.5 to §14.7).

use crate::stun::{HEADER_LEN, padding};
use std::ops::Range;

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
pub const CONNECTION_ID: u16 = 0x002a;
pub const ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8000;
pub const PASSWORD_ALGORITHMS: u16 = 0x8002;
pub const FINGERPRINT: u16 = 0x8028;

/// True for an attribute that a receiver must understand and that this server does not (RFC 8489 §6.3.1).
///
/// One that is understood but has no place in a message is ignored there (RFC 8489 §6.3).
pub fn is_unknown_and_required(kind: u16) -> bool {
    if kind & 0x8000 != 0 {
        return false;
    }
    !matches!(
        kind,
        MAPPED_ADDRESS
            | USERNAME
            | MESSAGE_INTEGRITY
            | ERROR_CODE
            | UNKNOWN_ATTRIBUTES
            | CHANNEL_NUMBER
            | LIFETIME
            | XOR_PEER_ADDRESS
            | DATA
            | REALM
            | NONCE
            | XOR_RELAYED_ADDRESS
            | REQUESTED_ADDRESS_FAMILY
            | EVEN_PORT
            | REQUESTED_TRANSPORT
            | DONT_FRAGMENT
            | MESSAGE_INTEGRITY_SHA256
            | PASSWORD_ALGORITHM
            | USERHASH
            | XOR_MAPPED_ADDRESS
            | RESERVATION_TOKEN
            | CONNECTION_ID
    )
}

/// An attribute runs past the end of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an attribute runs past the end of its message")]
pub struct Overrun;

/// One attribute: its type, and where in the message its header starts and its value lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    pub kind: u16,
    pub start: usize,
    pub value: Range<usize>,
}

/// Walks a message whose header has been checked.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    message: &'a [u8],
    at: usize,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    AfterIntegrity,
    AfterSha256,
    Ended,
}

impl<'a> Attributes<'a> {
    pub fn of(message: &'a [u8]) -> Self {
        Self {
            message,
            at: HEADER_LEN,
            phase: Phase::Open,
        }
    }

    fn read(&mut self) -> Result<Option<Attribute>, Overrun> {
        let start = self.at;
        let rest = self.message.get(start..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let (&[k0, k1, l0, l1], rest) = rest.split_first_chunk().ok_or(Overrun)?;
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        let padded_len = len + padding(len);
        if rest.len() < padded_len {
            return Err(Overrun);
        }
        self.at = start + 4 + padded_len;
        Ok(Some(Attribute {
            kind: u16::from_be_bytes([k0, k1]),
            start,
            value: start + 4..start + 4 + len,
        }))
    }

    /// Whether an attribute counts where it stands, and what may follow it.
    fn admit(&mut self, kind: u16) -> bool {
        let phase = match (self.phase, kind) {
            (Phase::Ended, _) => return false,
            (_, FINGERPRINT) => Phase::Ended,
            (Phase::Open, MESSAGE_INTEGRITY) => Phase::AfterIntegrity,
            (Phase::Open | Phase::AfterIntegrity, MESSAGE_INTEGRITY_SHA256) => Phase::AfterSha256,
            (Phase::Open, _) => Phase::Open,
            (Phase::AfterIntegrity | Phase::AfterSha256, _) => return false,
        };
        self.phase = phase;
        true
    }
}

impl Iterator for Attributes<'_> {
    type Item = Result<Attribute, Overrun>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.read() {
                Ok(None) => return None,
                Ok(Some(attribute)) if self.admit(attribute.kind) => return Some(Ok(attribute)),
                Ok(Some(_)) => {}
                Err(overrun) => {
                    self.at = self.message.len();
                    return Some(Err(overrun));
                }
            }
        }
    }
}
