//! The framing around a payload on the client's side: ChannelData, or Send and Data indications.

use crate::session::Engine;
use crate::stun::{attr, class, method, Builder, Message};

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    Channel,
    Send,
}

/// What stands before the payload of each allocation's packets.
pub struct Frames {
    heads: Vec<Vec<u8>>,
    /// Where the payload starts, and the whole length on the wire.
    at: usize,
    pub len: usize,
}

impl Frames {
    pub fn new(engine: &Engine, mode: Mode, size: usize, padded: bool) -> Self {
        let heads: Vec<Vec<u8>> = engine
            .sessions
            .iter()
            .enumerate()
            .map(|(i, s)| match mode {
                Mode::Channel => [s.channel.to_be_bytes(), (size as u16).to_be_bytes()].concat(),
                Mode::Send => {
                    let mut id = [0x5A; 12];
                    id[..8].copy_from_slice(&(i as u64).to_be_bytes());
                    let mut m = Builder::new(method::SEND, class::INDICATION, &id)
                        .xor_addr(attr::XOR_PEER_ADDRESS, s.peer.expect("set"))
                        .attr(attr::DATA, &vec![0; size])
                        .plain();
                    m.truncate(m.len() - size.next_multiple_of(4));
                    m
                }
            })
            .collect();
        let at = heads[0].len();
        let pad = mode == Mode::Send || padded;
        Frames {
            heads,
            at,
            len: at + if pad { size.next_multiple_of(4) } else { size },
        }
    }

    /// Writes the frame of allocation `i` around a copy of `fill`; returns where the payload is.
    #[inline]
    pub fn write<'a>(&self, i: usize, fill: &[u8], out: &'a mut [u8]) -> &'a mut [u8] {
        let (head, rest) = out.split_at_mut(self.at);
        head.copy_from_slice(&self.heads[i]);
        let (payload, padding) = rest.split_at_mut(fill.len());
        payload.copy_from_slice(fill);
        padding.fill(0);
        payload
    }
}

/// The payload inside a message from the server, with the channel it came on.
#[inline]
pub fn unwrap(msg: &[u8]) -> Option<(Option<u16>, &[u8])> {
    if msg.first()? & 0xC0 == 0x40 {
        let len = u16::from_be_bytes([*msg.get(2)?, *msg.get(3)?]) as usize;
        return Some((
            Some(u16::from_be_bytes([msg[0], msg[1]])),
            msg.get(4..4 + len)?,
        ));
    }
    let m = Message::parse(msg)?;
    (m.method() == method::DATA && m.class() == class::INDICATION)
        .then(|| m.attr(attr::DATA).map(|d| (None, d)))?
}
