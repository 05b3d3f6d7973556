//! What two workers of two processes tell each other over a lane.
//!
//! A message is a client's packet with its addresses, or records: each behind its length, many in one message. Both
//! processes have agreed on the version of this before the first message.

use crate::addr::{ClientAddr, FiveTuple, Transport};
use crate::turn::Prefix;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// First byte of a message.
const PACKET: u8 = 1;
const RECORDS: u8 = 2;

/// Of a packet: its kind, listener, client and the address that the client asked.
pub const HEADER_LEN: usize = 1 + 2 + ADDR_LEN + IP_LEN;
const IP_LEN: usize = 17;
const ADDR_LEN: usize = IP_LEN + 2 + 4;

/// Records of one message, in bytes.
const MESSAGE_LEN_MAX: usize = 16 << 10;

/// A packet of the former process's client, behind which the payload follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Index among the listeners of the former process's worker.
    pub listener: u16,
    pub client: ClientAddr,
    pub server: IpAddr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The former process has this allocation.
    Started {
        id: u64,
        five_tuple: FiveTuple,
        relayed: Vec<SocketAddr>,
        username: String,
    },
    Ended {
        id: u64,
    },
    /// Every allocation of the former worker has been told.
    Told,
    /// The successor knows them all and can read the listeners.
    Known,
    /// The former worker has read its last packet from the listeners.
    Over,
    /// The successor has bound this relayed address, or closed it.
    RelayUp(SocketAddr),
    RelayDown(SocketAddr),
}

pub enum Message<'a> {
    Packet(Packet),
    Records(Records<'a>),
}

impl Packet {
    /// Goes in front of the payload, in the room that every received datagram has.
    pub fn prefix(&self) -> Prefix {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.push(PACKET);
        bytes.extend_from_slice(&self.listener.to_be_bytes());
        put_addr(&mut bytes, self.client.socket_addr());
        put_ip(&mut bytes, self.server);
        Prefix::new(&bytes, 0)
    }
}

/// `None`: no message of a relayd.
pub fn read(bytes: &[u8]) -> Option<Message<'_>> {
    let (kind, mut rest) = bytes.split_first()?;
    match *kind {
        PACKET => {
            let listener = u16::from_be_bytes(take(&mut rest)?);
            let client = ClientAddr::new(take_addr(&mut rest)?);
            let server = take_ip(&mut rest)?;
            Some(Message::Packet(Packet {
                listener,
                client,
                server,
            }))
        }
        RECORDS => Some(Message::Records(Records { rest })),
        _ => None,
    }
}

/// Ends at the first record that is broken.
pub struct Records<'a> {
    rest: &'a [u8],
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let len = usize::from(u16::from_be_bytes(take(&mut self.rest)?));
        let (record, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        take_record(record)
    }
}

/// Appends a record to the last message of `messages` that has room, or to one more. Returns by how many
/// bytes they have grown.
pub fn put(messages: &mut Vec<Vec<u8>>, record: &Record) -> usize {
    let mut bytes = Vec::with_capacity(128);
    put_record(&mut bytes, record);
    let Ok(len) = u16::try_from(bytes.len()) else {
        debug_assert!(false, "a user name is at most 508 bytes long");
        return 0;
    };
    let has_room = |message: &&mut Vec<u8>| message.len() + bytes.len() < MESSAGE_LEN_MAX;
    let mut grown = size_of_val(&len) + bytes.len();
    if messages.last_mut().filter(has_room).is_none() {
        messages.push(vec![RECORDS]);
        grown += 1;
    }
    if let Some(message) = messages.last_mut() {
        message.extend_from_slice(&len.to_be_bytes());
        message.extend_from_slice(&bytes);
    }
    grown
}

fn put_record(bytes: &mut Vec<u8>, record: &Record) {
    match record {
        Record::Started {
            id,
            five_tuple,
            relayed,
            username,
        } => {
            bytes.push(1);
            bytes.extend_from_slice(&id.to_be_bytes());
            bytes.push(match five_tuple.transport {
                Transport::Udp => 0,
                Transport::Tcp => 1,
                Transport::Tls => 2,
            });
            put_addr(bytes, five_tuple.client.socket_addr());
            put_addr(bytes, five_tuple.server);
            bytes.push(u8::try_from(relayed.len()).unwrap_or(u8::MAX));
            relayed.iter().for_each(|addr| put_addr(bytes, *addr));
            bytes.extend_from_slice(username.as_bytes());
        }
        Record::Ended { id } => {
            bytes.push(2);
            bytes.extend_from_slice(&id.to_be_bytes());
        }
        Record::Told => bytes.push(3),
        Record::Known => bytes.push(4),
        Record::Over => bytes.push(5),
        Record::RelayUp(addr) => {
            bytes.push(6);
            put_addr(bytes, *addr);
        }
        Record::RelayDown(addr) => {
            bytes.push(7);
            put_addr(bytes, *addr);
        }
    }
}

fn take_record(mut bytes: &[u8]) -> Option<Record> {
    let rest = &mut bytes;
    let [kind] = take(rest)?;
    Some(match kind {
        1 => {
            let id = u64::from_be_bytes(take(rest)?);
            let transport = match take(rest)? {
                [0] => Transport::Udp,
                [1] => Transport::Tcp,
                [2] => Transport::Tls,
                _ => return None,
            };
            let five_tuple = FiveTuple {
                client: ClientAddr::new(take_addr(rest)?),
                server: take_addr(rest)?,
                transport,
            };
            let [count] = take(rest)?;
            let relayed = (0..count).map(|_| take_addr(rest)).collect::<Option<_>>()?;
            Record::Started {
                id,
                five_tuple,
                relayed,
                username: String::from_utf8(rest.to_vec()).ok()?,
            }
        }
        2 => Record::Ended {
            id: u64::from_be_bytes(take(rest)?),
        },
        3 => Record::Told,
        4 => Record::Known,
        5 => Record::Over,
        6 => Record::RelayUp(take_addr(rest)?),
        7 => Record::RelayDown(take_addr(rest)?),
        _ => return None,
    })
}

fn put_ip(bytes: &mut Vec<u8>, ip: IpAddr) {
    let mut octets = [0; 16];
    match ip {
        IpAddr::V4(ip) => {
            bytes.push(4);
            octets[..4].copy_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            bytes.push(6);
            octets = ip.octets();
        }
    }
    bytes.extend_from_slice(&octets);
}

fn put_addr(bytes: &mut Vec<u8>, addr: SocketAddr) {
    put_ip(bytes, addr.ip());
    bytes.extend_from_slice(&addr.port().to_be_bytes());
    let scope = match addr {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(addr) => addr.scope_id(),
    };
    bytes.extend_from_slice(&scope.to_be_bytes());
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

fn take_ip(rest: &mut &[u8]) -> Option<IpAddr> {
    let [family] = take(rest)?;
    let octets: [u8; 16] = take(rest)?;
    match family {
        4 => {
            let [a, b, c, d, ..] = octets;
            Some([a, b, c, d].into())
        }
        6 => Some(octets.into()),
        _ => None,
    }
}

fn take_addr(rest: &mut &[u8]) -> Option<SocketAddr> {
    let ip = take_ip(rest)?;
    let port = u16::from_be_bytes(take(rest)?);
    let scope = u32::from_be_bytes(take(rest)?);
    Some(match ip {
        IpAddr::V4(_) => SocketAddr::new(ip, port),
        IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, scope).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("valid")
    }

    fn all() -> Vec<Record> {
        let started = |client: &str, transport| Record::Started {
            id: 7,
            five_tuple: FiveTuple {
                client: ClientAddr::new(addr(client)),
                server: addr("[fe80::1%3]:3478"),
                transport,
            },
            relayed: vec![addr("10.0.0.1:50000"), addr("[2001:db8::1]:50001")],
            username: "ann".to_owned(),
        };
        vec![
            started("192.0.2.1:1", Transport::Udp),
            started("[2001:db8::7]:65535", Transport::Tls),
            Record::Ended { id: u64::MAX },
            Record::Told,
            Record::Known,
            Record::Over,
            Record::RelayUp(addr("10.0.0.1:50000")),
            Record::RelayDown(addr("[::1]:2")),
        ]
    }

    #[test]
    fn records_are_read_as_they_were_written_in_messages_of_bounded_length() {
        let mut messages = Vec::new();
        let written: Vec<Record> = all().into_iter().cycle().take(4000).collect();
        let grown: usize = written
            .iter()
            .map(|record| put(&mut messages, record))
            .sum();
        assert_eq!(grown, messages.iter().map(Vec::len).sum::<usize>());
        assert!(messages.len() > 4);
        assert!(
            messages
                .iter()
                .all(|message| message.len() <= MESSAGE_LEN_MAX + 700)
        );
        let mut seen = Vec::new();
        for message in &messages {
            let Some(Message::Records(records)) = read(message) else {
                panic!("records");
            };
            seen.extend(records);
        }
        assert_eq!(seen, written);
    }

    #[test]
    fn the_header_of_a_packet_survives_and_fits_before_every_payload() {
        for (client, server) in [("192.0.2.1:9", "10.0.0.1"), ("[fe80::2%4]:9", "fe80::1")] {
            let packet = Packet {
                listener: 513,
                client: ClientAddr::new(addr(client)),
                server: server.parse().expect("valid"),
            };
            let prefix = packet.prefix();
            assert_eq!((prefix.header().len(), prefix.padding()), (HEADER_LEN, 0));
            let Some(Message::Packet(read)) = read(prefix.header()) else {
                panic!("a packet");
            };
            assert_eq!(read, packet);
        }
    }

    proptest! {
        #[test]
        fn no_message_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..4u8) {
            let mut message = vec![kind];
            message.extend(bytes);
            if let Some(Message::Records(records)) = read(&message) {
                prop_assert!(records.count() <= message.len());
            }
        }
    }
}
