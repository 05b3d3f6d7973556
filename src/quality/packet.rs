//! What a relayed packet is by its first bytes (RFC 7983), and what can be read of it though its payload is encrypted.

use super::Kind;
use crate::stun::{HEADER_LEN, MAGIC_COOKIE};

/// Bytes of a fixed RTP header.
const RTP_LEN: usize = 12;
/// Bytes of an RTCP header with the sender's SSRC, which SRTCP leaves in the clear.
const RTCP_LEN: usize = 8;
/// Bytes of a DTLS record's header.
const DTLS_LEN: usize = 13;

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

/// The part of an RTP header that is measured (RFC 3550 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtp {
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
}

/// A STUN connectivity check, by its transaction ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    Request([u8; 12]),
    Answer([u8; 12]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Rtp(Rtp),
    Rtcp,
    /// `None`: another STUN message than a Binding request or its answer.
    Stun(Option<Check>),
    Dtls,
    Other,
}

impl Seen {
    /// Looks at a packet's first bytes; never past them.
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        match bytes {
            [0x80..=0xbf, second, ..] if is_rtcp(*second) => rtcp(bytes),
            [0x80..=0xbf, ..] => rtp(bytes).map_or(Self::Other, Self::Rtp),
            [0..=3, ..] => stun(bytes),
            [20..=63, ..] if bytes.len() >= DTLS_LEN => Self::Dtls,
            _ => Self::Other,
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::Rtp(_) => Kind::Rtp,
            Self::Rtcp => Kind::Rtcp,
            Self::Stun(_) => Kind::Stun,
            Self::Dtls => Kind::Dtls,
            Self::Other => Kind::Other,
        }
    }
}

/// RFC 5761 §4: RTCP's types 192 to 223 are RTP's payload types 64 to 95 with the marker bit; RTP does without those.
fn is_rtcp(second: u8) -> bool {
    matches!(second & 0x7f, 64..=95)
}

fn rtcp(bytes: &[u8]) -> Seen {
    if bytes.len() < RTCP_LEN {
        return Seen::Other;
    }
    Seen::Rtcp
}

/// `None` if the header is not whole, with its sources and its extension.
#[inline]
fn rtp(bytes: &[u8]) -> Option<Rtp> {
    let (&[first, second, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3], rest) =
        bytes.split_first_chunk::<RTP_LEN>()?;
    if first & 0x1f != 0 {
        let rest = rest.get(4 * usize::from(first & 0x0f)..)?;
        if first & 0x10 != 0 {
            let (&[_, _, l0, l1], rest) = rest.split_first_chunk::<4>()?;
            rest.get(4 * usize::from(u16::from_be_bytes([l0, l1]))..)?;
        }
    }
    Some(Rtp {
        payload_type: second & 0x7f,
        sequence: u16::from_be_bytes([s0, s1]),
        timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
        ssrc: u32::from_be_bytes([r0, r1, r2, r3]),
    })
}

fn stun(bytes: &[u8]) -> Seen {
    let Some((header, _)) = bytes.split_first_chunk::<HEADER_LEN>() else {
        return Seen::Other;
    };
    let [k0, k1, _, _, c0, c1, c2, c3, id @ ..] = *header;
    // Without the cookie it is RFC 3489's, or no STUN at all.
    if u32::from_be_bytes([c0, c1, c2, c3]) != MAGIC_COOKIE {
        return Seen::Other;
    }
    Seen::Stun(match u16::from_be_bytes([k0, k1]) {
        BINDING_REQUEST => Some(Check::Request(id)),
        BINDING_SUCCESS | BINDING_ERROR => Some(Check::Answer(id)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(first: u8, second: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        bytes[0] = first;
        bytes[1] = second;
        bytes
    }

    /// RFC 7983 §7, RFC 5761 §4.
    #[test]
    fn each_range_of_first_bytes_is_its_own_kind() {
        for first in 0..=255_u8 {
            let mut bytes = packet(first, 0, 40);
            if first <= 3 {
                bytes[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
            }
            // Version 2 with as many sources as fit.
            let expected = match first {
                0..=3 => Kind::Stun,
                20..=63 => Kind::Dtls,
                128..=191 if first & 0x0f <= 7 || (first & 0x1f) <= 7 => Kind::Rtp,
                _ => Kind::Other,
            };
            let found = Seen::of(&bytes).kind();
            if (128..=191).contains(&first) {
                let fits = 12 + 4 * usize::from(first & 0xf) + 4 * usize::from(first >> 4 & 1);
                assert_eq!(found == Kind::Rtp, fits <= 40, "{first}");
            } else {
                assert_eq!(found, expected, "{first}");
            }
        }
        for second in 0..=255_u8 {
            let found = Seen::of(&packet(0x80, second, 40)).kind();
            let is_rtcp = (192..=223).contains(&second) || (64..=95).contains(&second);
            assert_eq!(found == Kind::Rtcp, is_rtcp, "{second}");
            assert_eq!(found == Kind::Rtp, !is_rtcp, "{second}");
        }
    }

    #[test]
    fn what_is_cut_off_is_something_else() {
        for len in 0..12 {
            assert_eq!(Seen::of(&packet(0x80, 96, 12)[..len]), Seen::Other, "{len}");
        }
        for len in 0..8 {
            assert_eq!(Seen::of(&packet(0x80, 200, 8)[..len]), Seen::Other);
        }
        for len in 0..13 {
            assert_eq!(Seen::of(&packet(22, 254, 13)[..len]), Seen::Other);
        }
        assert_eq!(Seen::of(&packet(22, 254, 13)), Seen::Dtls);
        // Two sources, and an extension of one word.
        let mut long = packet(0x92, 111, 12 + 8 + 4 + 4);
        long[12 + 8 + 3] = 1;
        assert_eq!(Seen::of(&long).kind(), Kind::Rtp);
        for len in 12..long.len() {
            assert_eq!(Seen::of(&long[..len]), Seen::Other, "{len}");
        }
    }

    #[test]
    fn an_rtp_header_is_read_whatever_the_marker() {
        let bytes = [
            0x80,
            0x80 | 111,
            0x12,
            0x34,
            1,
            2,
            3,
            4,
            0xde,
            0xad,
            0xbe,
            0xef,
            9,
        ];
        let expected = Rtp {
            payload_type: 111,
            sequence: 0x1234,
            timestamp: 0x0102_0304,
            ssrc: 0xdead_beef,
        };
        assert_eq!(Seen::of(&bytes), Seen::Rtp(expected));
    }

    #[test]
    fn checks_are_told_from_other_stun() {
        let message = |kind: u16, cookie: u32| {
            let mut bytes = vec![0; 20];
            bytes[..2].copy_from_slice(&kind.to_be_bytes());
            bytes[4..8].copy_from_slice(&cookie.to_be_bytes());
            bytes[8..].fill(7);
            Seen::of(&bytes)
        };
        let request = Seen::Stun(Some(Check::Request([7; 12])));
        assert_eq!(message(1, MAGIC_COOKIE), request);
        for kind in [0x0101, 0x0111] {
            let answer = Seen::Stun(Some(Check::Answer([7; 12])));
            assert_eq!(message(kind, MAGIC_COOKIE), answer);
        }
        assert_eq!(message(0x0011, MAGIC_COOKIE), Seen::Stun(None));
        assert_eq!(message(1, 0), Seen::Other);
    }
}
