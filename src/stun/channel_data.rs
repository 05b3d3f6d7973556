//! ChannelData: four bytes in front of the payload (RFC 8656 §12.4).

use std::ops::Range;

/// Channel numbers that can be bound; RFC 8656 §12 stops at 0x4FFF, clients of RFC 5766 use all of them.
pub const NUMBERS: std::ops::RangeInclusive<u16> = 0x4000..=0x7fff;

/// A ChannelData message as it lies in the received bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelData {
    pub number: u16,
    /// Where the payload is.
    pub payload: Range<usize>,
}

/// Reads a datagram, or a message cut from a stream; bytes past the length that it tells are padding.
pub fn parse(bytes: &[u8]) -> Option<ChannelData> {
    let (&[n0, n1, l0, l1], rest) = bytes.split_first_chunk()?;
    let number = u16::from_be_bytes([n0, n1]);
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    if !NUMBERS.contains(&number) || rest.len() < len {
        return None;
    }
    Some(ChannelData {
        number,
        payload: 4..4 + len,
    })
}

/// The header of `len` bytes of payload; `None` where they are more than the length field can tell.
pub fn header(number: u16, len: usize) -> Option<[u8; 4]> {
    let [n0, n1] = number.to_be_bytes();
    let [l0, l1] = u16::try_from(len).ok()?.to_be_bytes();
    Some([n0, n1, l0, l1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use turn_types::channel::ChannelData as Reference;

    proptest! {
        #[test]
        fn what_we_write_the_reference_reads(
            number in NUMBERS, payload in prop::collection::vec(any::<u8>(), 0..1500),
        ) {
            let mut bytes = header(number, payload.len()).expect("fits").to_vec();
            bytes.extend(&payload);
            let reference = Reference::parse(&bytes).expect("whole");
            prop_assert_eq!((reference.id(), reference.data()), (number, &payload[..]));
        }

        #[test]
        fn what_the_reference_writes_we_read(
            number in NUMBERS, payload in prop::collection::vec(any::<u8>(), 0..1500), padding in 0_usize..4,
        ) {
            let mut bytes = vec![0; payload.len() + 4];
            Reference::new(number, &payload).write_into_unchecked(&mut bytes);
            bytes.resize(bytes.len() + padding, 0);
            let read = parse(&bytes).expect("whole");
            prop_assert_eq!(read.number, number);
            prop_assert_eq!(&bytes[read.payload], &payload[..]);
        }

        #[test]
        fn we_accept_what_the_reference_accepts(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let ours = parse(&bytes).map(|read| (read.number, bytes[read.payload].to_vec()));
            let bindable = |read: &Reference| NUMBERS.contains(&read.id());
            let reference = Reference::parse(&bytes).ok().filter(bindable);
            let reference = reference.map(|read| (read.id(), read.data().to_vec()));
            prop_assert_eq!(ours, reference);
        }
    }

    #[test]
    fn a_payload_longer_than_the_length_field_has_no_header() {
        assert_eq!(header(0x4000, 65535), Some([0x40, 0, 0xff, 0xff]));
        assert_eq!(header(0x4000, 65536), None);
    }
}
