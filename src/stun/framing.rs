//! Cutting a TCP or TLS stream into messages (RFC 8656 §12.5, RFC 8489 §6.2.2).
//!
//! A STUN message has a length that is a multiple of four and the magic cookie; ChannelData is followed by
//! padding up to a multiple of four. Classic messages without the cookie are not expected on a stream.

use crate::stun::{HEADER_LEN, MAGIC_COOKIE, padding};

/// Longest frame that the length fields can tell: a STUN header and 65532 bytes, or ChannelData of 65535
/// bytes with its header and padding.
pub const FRAME_LEN_MAX: usize = HEADER_LEN + 65532;

/// What stands at the start of a stream's buffered bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The next message has not arrived whole.
    Incomplete,
    /// `len` bytes are the message, ChannelData without its padding; `padded_len` bytes are to be consumed.
    Message { len: usize, padded_len: usize },
}

/// The stream is not, or not any more, in step: it cannot be used further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    #[error("first byte {first:#04x} starts neither a STUN message nor ChannelData")]
    Unrecognized { first: u8 },
    #[error("a STUN message cannot be {len} bytes long")]
    Length { len: u16 },
    #[error("a STUN message has cookie {cookie:#010x}")]
    Cookie { cookie: u32 },
}

/// Looks at what a stream has delivered so far. Garbage is found with its first telling byte.
pub fn next(buffered: &[u8]) -> Result<Framing, FramingError> {
    match buffered.first() {
        None => Ok(Framing::Incomplete),
        Some(0..=0x3f) => next_stun(buffered),
        Some(0x40..=0x7f) => Ok(next_channel_data(buffered)),
        Some(&first) => Err(FramingError::Unrecognized { first }),
    }
}

fn next_stun(buffered: &[u8]) -> Result<Framing, FramingError> {
    let Some(&[_, _, high, low]) = buffered.first_chunk() else {
        return Ok(Framing::Incomplete);
    };
    let len = u16::from_be_bytes([high, low]);
    if len % 4 != 0 {
        return Err(FramingError::Length { len });
    }
    let Some(&[_, _, _, _, a, b, c, d]) = buffered.first_chunk() else {
        return Ok(Framing::Incomplete);
    };
    let cookie = u32::from_be_bytes([a, b, c, d]);
    if cookie != MAGIC_COOKIE {
        return Err(FramingError::Cookie { cookie });
    }
    Ok(whole(buffered, HEADER_LEN + usize::from(len), 0))
}

fn next_channel_data(buffered: &[u8]) -> Framing {
    let Some(&[_, _, high, low]) = buffered.first_chunk() else {
        return Framing::Incomplete;
    };
    let len = 4 + usize::from(u16::from_be_bytes([high, low]));
    whole(buffered, len, padding(len))
}

fn whole(buffered: &[u8], len: usize, padding: usize) -> Framing {
    let padded_len = len + padding;
    if buffered.len() < padded_len {
        return Framing::Incomplete;
    }
    Framing::Message { len, padded_len }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use stun_types::message::{BINDING, Message as Reference, MessageWriteVec};
    use stun_types::prelude::*;
    use turn_types::channel::ChannelData as ReferenceChannelData;

    #[test]
    fn channel_data_is_followed_by_its_padding() {
        let stream = [0x40, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0, 0x40];
        assert_eq!(next(&stream[..11]), Ok(Framing::Incomplete));
        let message = Framing::Message {
            len: 9,
            padded_len: 12,
        };
        assert_eq!(next(&stream), Ok(message));
    }

    #[test]
    fn garbage_is_found_with_its_first_telling_byte() {
        assert_eq!(
            next(b"\x80"),
            Err(FramingError::Unrecognized { first: 0x80 })
        );
        let client_hello = [0x16, 3, 1, 1, 0, 1, 0, 0, 0xfc];
        assert!(matches!(
            next(&client_hello),
            Err(FramingError::Length { len: 257 })
        ));
        assert_eq!(next(&[0, 1, 0, 3]), Err(FramingError::Length { len: 3 }));
        assert!(matches!(
            next(b"\x00\x01\x00\x08XXXX"),
            Err(FramingError::Cookie { .. })
        ));
    }

    #[test]
    fn the_longest_frames_are_at_most_64_kib_and_a_header() {
        let stun = {
            let mut bytes = vec![0; FRAME_LEN_MAX];
            bytes[..8].copy_from_slice(&[0, 1, 0xff, 0xfc, 0x21, 0x12, 0xa4, 0x42]);
            bytes
        };
        let whole = |len, padded_len| Ok(Framing::Message { len, padded_len });
        assert_eq!(next(&stun), whole(FRAME_LEN_MAX, FRAME_LEN_MAX));
        let mut channel = vec![0; 65540];
        channel[..4].copy_from_slice(&[0x40, 0, 0xff, 0xff]);
        assert_eq!(next(&channel), whole(65539, 65540));
    }

    proptest! {
        #[test]
        fn every_prefix_of_a_stream_yields_the_messages_that_were_put_in(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut stream = Vec::new();
            let mut messages = Vec::new();
            for (n, payload) in payloads.iter().enumerate() {
                let message = if n % 2 == 0 {
                    let mut bytes = vec![0; payload.len() + 4];
                    ReferenceChannelData::new(0x4000, payload).write_into_unchecked(&mut bytes);
                    bytes
                } else {
                    let mut builder = Reference::builder_request(BINDING, MessageWriteVec::new());
                    builder.push_attribute_unchecked(&stun_types::attribute::RawAttribute::new(
                        stun_types::attribute::AttributeType::new(0x8022), payload));
                    builder.finish()
                };
                stream.extend(&message);
                stream.resize(stream.len().next_multiple_of(4), 0);
                messages.push(message);
            }
            let available = cut.index(stream.len() + 1);
            let mut at = 0;
            let mut found = Vec::new();
            while let Ok(Framing::Message { len, padded_len }) = next(&stream[at..available]) {
                found.push(stream[at..at + len].to_vec());
                at += padded_len;
            }
            prop_assert_eq!(&found[..], &messages[..found.len()]);
            prop_assert!(available < stream.len() || found.len() == messages.len());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Framing::Message { len, padded_len }) = next(&bytes) {
                prop_assert!(len <= padded_len && padded_len <= bytes.len() && padded_len > 0);
            }
        }
    }
}
