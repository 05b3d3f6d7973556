//! How many datagrams a call asks a socket for.
//!
//! One alone is asked for by the cheapest call (`recvfrom`), which most sockets of a busy server need: they bring one
//! datagram a report. Preparing a call for several (`recvmmsg`) costs by what it asks for, and one that finds less also
//! pays for finding the socket empty. So a burst follows what its last calls brought, and while it is one, every
//! eighth call asks for two, to see whether more is waiting by now. What is left is reported again. Where packets had time to
//! gather, since the worker rested, none is asked for alone.

use crate::sys::recv::BATCH_MAX;

const MAX: u8 = BATCH_MAX as u8;

/// First guess.
const START: u8 = 4;

/// What a call for several asks for at least.
const SEVERAL: u8 = 2;

/// Calls for one alone until one for several.
const ALONE_MAX: u8 = 7;

/// One socket's burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    size: u8,
    /// Calls for one alone since the last for several.
    alone: u8,
}

impl Burst {
    pub const START: Self = Self {
        size: START,
        alone: 0,
    };

    /// Whether one alone is to be asked for; if so, the call is counted.
    pub fn take_alone(&mut self) -> bool {
        let is_alone = self.size == 1 && self.alone < ALONE_MAX;
        self.alone = if is_alone { self.alone + 1 } else { 0 };
        is_alone
    }

    /// What a call for several asks for.
    pub fn several(self) -> usize {
        usize::from(self.size.max(SEVERAL))
    }

    /// A call for [`several`](Self::several) has brought `count`: twice as many next time after a full read, half after
    /// one that brought less than half, and one after one for two.
    pub fn note(&mut self, count: usize) {
        let asked = self.several();
        self.size = if count >= asked {
            self.size.max(SEVERAL).saturating_mul(2).min(MAX)
        } else if asked == usize::from(SEVERAL) {
            1
        } else if count * 2 < asked {
            self.size / 2
        } else {
            self.size
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_brings_one_at_a_time_is_asked_for_one_and_now_and_then_for_two() {
        let mut burst = settled(1);
        for _ in 0..3 {
            assert_eq!((0..20).take_while(|_| burst.take_alone()).count(), 7);
            assert_eq!(burst.several(), 2);
            burst.note(1);
        }
    }

    #[test]
    fn what_has_gathered_unseen_is_found_and_then_read_in_ever_larger_calls() {
        let mut burst = settled(1);
        while burst.take_alone() {}
        let mut asked = Vec::new();
        for _ in 0..7 {
            assert!(asked.is_empty() || !burst.take_alone());
            asked.push(burst.several());
            burst.note(burst.several());
        }
        assert_eq!(asked, [2, 4, 8, 16, 32, 64, 64]);
    }

    #[test]
    fn a_burst_falls_to_what_calls_bring() {
        assert_eq!(settled(64).several(), 64);
        assert_eq!(settled(20).several(), 32);
        assert_eq!(settled(3).several(), 4);
        let mut burst = settled(1);
        assert!(burst.take_alone());
    }

    /// A call may find nothing: what was reported has been thrown away for its checksum, or was read already.
    #[test]
    fn a_call_that_brings_nothing_counts_as_one_that_brought_little() {
        let mut burst = Burst::START;
        burst.note(0);
        burst.note(0);
        assert!(burst.take_alone());
    }

    /// After many calls that brought `count`, or all that they asked for.
    fn settled(count: usize) -> Burst {
        let mut burst = Burst::START;
        for _ in 0..20 {
            if !burst.take_alone() {
                burst.note(count.min(burst.several()));
            }
        }
        while count == 1 && burst.alone != 0 {
            if !burst.take_alone() {
                burst.note(1);
            }
        }
        burst
    }
}
