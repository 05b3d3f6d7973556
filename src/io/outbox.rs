//! What is to be sent in this round, in one chain for each socket, so that each is flushed by one call.
//!
//! Items lie in one vector in the order in which they arose; a chain links those of one socket. Everything is
//! cleared together, after the flush.

use crate::io::arena::Arena;
use crate::io::token::Token;
use crate::sys::send::Datagram;
use crate::turn::Prefix;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

const NONE: u32 = u32::MAX;

/// The items of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    head: u32,
    tail: u32,
    /// Some item wants DF, so the socket's option is switched while flushing.
    pub has_dont_fragment: bool,
}

impl Chain {
    pub const EMPTY: Self = Self {
        head: NONE,
        tail: NONE,
        has_dont_fragment: false,
    };

    pub fn is_empty(self) -> bool {
        self.head == NONE
    }

    pub fn is_single(self) -> bool {
        self.head == self.tail && !self.is_empty()
    }
}

pub enum Payload {
    /// Bytes of the round's arena.
    Arena(Range<usize>),
    /// A reply of the core, or a datagram that was too long for a slot.
    Owned { bytes: Vec<u8>, range: Range<usize> },
}

impl Payload {
    pub fn reply(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self::Owned { bytes, range }
    }

    pub fn bytes<'a>(&'a self, arena: &'a Arena) -> &'a [u8] {
        match self {
            Self::Arena(range) => arena.get(range.clone()),
            Self::Owned { bytes, range } => bytes.get(range.clone()).unwrap_or_default(),
        }
    }

    /// The part of this payload that `range` names, counted from its start.
    pub fn narrowed(self, range: Range<usize>) -> Self {
        let within = |whole: &Range<usize>| {
            let end = whole.end.min(whole.start + range.end);
            (whole.start + range.start).min(end)..end
        };
        match self {
            Self::Arena(whole) => Self::Arena(within(&whole)),
            Self::Owned {
                bytes,
                range: whole,
            } => {
                let range = within(&whole);
                Self::Owned { bytes, range }
            }
        }
    }

    /// Writes `prefix` in front of the payload and its padding behind, in the room that every slot has.
    ///
    /// `None` where there is no such room, which no received datagram lacks.
    pub fn framed(mut self, prefix: &Prefix, arena: &mut Arena) -> Option<Self> {
        let (buffer, range) = match &mut self {
            Self::Arena(range) => {
                let start = range.start.checked_sub(prefix.header().len())?;
                let end = range.end + prefix.padding();
                let framed = start..end;
                let header_end = range.start - start;
                let payload_end = range.end - start;
                let bytes = arena.get_mut(framed.clone());
                bytes
                    .get_mut(..header_end)?
                    .copy_from_slice(prefix.header());
                bytes.get_mut(payload_end..)?.fill(0);
                return Some(Self::Arena(framed));
            }
            Self::Owned { bytes, range } => (bytes, range),
        };
        let start = range.start.checked_sub(prefix.header().len())?;
        let end = range.end + prefix.padding();
        buffer
            .get_mut(start..range.start)?
            .copy_from_slice(prefix.header());
        buffer.get_mut(range.end..end)?.fill(0);
        *range = start..end;
        Some(self)
    }
}

pub struct Item {
    pub payload: Payload,
    pub to: SocketAddr,
    /// The local address it leaves from, on a wildcard listener.
    pub from: Option<IpAddr>,
    pub dont_fragment: bool,
    /// Relayed payload: the first to go when a stream's queue is full.
    pub media: bool,
    next: u32,
}

impl Item {
    pub fn new(payload: Payload, to: SocketAddr) -> Self {
        Self {
            payload,
            to,
            from: None,
            dont_fragment: false,
            media: true,
            next: NONE,
        }
    }

    pub fn datagram<'a>(&'a self, arena: &'a Arena) -> Datagram<'a> {
        Datagram {
            bytes: self.payload.bytes(arena),
            to: self.to,
            from: self.from,
        }
    }
}

#[derive(Default)]
pub struct Outbox {
    items: Vec<Item>,
    /// Sockets whose chain has got a first item; some may be empty again, or twice here.
    waiting: Vec<Token>,
}

impl Outbox {
    pub fn push(&mut self, chain: &mut Chain, owner: Token, item: Item) {
        let index = self.items.len() as u32;
        chain.has_dont_fragment |= item.dont_fragment;
        self.items.push(item);
        if chain.is_empty() {
            chain.head = index;
            self.waiting.push(owner);
        } else {
            self.items[chain.tail as usize].next = index;
        }
        chain.tail = index;
    }

    pub fn chain(&self, chain: Chain) -> impl Iterator<Item = &Item> {
        let mut at = chain.head;
        std::iter::from_fn(move || {
            let item = self.items.get(at as usize)?;
            at = item.next;
            Some(item)
        })
    }

    pub fn next_waiting(&mut self) -> Option<Token> {
        self.waiting.pop()
    }

    /// Forgets all items; every chain is empty.
    pub fn clear(&mut self) {
        debug_assert!(self.waiting.is_empty());
        self.items.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::arena::LAYOUT;
    use crate::turn::RelayId;

    #[test]
    fn items_of_one_socket_stay_in_order_beside_those_of_others() {
        let mut outbox = Outbox::default();
        let mut chains = [Chain::EMPTY; 2];
        let to = "127.0.0.1:1".parse().expect("valid");
        for n in [0u8, 10, 11, 1, 12, 2] {
            let socket = usize::from(n / 10);
            let owner = Token::Relay(RelayId(socket as u32));
            let item = Item::new(Payload::reply(vec![n]), to);
            outbox.push(&mut chains[socket], owner, item);
        }
        let arena = Arena::default();
        let order = |chain| -> Vec<u8> {
            let bytes = |item: &Item| item.payload.bytes(&arena)[0];
            outbox.chain(chain).map(bytes).collect()
        };
        assert_eq!(order(chains[0]), [0, 1, 2]);
        assert_eq!(order(chains[1]), [10, 11, 12]);
        assert!(order(Chain::EMPTY).is_empty());
        let waiting: Vec<_> = std::iter::from_fn(|| outbox.next_waiting()).collect();
        assert_eq!(waiting.len(), 2);
    }

    #[test]
    fn prefix_and_padding_surround_the_payload_in_place() {
        let prefix = Prefix::new(&[0x40, 0, 0, 5], 3);
        let whole = [&[0x40, 0, 0, 5][..], b"hello", &[0; 3]].concat();

        let mut arena = Arena::default();
        let at = LAYOUT.headroom;
        arena.get_mut(0..128).fill(0xee);
        arena.get_mut(at..at + 5).copy_from_slice(b"hello");
        let framed = Payload::Arena(at..at + 5).framed(&prefix, &mut arena);
        assert_eq!(framed.expect("room").bytes(&arena), whole);

        let mut bytes = vec![0xee; 80];
        bytes[at..at + 5].copy_from_slice(b"hello");
        let owned = Payload::Owned {
            bytes,
            range: at..at + 5,
        };
        let framed = owned.framed(&prefix, &mut arena);
        assert_eq!(framed.expect("room").bytes(&arena), whole);

        let no_room = Payload::reply(b"hello".to_vec()).framed(&prefix, &mut arena);
        assert!(no_room.is_none());
    }

    #[test]
    fn a_part_of_a_payload_never_leaves_it() {
        let arena = Arena::default();
        let part = |range| {
            let payload = Payload::reply(b"0123456789".to_vec()).narrowed(2..8);
            payload.narrowed(range).bytes(&arena).to_vec()
        };
        assert_eq!(part(1..3), b"34");
        assert_eq!(part(4..99), b"67");
        assert_eq!(part(50..99), b"");
    }
}
