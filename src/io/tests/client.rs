//! A small blocking TURN client over UDP, TCP or TLS, independent of relayd's own code.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;
use stun_types::attribute::{AttributeType, RawAttribute, Realm, Username};
use stun_types::attribute::{Nonce, XorMappedAddress};
use stun_types::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageClass, MessageWrite,
    MessageWriteExt, MessageWriteVec, Method, TransactionId,
};
use turn_types::attribute::{XorPeerAddress, XorRelayedAddress};

pub const USER: &str = "alice";
pub const PASSWORD: &str = "secret";
pub const REALM: &str = "relay.test";

const ALLOCATE: u16 = 0x003;
const REFRESH: u16 = 0x004;
const SEND: u16 = 0x006;
const CREATE_PERMISSION: u16 = 0x008;
const CHANNEL_BIND: u16 = 0x009;

/// A wait this long means that the answer does not come; no test waits for it on purpose.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How messages travel.
pub trait Link {
    fn send(&mut self, message: &[u8]);
    /// One whole message; `None` when the connection has ended.
    fn receive(&mut self) -> Option<Vec<u8>>;
}

impl Link for UdpSocket {
    fn send(&mut self, message: &[u8]) {
        UdpSocket::send(self, message).expect("sent");
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65536];
        let len = self.recv(&mut buffer).expect("an answer comes");
        buffer.truncate(len);
        Some(buffer)
    }
}

/// A TCP or TLS connection, with what has been read beyond the last message.
pub struct StreamLink<S> {
    pub stream: S,
    buffered: Vec<u8>,
}

impl<S: Read + Write> StreamLink<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            buffered: Vec::new(),
        }
    }

    fn whole_message(&mut self) -> Option<Vec<u8>> {
        let head = self.buffered.get(..4)?;
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (len, padded_len) = if head[0] < 0x40 {
            (20 + len, 20 + len)
        } else {
            (4 + len, (4 + len).next_multiple_of(4))
        };
        if self.buffered.len() < padded_len {
            return None;
        }
        let rest = self.buffered.split_off(padded_len);
        let mut message = std::mem::replace(&mut self.buffered, rest);
        assert!(
            message[len..].iter().all(|byte| *byte == 0),
            "padding is zero"
        );
        message.truncate(len);
        Some(message)
    }
}

impl<S: Read + Write> Link for StreamLink<S> {
    /// Pads ChannelData as RFC 8656 §12.5 wants it.
    fn send(&mut self, message: &[u8]) {
        let mut padded = message.to_vec();
        padded.resize(message.len().next_multiple_of(4), 0);
        self.stream.write_all(&padded).expect("written");
        self.stream.flush().expect("flushed");
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(message) = self.whole_message() {
                return Some(message);
            }
            let mut chunk = [0; 16384];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(len) => self.buffered.extend(&chunk[..len]),
                Err(error) => match error.kind() {
                    ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => return None,
                    _ => panic!("no answer comes: {error}"),
                },
            }
        }
    }
}

pub struct Client<L> {
    pub link: L,
    nonce: Option<String>,
    /// Messages that came while an answer was waited for.
    pub others: Vec<Vec<u8>>,
}

impl Client<UdpSocket> {
    pub fn udp(bind: &str, server: SocketAddr) -> Self {
        let socket = UdpSocket::bind(bind).expect("bound");
        socket.connect(server).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        Self::new(socket)
    }
}

pub fn tcp(stream: TcpStream) -> Client<StreamLink<TcpStream>> {
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    Client::new(StreamLink::new(stream))
}

impl<L: Link> Client<L> {
    pub fn new(link: L) -> Self {
        Self {
            link,
            nonce: None,
            others: Vec::new(),
        }
    }

    /// A Binding request's answer: the address the server saw.
    pub fn binding(&mut self) -> SocketAddr {
        let answer = self.ask(binding_request());
        let answer = Message::from_bytes(&answer).expect("STUN");
        let mapped = answer.attribute::<XorMappedAddress>().expect("mapped");
        mapped.addr(answer.transaction_id())
    }

    /// Allocates with the whole 401 round; the relayed address.
    pub fn allocate(&mut self, more: &[(u16, &[u8])]) -> Result<SocketAddr, u16> {
        let answer = self.request(ALLOCATE, |_| {
            let mut attributes = vec![(0x0019, vec![17, 0, 0, 0])];
            attributes.extend(more.iter().map(|(kind, value)| (*kind, value.to_vec())));
            attributes
        })?;
        let answer = Message::from_bytes(&answer).expect("STUN");
        let relayed = answer.attribute::<XorRelayedAddress>().expect("relayed");
        Ok(relayed.addr(answer.transaction_id()))
    }

    /// The value of an attribute in the success answer of an Allocate.
    pub fn allocate_for(&mut self, more: &[(u16, &[u8])], wanted: u16) -> Result<Vec<u8>, u16> {
        let answer = self.request(ALLOCATE, |_| {
            let mut attributes = vec![(0x0019, vec![17, 0, 0, 0])];
            attributes.extend(more.iter().map(|(kind, value)| (*kind, value.to_vec())));
            attributes
        })?;
        let answer = Message::from_bytes(&answer).expect("STUN");
        let value = answer
            .raw_attribute(AttributeType::new(wanted))
            .expect("present");
        Ok(value.value.to_vec())
    }

    pub fn bind_channel(&mut self, number: u16, peer: SocketAddr) -> Result<(), u16> {
        let answer = self.request(CHANNEL_BIND, |id| {
            let number = [number.to_be_bytes(), [0; 2]].concat();
            vec![(0x000c, number), (0x0012, xor_peer(peer, id))]
        });
        answer.map(|_| ())
    }

    pub fn permit(&mut self, peer: SocketAddr) -> Result<(), u16> {
        let answer = self.request(CREATE_PERMISSION, |id| vec![(0x0012, xor_peer(peer, id))]);
        answer.map(|_| ())
    }

    pub fn refresh(&mut self, lifetime_s: u32) -> Result<(), u16> {
        let lifetime = lifetime_s.to_be_bytes().to_vec();
        let answer = self.request(REFRESH, |_| vec![(0x000d, lifetime.clone())]);
        answer.map(|_| ())
    }

    pub fn send_channel(&mut self, number: u16, payload: &[u8]) {
        self.link.send(&channel_data(number, payload));
    }

    pub fn send_indication(&mut self, peer: SocketAddr, payload: &[u8], dont_fragment: bool) {
        let method = Method::new(SEND);
        let mut message = Message::builder_indication(method, MessageWriteVec::new());
        let id = message.transaction_id();
        let peer = xor_peer(peer, id);
        let mut attributes = vec![(0x0012, peer), (0x0013, payload.to_vec())];
        if dont_fragment {
            attributes.push((0x001a, Vec::new()));
        }
        add(&mut message, &attributes);
        self.link.send(&message.finish());
    }

    /// The next message that is no answer.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        if self.others.is_empty() {
            return self.link.receive();
        }
        Some(self.others.remove(0))
    }

    /// Sends a request, with credentials once a nonce is known; the answer, or its error code.
    fn request(
        &mut self,
        method: u16,
        attributes: impl Fn(TransactionId) -> Vec<(u16, Vec<u8>)>,
    ) -> Result<Vec<u8>, u16> {
        loop {
            let had_nonce = self.nonce.is_some();
            let mut message = Message::builder_request(Method::new(method), MessageWriteVec::new());
            let id = message.transaction_id();
            add(&mut message, &attributes(id));
            self.authenticate(&mut message);
            let bytes = self.ask(message.finish());
            let answer = Message::from_bytes(&bytes).expect("STUN");
            if answer.has_class(MessageClass::Success) {
                return Ok(bytes);
            }
            let error = answer
                .raw_attribute(AttributeType::new(0x0009))
                .expect("an error code");
            let code = u16::from(error.value[2]) * 100 + u16::from(error.value[3]);
            match answer.attribute::<Nonce>() {
                Ok(nonce) if !had_nonce => self.nonce = Some(nonce.nonce().to_owned()),
                _ => return Err(code),
            }
        }
    }

    fn authenticate(&self, message: &mut MessageWriteVec) {
        let Some(nonce) = &self.nonce else {
            return;
        };
        message
            .add_attribute(&Username::new(USER).expect("short"))
            .expect("added");
        message
            .add_attribute(&Realm::new(REALM).expect("short"))
            .expect("added");
        message
            .add_attribute(&Nonce::new(nonce).expect("short"))
            .expect("added");
        let key =
            LongTermKeyCredentials::new(USER.to_owned(), PASSWORD.to_owned(), REALM.to_owned());
        let algorithm = IntegrityAlgorithm::Sha1;
        message
            .add_message_integrity(&key.into(), algorithm)
            .expect("added");
    }

    /// Sends a request and waits for the answer with its transaction ID.
    fn ask(&mut self, request: Vec<u8>) -> Vec<u8> {
        self.link.send(&request);
        loop {
            let message = self.link.receive().expect("an answer before the end");
            if message.get(4..20) == request.get(4..20) {
                return message;
            }
            self.others.push(message);
        }
    }
}

pub fn binding_request() -> Vec<u8> {
    Message::builder_request(Method::new(1), MessageWriteVec::new()).finish()
}

pub fn channel_data(number: u16, payload: &[u8]) -> Vec<u8> {
    let len = payload.len() as u16;
    [&number.to_be_bytes()[..], &len.to_be_bytes(), payload].concat()
}

/// Peer and payload of a Data indication.
pub fn data_indication(message: &[u8]) -> (SocketAddr, Vec<u8>) {
    let message = Message::from_bytes(message).expect("STUN");
    assert!(message.has_class(MessageClass::Indication));
    let peer = message.attribute::<XorPeerAddress>().expect("a peer");
    let data = message
        .raw_attribute(AttributeType::new(0x0013))
        .expect("data");
    (peer.addr(message.transaction_id()), data.value.to_vec())
}

fn add(message: &mut MessageWriteVec, attributes: &[(u16, Vec<u8>)]) {
    for (kind, value) in attributes {
        let attribute = RawAttribute::new(AttributeType::new(*kind), value);
        message.add_attribute(&attribute).expect("added");
    }
}

fn xor_peer(peer: SocketAddr, id: TransactionId) -> Vec<u8> {
    use stun_types::attribute::Attribute;
    let attribute = XorPeerAddress::new(peer, id);
    let raw = RawAttribute::from(&attribute);
    assert_eq!(raw.value.len(), usize::from(attribute.length()));
    raw.value.to_vec()
}
