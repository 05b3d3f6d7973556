//! What is to be sent in this round, in one chain for each socket, so that each is flushed by one call.
//!
//! Items lie in one vector in the order in which they arose; a chain links those of one socket. Everything is
//! cleared together, after the flush.

use crate::io::arena::{Arena, LAYOUT};
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

/// Bytes in front of and behind a payload that nothing else uses, so that a header and padding may be written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Margins {
    pub front: usize,
    pub back: usize,
}

impl Margins {
    /// Around a received datagram.
    pub const SLOT: Self = Self {
        front: LAYOUT.headroom,
        back: LAYOUT.tailroom,
    };

    /// Around a part of what these are around, which is `len` bytes long: the rest of the message is used no more.
    pub fn around(self, part: &Range<usize>, len: usize) -> Self {
        Self {
            front: self.front + part.start,
            back: self.back + len.saturating_sub(part.end),
        }
    }

    fn fit(self, prefix: &Prefix) -> bool {
        prefix.header().len() <= self.front && prefix.padding() <= self.back
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

    pub fn len(&self) -> usize {
        match self {
            Self::Arena(range) | Self::Owned { range, .. } => range.len(),
        }
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

    /// Writes `prefix` in front of the payload and its padding behind, in place where the margins have room for them,
    /// as they have around every received datagram. Between two frames of a stream there may be none: a copy gets it.
    ///
    /// `None` for a payload that leaves its buffer, which none does.
    pub fn framed(self, prefix: &Prefix, margins: Margins, arena: &mut Arena) -> Option<Self> {
        if margins.fit(prefix) {
            return self.framed_in_place(prefix, arena);
        }
        let payload = self.bytes(arena);
        let mut bytes = vec![0; LAYOUT.headroom + payload.len() + LAYOUT.tailroom];
        let range = LAYOUT.headroom..LAYOUT.headroom + payload.len();
        bytes.get_mut(range.clone())?.copy_from_slice(payload);
        Self::Owned { bytes, range }.framed_in_place(prefix, arena)
    }

    fn framed_in_place(mut self, prefix: &Prefix, arena: &mut Arena) -> Option<Self> {
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
    /// How many of `waiting` had their turn.
    taken: usize,
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

    /// Items that wait.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn chain(&self, chain: Chain) -> impl Iterator<Item = &Item> {
        let mut at = chain.head;
        std::iter::from_fn(move || {
            let item = self.items.get(at as usize)?;
            at = item.next;
            Some(item)
        })
    }

    /// The first comes first: what was received first has waited longest.
    pub fn next_waiting(&mut self) -> Option<Token> {
        let token = self.waiting.get(self.taken).copied()?;
        self.taken += 1;
        Some(token)
    }

    /// Forgets all items; every chain is empty.
    pub fn clear(&mut self) {
        debug_assert!(self.taken == self.waiting.len());
        self.waiting.clear();
        self.taken = 0;
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
        let framed = Payload::Arena(at..at + 5).framed(&prefix, Margins::SLOT, &mut arena);
        let framed = framed.expect("room");
        assert!(matches!(framed, Payload::Arena(_)));
        assert_eq!(framed.bytes(&arena), whole);

        let mut bytes = vec![0xee; 80];
        bytes[at..at + 5].copy_from_slice(b"hello");
        let owned = Payload::Owned {
            bytes,
            range: at..at + 5,
        };
        let framed = owned.framed(&prefix, Margins::SLOT, &mut arena);
        assert_eq!(framed.expect("room").bytes(&arena), whole);

        let no_room = Payload::reply(b"hello".to_vec()).framed(&prefix, Margins::SLOT, &mut arena);
        assert!(no_room.is_none(), "margins that the buffer does not have");
    }

    /// Frames of a stream lie side by side, and the one in front may not have been sent yet.
    #[test]
    fn a_header_without_room_is_written_into_a_copy_and_leaves_the_neighbours_alone() {
        let prefix = Prefix::new(&[0x40, 0, 0, 5], 3);
        let whole = [&[0x40, 0, 0, 5][..], b"hello", &[0; 3]].concat();
        for (front, back) in [(3, 3), (4, 2), (0, 0)] {
            let mut arena = Arena::default();
            arena.get_mut(0..64).fill(0xee);
            arena.get_mut(20..25).copy_from_slice(b"hello");
            let framed =
                Payload::Arena(20..25).framed(&prefix, Margins { front, back }, &mut arena);
            assert_eq!(framed.expect("a copy").bytes(&arena), whole);
            assert!(
                arena
                    .get(0..20)
                    .iter()
                    .chain(arena.get(25..64))
                    .all(|byte| *byte == 0xee)
            );
        }
    }

    #[test]
    fn the_margins_of_a_part_hold_the_rest_of_its_message() {
        let margins = Margins { front: 1, back: 2 }.around(&(4..10), 13);
        assert_eq!(margins, Margins { front: 5, back: 5 });
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
