//! Round trips from RTCP (RFC 3550 §6.4.1): a sender report passes one way; who got it says how long ago that was.
//!
//! In SRTCP only the first header and the sender's SSRC are in the clear, unless the E bit says that nothing is encrypted
//! (RFC 3711 §3.4). What cannot be read is left alone: a compound must be whole, and a report must name a report that has passed.

use super::Side;

/// Sender reports that are remembered, of both sides; the oldest makes room.
const REPORTS_MAX: usize = 8;
/// Packets of a compound that are looked at.
const PACKETS_MAX: usize = 16;
const HEADER_LEN: usize = 4;
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const BLOCK_LEN: usize = 24;

/// A sender report that has passed: the middle of its NTP timestamp, by which it is named.
#[derive(Clone, Copy, Debug)]
struct Report {
    from: Side,
    name: u32,
    at_ns: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Reports {
    /// Empty where RTCP is encrypted.
    sent: Vec<Report>,
}

impl Reports {
    /// Looks at one datagram of RTCP; tells the round trip between the relay and `from`, in nanoseconds.
    ///
    /// One for each datagram, however many blocks it has: they have come by the same way at the same time.
    pub fn see(&mut self, from: Side, bytes: &[u8], now_ns: u64) -> Option<u64> {
        if !is_readable(bytes) {
            return None;
        }
        let mut told = None;
        for (kind, packet) in packets(bytes) {
            let blocks = match kind {
                SENDER_REPORT => {
                    self.remember(from, packet, now_ns);
                    packet.get(28..)
                }
                RECEIVER_REPORT => packet.get(8..),
                _ => None,
            };
            let count = usize::from(packet.first().map_or(0, |first| first & 0x1f));
            let blocks = blocks.unwrap_or_default().chunks_exact(BLOCK_LEN);
            let mut blocks = blocks.take(count);
            told = told.or_else(|| blocks.find_map(|block| self.round_trip(from, block, now_ns)));
        }
        told
    }

    fn remember(&mut self, from: Side, packet: &[u8], now_ns: u64) {
        let Some(name) = word(packet, 10) else {
            return;
        };
        let report = Report {
            from,
            name,
            at_ns: now_ns,
        };
        if self.sent.len() < REPORTS_MAX {
            self.sent.push(report);
        } else if let Some(oldest) = self.sent.iter_mut().min_by_key(|report| report.at_ns) {
            *oldest = report;
        }
    }

    fn round_trip(&self, from: Side, block: &[u8], now_ns: u64) -> Option<u64> {
        let (name, delay) = (word(block, 16)?, word(block, 20)?);
        let of_it = |report: &&Report| report.name == name && report.from != from;
        let report = self.sent.iter().find(of_it).filter(|_| name != 0)?;
        let delay_ns = (u64::from(delay) * 1_000_000_000) >> 16;
        now_ns.checked_sub(report.at_ns)?.checked_sub(delay_ns)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*word))
}

/// The packets of a compound, by type, as far as their headers are right.
fn packets(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = bytes;
    let next = move || {
        let (packet, after) = split(rest)?;
        rest = after;
        Some((*packet.get(1)?, packet))
    };
    std::iter::from_fn(next).take(PACKETS_MAX)
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let &[first, kind, l0, l1] = bytes.first_chunk::<HEADER_LEN>()?;
    let is_header = first >> 6 == 2 && (192..=223).contains(&kind);
    let len = HEADER_LEN * (usize::from(u16::from_be_bytes([l0, l1])) + 1);
    is_header.then(|| bytes.split_at_checked(len)).flatten()
}

/// True if the packets end where the datagram ends, or where an SRTCP trailer without the E bit begins.
fn is_readable(bytes: &[u8]) -> bool {
    let mut end = 0;
    for (_, packet) in packets(bytes) {
        end += packet.len();
        match bytes.get(end..).unwrap_or_default() {
            [] => return true,
            rest if is_clear_trailer(rest) => return true,
            _ => {}
        }
    }
    false
}

/// Index and tag of HMAC-SHA1 (RFC 3711 §3.4), or tag and index of AES-GCM (RFC 7714 §9.3); the E bit is the index's first.
fn is_clear_trailer(rest: &[u8]) -> bool {
    let index = match rest.len() {
        14 => rest.first(),
        20 => rest.get(16),
        _ => None,
    };
    index.is_some_and(|first| first & 0x80 == 0)
}

#[cfg(test)]
impl Reports {
    pub fn heap_bytes(&self) -> usize {
        self.sent.capacity() * size_of::<Report>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn sender_report(name: u32) -> Vec<u8> {
        let mut bytes = vec![0x80, 200, 0, 6];
        bytes.extend(0xaaaa_aaaa_u32.to_be_bytes());
        bytes.extend(((0xe000_u64 << 48) | u64::from(name) << 16 | 0x1234).to_be_bytes());
        bytes.extend([0; 12]);
        bytes
    }

    fn receiver_report(name: u32, delay: u32) -> Vec<u8> {
        let mut bytes = vec![0x81, 201, 0, 7];
        bytes.extend([0; 4 + 16]);
        bytes.extend(name.to_be_bytes());
        bytes.extend(delay.to_be_bytes());
        bytes
    }

    /// RFC 3550 §6.4.1: A - LSR - DLSR, with the relay in the sender's place.
    #[test]
    fn a_report_on_a_report_tells_the_round_trip_behind_the_relay() {
        let mut reports = Reports::default();
        assert_eq!(
            reports.see(Side::Client, &sender_report(77), 1000 * MS),
            None
        );
        // Half a second at the peer, and 30 ms on the way.
        let back = receiver_report(77, 1 << 15);
        assert_eq!(reports.see(Side::Peer, &back, 1530 * MS), Some(30 * MS));
        assert_eq!(reports.see(Side::Client, &back, 1530 * MS), None, "its own");
        // In a compound, behind a sender report of the peer.
        let compound = [sender_report(78), receiver_report(77, 1 << 15)].concat();
        assert_eq!(reports.see(Side::Peer, &compound, 1540 * MS), Some(40 * MS));
        assert_eq!(
            reports.see(Side::Client, &receiver_report(78, 0), 1545 * MS),
            Some(5 * MS)
        );
    }

    #[test]
    fn a_datagram_tells_one_round_trip_however_often_it_names_the_report() {
        let mut reports = Reports::default();
        reports.see(Side::Client, &sender_report(77), 1000 * MS);
        let many = receiver_report(77, 1 << 15).repeat(PACKETS_MAX);
        assert_eq!(reports.see(Side::Peer, &many, 1530 * MS), Some(30 * MS));
        let later = [receiver_report(5, 0), receiver_report(77, 1 << 15)].concat();
        assert_eq!(reports.see(Side::Peer, &later, 1540 * MS), Some(40 * MS));
    }

    #[test]
    fn what_names_no_report_or_says_more_than_has_passed_is_no_round_trip() {
        let mut reports = Reports::default();
        reports.see(Side::Client, &sender_report(77), 1000 * MS);
        for (name, delay) in [(78, 0), (0, 0), (77, 1 << 16)] {
            let told = reports.see(Side::Peer, &receiver_report(name, delay), 1500 * MS);
            assert_eq!(told, None, "{name} {delay}");
        }
    }

    #[test]
    fn encrypted_reports_are_not_read_and_clear_ones_of_srtcp_are() {
        let with = |mut bytes: Vec<u8>, trailer: &[u8]| {
            bytes.extend(trailer);
            bytes
        };
        let (mut clear, mut encrypted) = ([5; 14], [5; 14]);
        clear[0] = 0;
        encrypted[0] = 0x80;
        let (mut clear_gcm, mut encrypted_gcm) = ([0xff; 20], [0xff; 20]);
        clear_gcm[16] = 0;
        encrypted_gcm[16] = 0x80;
        for (trailer, is_read) in [
            (&clear[..], true),
            (&clear_gcm[..], true),
            (&encrypted[..], false),
            (&encrypted_gcm[..], false),
            (&[0; 13][..], false),
        ] {
            let mut reports = Reports::default();
            reports.see(Side::Client, &with(sender_report(77), trailer), 0);
            let back = with(receiver_report(77, 0), trailer);
            let told = reports.see(Side::Peer, &back, 7 * MS);
            assert_eq!(told == Some(7 * MS), is_read, "{trailer:?}");
        }
    }

    #[test]
    fn cut_and_broken_compounds_are_not_read() {
        let whole = [sender_report(77), receiver_report(1, 2)].concat();
        for len in 0..=whole.len() {
            let mut reports = Reports::default();
            reports.see(Side::Client, &whole[..len], 0);
            // The first packet alone is a whole compound, or one with a trailer; so are both.
            let is_whole = matches!(len, 28 | 48 | 60);
            assert_eq!(!reports.sent.is_empty(), is_whole, "{len}");
        }
        let mut reports = Reports::default();
        for n in 0..100 {
            reports.see(Side::Client, &sender_report(n), 0);
        }
        assert_eq!(reports.sent.len(), REPORTS_MAX);
    }
}
