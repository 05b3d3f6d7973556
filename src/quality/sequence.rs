//! Loss by sequence numbers, in the spirit of RFC 3550 A.1 and A.3: wraps, reordering, duplicates and restarts told apart.
//!
//! What is missing is lost until it comes: a late packet takes its loss back. Invariant: received ≤ expected.

/// RFC 3550 A.1: a gap of so many is loss at once, a wider one a restart, unless its timestamp says that it is an outage.
const DROPOUT_MAX: u16 = 3000;

/// A packet that is so far behind is late or a duplicate, further behind the first one of a restart.
///
/// RFC 3550 has 100; but what a receiver asks for again comes a round trip late, several hundred packets in a fast stream.
const MISORDER_MAX: u16 = 1024;

/// Numbers whose arrival is remembered one by one.
const WINDOW: u16 = 128;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The newest so far.
    Next,
    /// Behind one that has come.
    Late,
    Duplicate,
    /// Far from all others: counted only if the next number follows.
    Stray,
    /// The second one in a row somewhere else: the source has started anew there.
    Restart,
}

#[derive(Clone, Debug)]
pub struct Sequence {
    /// Bit n: the number n before `highest` has come.
    window: u128,
    pub expected: u64,
    pub received: u64,
    highest: u16,
    /// What would follow a stray packet.
    awaited: Option<u16>,
    /// Numbers from the first one of this run to `highest`.
    run: u32,
    /// Of this run, the number after the last gap: all from there on have come. 1 is the first number.
    whole_since: u32,
    pub reordered: u32,
    pub duplicates: u32,
    pub restarts: u32,
}

impl Sequence {
    /// With its first packet.
    pub fn new(first: u16) -> Self {
        Self {
            window: 1,
            expected: 1,
            received: 1,
            highest: first,
            awaited: None,
            run: 1,
            whole_since: 1,
            reordered: 0,
            duplicates: 0,
            restarts: 0,
        }
    }

    pub fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.received)
    }

    /// `is_outage` tells whether a wide gap forward fits the time that has passed.
    #[inline]
    pub fn receive(&mut self, number: u16, is_outage: impl FnOnce() -> bool) -> Arrival {
        let ahead = number.wrapping_sub(self.highest);
        match ahead {
            0 => self.duplicate(),
            1..DROPOUT_MAX => self.advance(ahead),
            _ => self.receive_far(number, ahead, is_outage),
        }
    }

    fn receive_far(
        &mut self,
        number: u16,
        ahead: u16,
        is_outage: impl FnOnce() -> bool,
    ) -> Arrival {
        let behind = ahead.wrapping_neg();
        if behind < MISORDER_MAX {
            return self.fall_in(behind);
        }
        if self.awaited == Some(number) {
            return self.restart(number);
        }
        if ahead < 1 << 15 && is_outage() {
            return self.advance(ahead);
        }
        self.awaited = Some(number.wrapping_add(1));
        Arrival::Stray
    }

    fn advance(&mut self, by: u16) -> Arrival {
        self.window = self.window.checked_shl(u32::from(by)).unwrap_or(0) | 1;
        self.highest = self.highest.wrapping_add(by);
        self.expected += u64::from(by);
        self.received += 1;
        self.run = self.run.saturating_add(u32::from(by));
        if by > 1 {
            self.whole_since = self.run;
        }
        Arrival::Next
    }

    fn fall_in(&mut self, behind: u16) -> Arrival {
        if behind >= WINDOW {
            return self.fall_in_blindly(behind);
        }
        let bit = 1 << behind;
        if self.window & bit != 0 {
            return self.duplicate();
        }
        self.window |= bit;
        // From before the first one that came.
        let before = (u32::from(behind) + 1).saturating_sub(self.run);
        self.run = self.run.saturating_add(before);
        self.whole_since = self.whole_since.saturating_add(before);
        self.expected += u64::from(before);
        self.late()
    }

    /// Whether it had come is not known any more: it is a late one if something is missing that is as old.
    fn fall_in_blindly(&mut self, behind: u16) -> Arrival {
        let has_come = u32::from(behind) <= self.run.saturating_sub(self.whole_since);
        if has_come || self.lost() == 0 {
            return self.duplicate();
        }
        self.late()
    }

    fn late(&mut self) -> Arrival {
        // An old duplicate may have been taken for it.
        self.received = self.expected.min(self.received + 1);
        self.reordered = self.reordered.saturating_add(1);
        Arrival::Late
    }

    fn duplicate(&mut self) -> Arrival {
        self.duplicates = self.duplicates.saturating_add(1);
        Arrival::Duplicate
    }

    /// Both packets of the new run count, the first one belatedly.
    fn restart(&mut self, number: u16) -> Arrival {
        self.window = 0b11;
        self.highest = number;
        self.expected += 2;
        self.received += 2;
        self.awaited = None;
        (self.run, self.whole_since) = (2, 1);
        self.restarts = self.restarts.saturating_add(1);
        Arrival::Restart
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(numbers: impl IntoIterator<Item = u16>) -> Sequence {
        let mut numbers = numbers.into_iter();
        let mut sequence = Sequence::new(numbers.next().expect("a first packet"));
        for number in numbers {
            sequence.receive(number, || false);
        }
        sequence
    }

    fn told(sequence: &Sequence) -> [u64; 5] {
        let Sequence {
            reordered,
            duplicates,
            restarts,
            ..
        } = *sequence;
        let [reordered, duplicates, restarts] = [reordered, duplicates, restarts].map(u64::from);
        [
            sequence.expected,
            sequence.lost(),
            reordered,
            duplicates,
            restarts,
        ]
    }

    #[test]
    fn a_wrap_is_no_loss() {
        let numbers = (65_530..=65_535).chain(0..10);
        assert_eq!(told(&after(numbers)), [16, 0, 0, 0, 0]);
        let many = (0..200_000_u32).map(|n| n as u16);
        assert_eq!(told(&after(many)), [200_000, 0, 0, 0, 0]);
    }

    #[test]
    fn a_gap_is_loss_also_over_the_wrap() {
        assert_eq!(told(&after([65_533, 65_534, 2, 3])), [7, 3, 0, 0, 0]);
        assert_eq!(told(&after([10, 10 + 2999])), [3000, 2998, 0, 0, 0]);
    }

    #[test]
    fn a_late_packet_takes_its_loss_back_and_is_no_duplicate() {
        assert_eq!(told(&after([1, 2, 4, 5, 3, 6])), [6, 0, 1, 0, 0]);
        // As deep as the window, and over a wrap.
        let numbers = [65_500, 65_502]
            .into_iter()
            .chain((65_503..=65_535).chain(0..92));
        let mut sequence = after(numbers);
        assert_eq!(sequence.lost(), 1);
        assert_eq!(sequence.receive(65_501, || false), Arrival::Late);
        assert_eq!(told(&sequence), [128, 0, 1, 0, 0]);
        assert_eq!(sequence.receive(65_501, || false), Arrival::Duplicate);
        assert_eq!(told(&sequence), [128, 0, 1, 1, 0]);
    }

    /// A retransmission on the stream's own SSRC, a round trip later.
    #[test]
    fn what_comes_later_than_the_window_fills_a_gap_or_is_a_duplicate() {
        let numbers = (0..10).chain(12..500);
        let mut sequence = after(numbers);
        assert_eq!(sequence.lost(), 2);
        for number in [10, 11] {
            assert_eq!(sequence.receive(number, || false), Arrival::Late);
        }
        assert_eq!(sequence.receive(10, || false), Arrival::Duplicate);
        assert_eq!(told(&sequence), [500, 0, 2, 1, 0]);
    }

    #[test]
    fn an_old_duplicate_of_what_came_after_the_last_gap_takes_no_loss_back() {
        let mut sequence = after((0..10).chain(12..1500));
        for number in [480, 900, 1300] {
            let arrival = sequence.receive(number, || false);
            assert_eq!(arrival, Arrival::Duplicate, "{number}");
        }
        assert_eq!(sequence.lost(), 2);
        let mut sequence = after((0..10).chain(12..500));
        assert_eq!(sequence.receive(12, || false), Arrival::Duplicate);
        assert_eq!(sequence.receive(11, || false), Arrival::Late);
        // The gap between a packet that came before the first one and that one.
        let mut sequence = after([100, 97].into_iter().chain(101..400));
        assert_eq!(sequence.receive(100, || false), Arrival::Duplicate);
        assert_eq!(sequence.receive(99, || false), Arrival::Late);
        assert_eq!(sequence.lost(), 1);
    }

    #[test]
    fn a_packet_from_before_the_first_one_is_expected_too() {
        assert_eq!(told(&after([100, 98, 99, 101])), [4, 0, 2, 0, 0]);
        assert_eq!(told(&after([0, 65_535, 1])), [3, 0, 1, 0, 0]);
        assert_eq!(told(&after([100, 97])), [4, 2, 1, 0, 0]);
    }

    #[test]
    fn duplicates_are_neither_loss_nor_gain() {
        assert_eq!(told(&after([1, 1, 2, 3, 2, 3, 4, 4])), [4, 0, 0, 4, 0]);
    }

    /// RFC 3550 A.1: two in a row elsewhere are a restart, one is nothing.
    #[test]
    fn a_source_that_jumps_starts_anew_with_its_second_packet() {
        let mut sequence = after([1, 2, 3]);
        assert_eq!(sequence.receive(30_000, || false), Arrival::Stray);
        assert_eq!(told(&sequence), [3, 0, 0, 0, 0]);
        assert_eq!(sequence.receive(4, || false), Arrival::Next);
        assert_eq!(sequence.receive(30_001, || false), Arrival::Restart);
        assert_eq!(sequence.receive(30_002, || false), Arrival::Next);
        assert_eq!(told(&sequence), [7, 0, 0, 0, 1]);
        // Back, by more than a misordered packet is.
        assert_eq!(sequence.receive(20_000, || false), Arrival::Stray);
        assert_eq!(sequence.receive(20_001, || false), Arrival::Restart);
        assert_eq!(told(&sequence), [9, 0, 0, 0, 2]);
    }

    #[test]
    fn a_wide_gap_that_fits_the_time_is_an_outage() {
        let mut sequence = after([1, 2, 3]);
        assert_eq!(sequence.receive(5003, || true), Arrival::Next);
        assert_eq!(told(&sequence), [5003, 4999, 0, 0, 0]);
        // Half of all numbers ahead is behind.
        assert_eq!(sequence.receive(5003 + 40_000, || true), Arrival::Stray);
    }

    #[test]
    fn a_burst_is_counted_to_the_packet() {
        // Of the ten numbers that end with 07, two are in it.
        let numbers = (0..1000).filter(|n| !(300..450).contains(n) && n % 100 != 7);
        assert_eq!(told(&after(numbers)), [1000, 150 + 10 - 2, 0, 0, 0]);
    }

    proptest::proptest! {
        #[test]
        fn received_never_passes_expected(numbers in proptest::collection::vec(0_u16..400, 1..600), jump in 0_u16..65535) {
            let jumping = numbers.iter().enumerate().map(|(at, n)| n.wrapping_add(jump.wrapping_mul(at as u16 / 100)));
            let sequence = after(jumping);
            proptest::prop_assert!(sequence.received <= sequence.expected);
        }
    }
}
