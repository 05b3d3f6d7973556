//! Channel bindings of one allocation (RFC 8656 §12): channel number ↔ peer, for ten minutes.
//!
//! Renewed by ChannelBind alone. After its end a binding's number and peer stay reserved for each other five
//! minutes more. Invariant: no two bindings, ended ones included, share a number or a peer. Sorted by number,
//! with an index sorted by peer; at most [`CHANNELS_MAX`].

use crate::addr::PeerAddr;

/// Channels of one allocation, reserved ones included.
pub const CHANNELS_MAX: usize = 1024;
/// RFC 8656 §12: "Channel bindings last for 10 minutes".
pub const CHANNEL_NS: u64 = 600 * 1_000_000_000;
/// RFC 8656 §12: five more minutes before a number or a peer is bound otherwise.
pub const RESERVED_NS: u64 = 300 * 1_000_000_000;

#[derive(Clone, Copy, Debug)]
pub struct Channel {
    pub number: u16,
    pub peer: PeerAddr,
    /// A fast path has been told of it.
    pub path_up: bool,
    expires_ns: u64,
}

impl Channel {
    pub fn is_bound(&self, now_ns: u64) -> bool {
        self.expires_ns > now_ns
    }

    fn is_held(&self, now_ns: u64) -> bool {
        self.expires_ns + RESERVED_NS > now_ns
    }
}

/// Why a channel cannot be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindRefusal {
    /// The number is, or was lately, bound to another peer, or the peer to another number.
    Conflict,
    Full,
}

#[derive(Debug, Default)]
pub struct Channels {
    by_number: Vec<Channel>,
    /// Numbers, sorted by their channel's peer.
    by_peer: Vec<(PeerAddr, u16)>,
}

impl Channels {
    /// The bound channel of this number.
    pub fn by_number(&self, number: u16, now_ns: u64) -> Option<Channel> {
        let at = self.position(number).ok()?;
        let channel = self.by_number.get(at).copied();
        channel.filter(|channel| channel.is_bound(now_ns))
    }

    /// The number bound to this peer.
    pub fn number_of(&self, peer: PeerAddr, now_ns: u64) -> Option<u16> {
        let at = self.peer_position(peer).ok()?;
        let (_, number) = self.by_peer.get(at)?;
        self.by_number(*number, now_ns)
            .map(|channel| channel.number)
    }

    /// Whether [`bind`](Self::bind) may be called. Sweeps first, so that what has ended is in nobody's way.
    pub fn check(&mut self, number: u16, peer: PeerAddr, now_ns: u64) -> Result<(), BindRefusal> {
        self.sweep(now_ns);
        let held = self.position(number).ok().map(|at| self.by_number[at].peer);
        let bound_to = self.peer_position(peer).ok().map(|at| self.by_peer[at].1);
        match (held, bound_to) {
            (None, None) if self.by_number.len() >= CHANNELS_MAX => Err(BindRefusal::Full),
            (None, None) => Ok(()),
            (Some(held), Some(bound_to)) if held == peer && bound_to == number => Ok(()),
            (Some(_), _) | (_, Some(_)) => Err(BindRefusal::Conflict),
        }
    }

    /// Binds or renews what [`check`](Self::check) allowed. Returns when it ends.
    pub fn bind(&mut self, number: u16, peer: PeerAddr, now_ns: u64) -> u64 {
        let expires_ns = now_ns + CHANNEL_NS;
        match self.position(number) {
            Ok(at) => self.by_number[at].expires_ns = expires_ns,
            Err(at) => {
                let channel = Channel {
                    number,
                    peer,
                    path_up: false,
                    expires_ns,
                };
                self.by_number.insert(at, channel);
                if let Err(at) = self.peer_position(peer) {
                    self.by_peer.insert(at, (peer, number));
                }
            }
        }
        expires_ns
    }

    /// Forgets what is not even reserved any more; tells when the next binding or reservation ends.
    pub fn sweep(&mut self, now_ns: u64) -> Option<u64> {
        if self
            .by_number
            .iter()
            .any(|channel| !channel.is_held(now_ns))
        {
            self.by_number.retain(|channel| channel.is_held(now_ns));
            let kept = &self.by_number;
            self.by_peer.retain(|(_, number)| {
                kept.binary_search_by_key(number, |channel| channel.number)
                    .is_ok()
            });
            if self.by_number.capacity() > 16
                && self.by_number.len() < self.by_number.capacity() / 4
            {
                self.by_number.shrink_to_fit();
                self.by_peer.shrink_to_fit();
            }
        }
        let next_end = |channel: &Channel| {
            if channel.is_bound(now_ns) {
                channel.expires_ns
            } else {
                channel.expires_ns + RESERVED_NS
            }
        };
        self.by_number.iter().map(next_end).min()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Channel> {
        self.by_number.iter_mut()
    }

    /// Channels that are bound.
    pub fn count(&self, now_ns: u64) -> usize {
        let bound = |channel: &&Channel| channel.is_bound(now_ns);
        self.by_number.iter().filter(bound).count()
    }

    /// Those that are bound, by number, with their peer and when each ends.
    pub fn bound(&self, now_ns: u64) -> impl Iterator<Item = (u16, PeerAddr, u64)> {
        let bound = move |channel: &&Channel| channel.is_bound(now_ns);
        let parts = |channel: &Channel| (channel.number, channel.peer, channel.expires_ns);
        self.by_number.iter().filter(bound).map(parts)
    }

    /// Panics where number → peer and peer → number do not hold the same pairs.
    pub fn assert_consistent(&self) {
        let pairs = |channel: &Channel| (channel.peer, channel.number);
        let mut forward: Vec<_> = self.by_number.iter().map(pairs).collect();
        forward.sort_unstable();
        assert_eq!(forward, self.by_peer, "both directions hold the same pairs");
        assert!(self.by_number.is_sorted_by(|a, b| a.number < b.number));
        assert!(self.by_peer.is_sorted_by(|a, b| a.0 < b.0));
    }

    fn position(&self, number: u16) -> Result<usize, usize> {
        self.by_number
            .binary_search_by_key(&number, |channel| channel.number)
    }

    fn peer_position(&self, peer: PeerAddr) -> Result<usize, usize> {
        self.by_peer.binary_search_by(|(bound, _)| bound.cmp(&peer))
    }
}
