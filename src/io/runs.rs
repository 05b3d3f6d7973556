//! Whether a socket's datagrams come in runs: several of one length in a row from one sender, as video does.
//!
//! The kernel can hand such a run over as one message (`UDP_GRO`), which costs little more to receive than one datagram.
//! A socket that has it on needs the longer receive call for every message, so it is turned on where runs of three and
//! more have been seen again and again. It stays on: what was merged before it is turned off would arrive after that, as
//! one long datagram, without the length of its parts.

use crate::sys::socket::UdpSocket;
use std::net::SocketAddr;

/// Calls that brought fewer datagrams tell nothing of runs.
const CALL_MIN: u8 = 4;

/// A call that brought runs counts so much, any other takes one away.
const RUNS_WEIGH: u8 = 2;

/// From this score on the kernel is asked to merge.
const SCORE: u8 = 16;

/// What one socket's calls have shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runs {
    score: u8,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Watched,
    /// The kernel may merge, so the socket is read as if it did.
    Merged,
    /// The kernel does not know how (before Linux 5.0).
    Refused,
}

impl Runs {
    /// Of a new socket.
    pub const START: Self = Self {
        score: 0,
        state: State::Watched,
    };

    /// Of a socket that another process has read before. A kernel that does not tell may merge.
    pub fn of(socket: &UdpSocket) -> Self {
        let state = match socket.merges_runs() {
            Ok(false) => State::Watched,
            Ok(true) | Err(_) => State::Merged,
        };
        Self { score: 0, state }
    }

    /// Of a socket that another process has too, so that either may come to read what the other has had merged: both
    /// read it so from the moment on that they share it.
    pub fn of_shared(socket: &UdpSocket) -> Self {
        if let Err(error) = socket.merge_runs() {
            tracing::debug!(%error, "the kernel does not merge datagrams");
        }
        Self {
            score: 0,
            state: State::Merged,
        }
    }

    /// The socket must be read by [`Receiver::receive_merged`](crate::sys::recv::Receiver::receive_merged).
    pub fn are_merged(self) -> bool {
        self.state == State::Merged
    }

    /// What a call for several from `socket` has brought.
    pub fn note(&mut self, tally: &Tally, socket: &UdpSocket) {
        if self.state != State::Watched {
            return;
        }
        self.score = if tally.is_of_runs() {
            self.score + RUNS_WEIGH
        } else {
            self.score.saturating_sub(1)
        };
        if self.score >= SCORE {
            self.state = match socket.merge_runs() {
                Ok(()) => State::Merged,
                Err(error) => {
                    tracing::debug!(%error, "the kernel does not merge datagrams");
                    State::Refused
                }
            };
        }
    }
}

/// The datagrams of one call.
#[derive(Default)]
pub struct Tally {
    last: Option<(SocketAddr, usize)>,
    count: u8,
    /// Of the same sender and length as the one before.
    going_on: u8,
}

impl Tally {
    pub fn see(&mut self, from: SocketAddr, len: usize) {
        let datagram = Some((from, len));
        self.count += 1;
        self.going_on += u8::from(self.last == datagram);
        self.last = datagram;
    }

    /// Two thirds go on, as in runs of three.
    fn is_of_runs(&self) -> bool {
        self.count >= CALL_MIN && u16::from(self.going_on) * 3 >= u16::from(self.count) * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::recv::BATCH_MAX;
    use crate::sys::socket::Purpose;

    #[test]
    fn runs_seen_again_and_again_are_merged_from_then_on() {
        let socket = socket();
        let mut runs = Runs::of(&socket);
        assert!(!runs.are_merged());
        let runs_of_four = tally(&[1, 1, 1, 1, 2, 2, 2, 2]);
        for _ in 1..SCORE / RUNS_WEIGH {
            runs.note(&runs_of_four, &socket);
            assert!(!runs.are_merged());
        }
        runs.note(&runs_of_four, &socket);
        assert!(runs.are_merged());
        assert!(Runs::of(&socket).are_merged(), "the socket knows");
    }

    #[test]
    fn a_socket_that_two_processes_have_is_read_as_merged_from_the_start() {
        let socket = socket();
        assert!(Runs::of_shared(&socket).are_merged());
        assert!(Runs::of(&socket).are_merged());
    }

    #[test]
    fn calls_without_runs_weigh_against_those_with() {
        let socket = socket();
        for other in [
            tally(&[1]),
            tally(&[1, 1, 1]),
            tally(&[1, 2, 1, 2, 1, 2, 1, 2]),
            tally(&[1, 1, 2, 2, 3, 3]),
        ] {
            let mut runs = Runs::START;
            for _ in 0..100 {
                runs.note(&tally(&[7; BATCH_MAX]), &socket);
                runs.note(&other, &socket);
                runs.note(&other, &socket);
            }
            assert!(!runs.are_merged());
        }
    }

    #[test]
    fn the_same_length_from_another_sender_ends_a_run() {
        let [a, b] = ["127.0.0.1:1", "127.0.0.1:2"].map(|text| text.parse().expect("valid"));
        let mut tally = Tally::default();
        (0..BATCH_MAX).for_each(|at| tally.see(if at % 2 == 0 { a } else { b }, 100));
        assert!(!tally.is_of_runs());
    }

    fn tally(lengths: &[usize]) -> Tally {
        let from = "127.0.0.1:1".parse().expect("valid");
        let mut tally = Tally::default();
        lengths.iter().for_each(|len| tally.see(from, *len));
        tally
    }

    fn socket() -> UdpSocket {
        let any = "127.0.0.1:0".parse().expect("valid");
        UdpSocket::bind(any, Purpose::Relay).expect("bound")
    }
}
