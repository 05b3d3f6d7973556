//! Round trips from ICE connectivity checks: a request passes one way, its answer the other.
//!
//! A transaction that was sent more than once is not measured: nobody knows which of its requests is answered (Karn's rule).

use super::Side;

/// Transactions under way at once; the oldest makes room.
const OPEN_MAX: usize = 6;

#[derive(Clone, Copy, Debug)]
struct Open {
    id: [u8; 12],
    from: Side,
    repeated: bool,
    sent_ns: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Checks {
    open: [Option<Open>; OPEN_MAX],
}

impl Checks {
    pub fn request(&mut self, from: Side, id: [u8; 12], now_ns: u64) {
        let is_it = |open: &&mut Open| open.id == id && open.from == from;
        if let Some(open) = self.open.iter_mut().flatten().find(is_it) {
            open.repeated = true;
            return;
        }
        let age = |slot: &&mut Option<Open>| slot.map_or(0, |open| open.sent_ns + 1);
        if let Some(slot) = self.open.iter_mut().min_by_key(age) {
            *slot = Some(Open {
                id,
                from,
                repeated: false,
                sent_ns: now_ns,
            });
        }
    }

    /// The round trip, in nanoseconds, between the relay and `from`, who answers.
    pub fn answer(&mut self, from: Side, id: [u8; 12], now_ns: u64) -> Option<u64> {
        let is_it = |open: Open| open.id == id && open.from != from;
        let slot = self.open.iter_mut().find(|slot| slot.is_some_and(is_it))?;
        let open = slot.take().filter(|open| !open.repeated)?;
        now_ns.checked_sub(open.sent_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn id(n: u8) -> [u8; 12] {
        [n; 12]
    }

    #[test]
    fn an_answer_tells_the_round_trip_of_the_side_that_gives_it() {
        let mut checks = Checks::default();
        checks.request(Side::Client, id(1), 100 * MS);
        checks.request(Side::Peer, id(2), 110 * MS);
        assert_eq!(checks.answer(Side::Peer, id(1), 142 * MS), Some(42 * MS));
        assert_eq!(checks.answer(Side::Client, id(2), 115 * MS), Some(5 * MS));
        assert_eq!(checks.answer(Side::Client, id(2), 116 * MS), None, "once");
    }

    #[test]
    fn an_answer_from_the_asking_side_or_to_nothing_is_none() {
        let mut checks = Checks::default();
        checks.request(Side::Client, id(1), 0);
        assert_eq!(checks.answer(Side::Client, id(1), MS), None);
        assert_eq!(checks.answer(Side::Peer, id(9), MS), None);
        assert_eq!(checks.answer(Side::Peer, id(1), 2 * MS), Some(2 * MS));
    }

    #[test]
    fn a_transaction_that_was_sent_again_is_not_measured() {
        let mut checks = Checks::default();
        checks.request(Side::Client, id(1), 0);
        checks.request(Side::Client, id(1), 500 * MS);
        assert_eq!(checks.answer(Side::Peer, id(1), 510 * MS), None);
        assert_eq!(checks.answer(Side::Peer, id(1), 520 * MS), None);
    }

    #[test]
    fn the_oldest_transaction_makes_room() {
        let mut checks = Checks::default();
        for n in 0..=OPEN_MAX as u8 {
            checks.request(Side::Client, id(n), u64::from(n) * MS);
        }
        assert_eq!(checks.answer(Side::Peer, id(0), 9 * MS), None);
        for n in 1..=OPEN_MAX as u8 {
            let expected = Some((9 - u64::from(n)) * MS);
            assert_eq!(checks.answer(Side::Peer, id(n), 9 * MS), expected);
        }
    }
}
