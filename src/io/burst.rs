//! How many datagrams a call asks a socket for.
//!
//! One alone is asked for by the cheapest call (`recvfrom`), which most sockets of a busy server need: they bring one
//! datagram a report. Preparing a call for several (`recvmmsg`) costs by what it asks for, and one that finds less also
//! pays for finding the socket empty. So a burst follows what its last calls brought. While it is one, a call asks for
//! two now and then, to see whether more is waiting by now: at first after one call for one alone, and after twice as
//! many each time that it was in vain. What is left is reported again. Where packets had time to gather, since the worker
//! rested, none is asked for alone.

use crate::sys::recv::BATCH_MAX;

const MAX: u8 = BATCH_MAX as u8;

/// First guess.
const START: u8 = 4;

/// What a call for several asks for at least.
const SEVERAL: u8 = 2;

/// Most calls for one alone in a row.
const RUN_MAX: u8 = 16;

/// One socket's burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    size: u8,
    /// Calls for one alone that follow a call for several that was in vain: twice as many each time, half as many after
    /// a full one.
    run: u8,
    /// What is left of that row.
    left: u8,
}

impl Burst {
    pub const START: Self = Self {
        size: START,
        run: 0,
        left: 0,
    };

    /// Whether one alone is to be asked for; if so, the call is counted.
    pub fn take_alone(&mut self) -> bool {
        let is_alone = self.left > 0;
        self.left -= u8::from(is_alone);
        is_alone
    }

    /// What a call for several asks for.
    pub fn several(self) -> usize {
        usize::from(self.size)
    }

    /// A call for `asked`, which is [`several`](Self::several) or fewer, has brought `count`: twice as many next time
    /// after a full read, half after one that brought less than half, and one alone for a while after one that brought
    /// no more than that.
    pub fn note(&mut self, asked: usize, count: usize) {
        self.left = 0;
        if count >= asked {
            self.size = self.size.saturating_mul(2).min(MAX);
            self.run /= 2;
        } else if count <= 1 {
            self.size = (self.size / 4).max(SEVERAL);
            self.run = (self.run * 2).clamp(1, RUN_MAX);
            self.left = self.run;
        } else if count * 2 < asked {
            self.size /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_brings_one_at_a_time_is_asked_for_two_ever_more_seldom() {
        let mut burst = Burst::START;
        let mut rows = Vec::new();
        for _ in 0..8 {
            burst.note(burst.several(), 1);
            rows.push((alone(&mut burst), burst.several()));
        }
        let expected = [1, 2, 4, 8, 16, 16, 16, 16].map(|row| (row, 2));
        assert_eq!(rows, expected);
    }

    #[test]
    fn what_has_gathered_unseen_is_found_and_then_read_in_ever_larger_calls() {
        let mut burst = settled(1);
        alone(&mut burst);
        let mut asked = Vec::new();
        for _ in 0..7 {
            assert!(!burst.take_alone());
            asked.push(burst.several());
            burst.note(burst.several(), burst.several());
        }
        assert_eq!(asked, [2, 4, 8, 16, 32, 64, 64]);
    }

    /// Two that arrive together now and then are no reason to ask for two all the time.
    #[test]
    fn a_pair_now_and_then_changes_little() {
        let mut burst = settled(1);
        let (mut several, mut all) = (0, 0);
        for _ in 0..1000 {
            all += 1;
            if burst.take_alone() {
                continue;
            }
            several += 1;
            let count = if several % 8 == 0 { 2 } else { 1 };
            burst.note(burst.several(), count);
        }
        assert!(several * 8 < all, "{several} of {all}");
    }

    #[test]
    fn a_burst_falls_to_what_calls_bring() {
        assert_eq!(settled(64).several(), 64);
        assert_eq!(settled(20).several(), 32);
        assert_eq!(settled(3).several(), 4);
        assert!(settled(1).take_alone());
    }

    /// A single one in between, as when a call has just emptied the socket, is not the end of a burst.
    #[test]
    fn a_burst_comes_back_fast() {
        let mut burst = settled(64);
        burst.note(64, 1);
        assert_eq!(alone(&mut burst), 1);
        assert_eq!(burst.several(), 16);
    }

    /// After a rest of the worker a call for several comes out of turn.
    #[test]
    fn a_backlog_that_is_found_out_of_turn_ends_the_calls_for_one() {
        let mut burst = settled(1);
        assert!(burst.take_alone());
        burst.note(2, 2);
        assert!(!burst.take_alone());
    }

    /// A call may find nothing: what was reported has been thrown away for its checksum, or was read already.
    #[test]
    fn a_call_that_brings_nothing_counts_as_one_that_brought_little() {
        let mut burst = Burst::START;
        burst.note(burst.several(), 0);
        assert!(burst.take_alone());
    }

    /// Calls for one alone until one for several is due.
    fn alone(burst: &mut Burst) -> usize {
        let mut calls = 0;
        while burst.take_alone() {
            calls += 1;
        }
        calls
    }

    /// After many calls that brought `count`, or all that they asked for; the last was one for several.
    fn settled(count: usize) -> Burst {
        let mut burst = Burst::START;
        for _ in 0..20 {
            alone(&mut burst);
            let asked = burst.several();
            burst.note(asked, count.min(asked));
        }
        burst
    }
}
