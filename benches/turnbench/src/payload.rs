//! What stands before the bench's own header in a payload: nothing, or an RTP header as a call's packets have it (RFC 3550 §5.1).
//!
//! The header follows from direction, allocation, sequence number and time alone, so an altered bit of it is noticed, too.

/// What a payload looks like to who reads only its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Payload {
    /// No protocol that a relay knows.
    Plain,
    /// Two RTP streams of each allocation and direction in turn, each with its SSRC and running sequence number.
    Rtp,
}

/// Payload type and clock rate of an allocation's two streams: as of Opus and of VP8. That they alternate is the harder case for
/// a reader that remembers the stream it saw last.
const STREAMS: [(u8, u64); 2] = [(111, 48_000), (96, 90_000)];
const RTP_HEADER: usize = 12;
const VERSION_2: u8 = 0x80;

impl Payload {
    /// Bytes before the bench's own header.
    #[inline]
    pub fn head(self) -> usize {
        match self {
            Payload::Plain => 0,
            Payload::Rtp => RTP_HEADER,
        }
    }

    /// Writes what stands before the bench's own header into the first `head()` bytes.
    #[inline]
    pub fn write(self, out: &mut [u8], direction: u8, allocation: usize, sequence: u64, now: u64) {
        if self == Payload::Rtp {
            out.copy_from_slice(&rtp(direction, allocation, sequence, now));
        }
    }

    /// Whether these first bytes are what `write` made.
    #[inline]
    pub fn is_sound(
        self,
        head: &[u8],
        direction: u8,
        allocation: usize,
        sequence: u64,
        now: u64,
    ) -> bool {
        match self {
            Payload::Plain => head.is_empty(),
            Payload::Rtp => head == rtp(direction, allocation, sequence, now),
        }
    }
}

#[inline]
fn rtp(direction: u8, allocation: usize, sequence: u64, now: u64) -> [u8; RTP_HEADER] {
    let stream = sequence % 2;
    let (payload_type, clock_rate_hz) = STREAMS[stream as usize];
    let number = (sequence / 2) as u16;
    let timestamp = (now / 1000 * clock_rate_hz / 1_000_000) as u32;
    // Odd, so that no two streams share an SSRC, and spread as those of real calls are.
    let ssrc = ((allocation as u32) << 2 | u32::from(direction) << 1 | stream as u32)
        .wrapping_mul(0x9E37_79B1);
    let mut head = [VERSION_2, payload_type, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    head[2..4].copy_from_slice(&number.to_be_bytes());
    head[4..8].copy_from_slice(&timestamp.to_be_bytes());
    head[8..12].copy_from_slice(&ssrc.to_be_bytes());
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    #[test]
    fn each_stream_has_a_running_sequence_number_and_an_ssrc_of_its_own() {
        let mut last: HashMap<u32, u16> = HashMap::new();
        let mut owners = HashSet::new();
        for sequence in 0..200_000u64 {
            let head = rtp(1, 7, sequence, sequence);
            assert_eq!(head[0] >> 6, 2, "version");
            let ssrc = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
            let number = u16::from_be_bytes([head[2], head[3]]);
            owners.insert((ssrc, head[1]));
            if let Some(before) = last.insert(ssrc, number) {
                assert_eq!(number, before.wrapping_add(1));
            }
        }
        assert_eq!((last.len(), owners.len()), (2, 2));
        let ssrcs: HashSet<_> = (0..1000)
            .flat_map(|i| [(0, i, 0), (0, i, 1), (1, i, 0), (1, i, 1)])
            .map(|(direction, i, sequence)| rtp(direction, i, sequence, 0)[8..].to_vec())
            .collect();
        assert_eq!(ssrcs.len(), 4000);
    }

    #[test]
    fn a_second_is_as_long_as_the_clock_rate_says() {
        for (sequence, clock_rate_hz) in [(0, 48_000), (1, 90_000)] {
            let at = |now| {
                let head = rtp(0, 0, sequence, now);
                u32::from_be_bytes([head[4], head[5], head[6], head[7]])
            };
            assert_eq!(at(6_000_000_000) - at(5_000_000_000), clock_rate_hz);
        }
    }
}
