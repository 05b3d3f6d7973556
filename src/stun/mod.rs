//! STUN and ChannelData on the wire (RFC 8489, RFC 8656 §11 and §12).
//!
//! Control messages take their attributes from `stun-types` and `turn-types`. What a relayed packet passes (ChannelData,
//! Send and Data indications, stream framing) is code of our own, without copies; property tests hold it
//! against those crates. The walk over attributes is ours too, and shared by both: the crates log each
//! malformed message as a warning, which would hand the log to whoever sends garbage.

pub mod attributes;
pub mod channel_data;
pub mod classic;
pub mod framing;
pub mod indication;
pub mod integrity;
pub mod message;

pub use message::{Class, Message, Reply};

/// "0x2112A442" in bytes 4 to 7 of every message since RFC 5389.
pub const MAGIC_COOKIE: u32 = 0x2112_A442;

/// Bytes of a STUN header.
pub const HEADER_LEN: usize = 20;

/// What the first bytes of a datagram say that it is (RFC 8656 §12.4, RFC 7983).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Stun,
    ChannelData,
    Other,
}

/// Tells STUN (first byte 0 to 63), ChannelData (64 to 127) and anything else apart.
pub fn classify(bytes: &[u8]) -> Kind {
    match bytes.first() {
        Some(0..=0x3f) => Kind::Stun,
        Some(0x40..=0x7f) => Kind::ChannelData,
        Some(_) | None => Kind::Other,
    }
}

/// Bytes that fill `len` up to a multiple of four: 0 to 3.
pub fn padding(len: usize) -> usize {
    len.wrapping_neg() & 3
}
