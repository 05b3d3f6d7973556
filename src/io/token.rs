//! What a report of readiness is about, packed into epoll's 64 bits.

use crate::turn::{LinkId, RelayId};

/// A report may be about a descriptor that was closed a moment ago and whose number is in use again, so
/// every report is a hint: the worker looks, and finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    Wake,
    Timer,
    /// By index into the worker's listeners.
    Listener(u32),
    Relay(RelayId),
    /// By index into the worker's streams.
    Stream(u32),
    /// By index into the lanes to another process.
    Lane(u32),
}

impl Token {
    pub fn to_bits(self) -> u64 {
        let (kind, index) = match self {
            Self::Wake => (0, 0),
            Self::Listener(index) => (1, index),
            Self::Relay(relay) => (2, relay.0),
            Self::Stream(index) => (3, index),
            Self::Timer => (4, 0),
            Self::Lane(index) => (5, index),
        };
        kind << 32 | u64::from(index)
    }

    pub fn from_bits(bits: u64) -> Option<Self> {
        let index = bits as u32;
        match bits >> 32 {
            0 => Some(Self::Wake),
            1 => Some(Self::Listener(index)),
            2 => Some(Self::Relay(RelayId(index))),
            3 => Some(Self::Stream(index)),
            4 => Some(Self::Timer),
            5 => Some(Self::Lane(index)),
            _ => None,
        }
    }
}

/// Set in a `LinkId` that means a stream; the others mean a listener.
const STREAM: u32 = 1 << 31;

/// The worker's own reading of a `LinkId`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Listener(u32),
    Stream(u32),
}

impl Link {
    pub fn id(self) -> LinkId {
        match self {
            Self::Listener(index) => LinkId(index),
            Self::Stream(index) => LinkId(index | STREAM),
        }
    }

    pub fn of(id: LinkId) -> Self {
        if id.0 & STREAM == 0 {
            Self::Listener(id.0)
        } else {
            Self::Stream(id.0 & !STREAM)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_links_survive_packing() {
        let tokens = [
            Token::Wake,
            Token::Timer,
            Token::Listener(3),
            Token::Relay(RelayId(u32::MAX)),
            Token::Stream(70_000),
            Token::Lane(1),
        ];
        for token in tokens {
            assert_eq!(Token::from_bits(token.to_bits()), Some(token));
        }
        assert_eq!(Token::from_bits(u64::MAX), None);
        for link in [Link::Listener(0), Link::Stream(0), Link::Stream(9)] {
            assert_eq!(Link::of(link.id()), link);
        }
    }
}
